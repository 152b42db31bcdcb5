// bench as its user meets it where there is no GPU to measure.
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "attention/device.hpp"
#include "attention/error.hpp"
#include "catch.hpp"

namespace {

struct Run {
  int exit_code;
  std::string out;
};

// Standard error and output together.
Run run(const std::string& arguments) {
  FILE* pipe = popen((ATTENTION_BIN_DIR "/bench " + arguments + " 2>&1").c_str(), "r");
  std::string out;
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, pipe)) out += buffer;
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

std::size_t lines(const std::string& text) {
  return std::size_t(std::count(text.begin(), text.end(), '\n'));
}

bool can_measure() {
  try {
    return !attention::current_device().emulated;
  } catch (const attention::NoDevice&) {
    return false;
  }
}

}  // namespace

TEST_CASE("the list of benchmarks needs no device") {
  const Run all = run("--benchmark_list_tests");
  CHECK(all.exit_code == 0);
  CHECK_THAT(all.out, Catch::Contains("01_naive/one_pass/B1_H8_S512_D64/chain/") &&
                          Catch::Contains("01_naive/unfused/B1_H8_S512_D64_causal/streams/") &&
                          Catch::Contains("02_tiled/l2_persist/B1_H8_S4096_D64/chain/") &&
                          Catch::Contains("floor/empty_kernel/G128_T256/cold/"));
  CHECK_THAT(all.out, !Catch::Contains("02_tiled/wide/B1_H8_S4096_D64"));
  const Run quick = run("--quick --benchmark_list_tests");
  CHECK_THAT(quick.out, Catch::Contains("02_tiled/wide/B1_H8_S512_D64/chain/") && !Catch::Contains("single"));
  const Run one = run("--shape=B1_H8-2_S17x257_D64 --benchmark_list_tests --benchmark_filter=one_pass");
  CHECK(lines(one.out) == 4);
  CHECK_THAT(one.out, Catch::Contains("01_naive/one_pass/B1_H8-2_S17x257_D64/single/"));
}

TEST_CASE("bad input to bench is one line and exit code 2") {
  for (const char* arguments : {"--nope", "--shape=B1", "--largest-call-ms=x", "extra",
                                "--benchmark_list_tests --benchmark_filter=no_such_stage"}) {
    const Run result = run(arguments);
    CAPTURE(arguments, result.out);
    CHECK(result.exit_code == 2);
    CHECK(lines(result.out) == 1);
  }
}

TEST_CASE("without a GPU bench says so in one line and exits 3") {
  if (can_measure()) return;
  const Run result = run("--quick");
  CAPTURE(result.out);
  CHECK(result.exit_code == 3);
  CHECK(lines(result.out) == 1);
}
