// What the scheduler itself costs; hidden, since a time is no fact about the code: run with [switch].

#include <ctime>
#include <iostream>

#include "catch.hpp"
#include "emulator/emulator.hpp"
#include "runtime_kernels.hpp"

TEST_CASE("the cost of a switch between two threads of a block", "[.][switch]") {
  emulator::configure({.worker_threads = 1});
  constexpr int kRounds = 200'000;
  REQUIRE(runtime_kernels::meet(1) == cudaSuccess);  // stacks and worker are there from here on
  const std::uint64_t before = emulator::fiber_switches();
  const std::clock_t begin = std::clock();
  REQUIRE(runtime_kernels::meet(kRounds) == cudaSuccess);
  const double nanoseconds = double(std::clock() - begin) * 1e9 / CLOCKS_PER_SEC;
  const std::uint64_t switches = emulator::fiber_switches() - before;
  std::cout << switches << " switches, " << nanoseconds / double(switches)
            << " ns of CPU time each, a lane's part in __syncwarp included\n";
  CHECK(switches > kRounds * 30ull);
  emulator::configure({});
}
