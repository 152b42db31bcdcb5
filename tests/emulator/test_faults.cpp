// Each checker against a kernel with a planted fault, which it must report at the right line, and the same
// kernel without it, about which it must be silent; under several schedules.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "attention/device_buffer.hpp"
#include "catch.hpp"
#include "emulator/emulator.hpp"
#include "faults.hpp"
#include "hopper.hpp"

using attention::DeviceBuffer;
using attention::RawDeviceBuffer;
using emulator::ReportKind;

namespace {

struct Expected {
  std::string_view name;
  ReportKind kind;
  bool found_by_plain_run;  ///< also without traced kernels
};
constexpr Expected kExpected[] = {
    {"missing_block_barrier", ReportKind::shared_race, false},
    {"missing_warp_barrier", ReportKind::shared_race, false},
    {"overwritten_too_early", ReportKind::shared_race, false},
    {"two_writers", ReportKind::shared_race, false},
    {"shuffle_for_barrier", ReportKind::shared_race, false},
    {"consumer_too_early", ReportKind::shared_race, false},
    {"overwritten_by_a_reader", ReportKind::shared_race, false},
    {"global_race", ReportKind::global_race, false},
    {"async_not_waited", ReportKind::in_flight_access, false},
    {"async_wait_off_by_one", ReportKind::in_flight_access, false},
    {"async_wait_never_made", ReportKind::wait_never_made, true},
    {"async_without_barrier", ReportKind::shared_race, false},
    {"async_misaligned", ReportKind::misaligned, true},
    {"uninitialized", ReportKind::uninitialized_shared, false},
    {"global_read_past_end", ReportKind::out_of_bounds, true},
    {"global_write_before", ReportKind::out_of_bounds, true},
    {"dynamic_past_end", ReportKind::out_of_bounds, false},
    {"static_into_neighbour", ReportKind::out_of_bounds, false},
    {"misaligned_vector", ReportKind::misaligned, false},
    {"ldmatrix_misaligned", ReportKind::misaligned, true},
    {"divergent_barrier", ReportKind::divergent_barrier, true},
    {"exited_at_barrier", ReportKind::exited_at_barrier, true},
    {"half_a_warp_shuffles", ReportKind::deadlock, true},
    {"named_barrier_starved", ReportKind::deadlock, true},
    {"lane_outside_mask", ReportKind::bad_mask, true},
    {"shuffle_from_outside", ReportKind::bad_mask, true},
    {"trapped", ReportKind::trap, true},
    {"deep_stack", ReportKind::stack_overflow, true},
    {"mbarrier_uninitialized", ReportKind::bad_mbarrier, true},
    {"mbarrier_starved", ReportKind::deadlock, true},
    {"arrives_too_early", ReportKind::shared_race, false},
    {"arrives_for_others", ReportKind::shared_race, false},
    {"line_not_waited", ReportKind::in_flight_access, false},
    {"line_not_expected", ReportKind::in_flight_access, false},
    {"waits_for_another", ReportKind::shared_race, false},
    {"init_not_shown", ReportKind::missing_fence, true},
    {"line_past_end", ReportKind::out_of_bounds, true},
    {"line_misaligned", ReportKind::misaligned, true},
    {"no_proxy_fence", ReportKind::missing_fence, false},
    {"store_never_waited", ReportKind::wait_never_made, true},
    {"store_before_first_row", ReportKind::out_of_bounds, true},
    {"store_before_first_head", ReportKind::out_of_bounds, true},
    {"tile_written_again", ReportKind::in_flight_access, false},
    {"register_read_early", ReportKind::in_flight_access, false},
    {"no_wgmma_fence", ReportKind::missing_fence, true},
    {"wgmma_never_waited", ReportKind::wait_never_made, true},
    {"written_tile_not_shown", ReportKind::missing_fence, false},
    {"tile_given_back_early", ReportKind::in_flight_access, false},
    {"registers_wrong_way", ReportKind::bad_registers, true},
    {"registers_too_many", ReportKind::deadlock, true},
    {"cluster_not_arrived", ReportKind::divergent_barrier, true},
    {"remote_store_not_waited", ReportKind::shared_race, false},
    {"launch_not_waited", ReportKind::launch_not_waited, false},
    {"launch_not_waited_by_copies", ReportKind::launch_not_waited, true},
    {"launch_not_waited_by_lines", ReportKind::launch_not_waited, true},
};

const Expected& expected_of(std::string_view name) {
  const auto found = std::find_if(std::begin(kExpected), std::end(kExpected),
                                  [&](const Expected& entry) { return entry.name == name; });
  REQUIRE(found != std::end(kExpected));
  return *found;
}

// The lines that are marked with "// fault: <name>".
std::map<std::string, int> marked_lines() {
  std::map<std::string, int> lines;
  for (const char* source : {"faults.cu", "faults_hopper.cu"}) {
    std::ifstream in(std::string(EMULATOR_TESTS) + "/" + source);
    int number = 0;
    for (std::string line; std::getline(in, line);) {
      ++number;
      const std::size_t mark = line.find("// fault: ");
      if (mark != std::string::npos) lines[line.substr(mark + 10)] = number;
    }
  }
  return lines;
}

std::vector<faults::Fault> all_faults() {
  std::vector<faults::Fault> all(faults::all().begin(), faults::all().end());
  all.insert(all.end(), faults::hopper().begin(), faults::hopper().end());
  return all;
}

std::vector<emulator::Report> reports_of(cudaError_t (*launch)(const float*, float*)) {
  emulator::clear_reports();
  emulator::clear_error();
  DeviceBuffer<float> in(1024, RawDeviceBuffer::Guards::none), out(256, RawDeviceBuffer::Guards::none);
  CUDA_CHECK(cudaMemset(in.data(), 0, in.bytes()));
  REQUIRE(launch(in.data(), out.data()) == cudaSuccess);
  (void)cudaDeviceSynchronize();
  std::vector<emulator::Report> reports = emulator::reports();
  emulator::clear_reports();
  emulator::clear_error();
  return reports;
}

void check_all(bool only_what_plain_finds) {
  const std::map<std::string, int> lines = marked_lines();
  REQUIRE(!lines.empty());
  CHECK(all_faults().size() == std::size(kExpected));
  for (const faults::Fault& fault : all_faults()) {
    const Expected& expected = expected_of(fault.name);
    INFO("fault: " << fault.name << ", seed " << emulator::options().schedule_seed);
    for (const emulator::Report& report : reports_of(fault.clean)) {
      INFO(emulator::name(report.kind) << " at line " << report.line << ": " << report.message);
      CHECK(false);  // silent where there is no fault
    }
    if (only_what_plain_finds && !expected.found_by_plain_run) continue;

    const std::vector<emulator::Report> reports = reports_of(fault.faulty);
    for (const emulator::Report& report : reports) {
      UNSCOPED_INFO(emulator::name(report.kind) << " at line " << report.line << ": " << report.message);
    }
    const auto marked = lines.find(std::string(fault.name));
    const bool found = std::any_of(reports.begin(), reports.end(), [&](const emulator::Report& report) {
      // A plain run sees some damage only afterwards.
      const bool right_place =
          only_what_plain_finds || marked == lines.end() ||
          (report.line == marked->second &&
           std::filesystem::path(report.file).filename().string().substr(0, 6) == "faults");
      return report.kind == expected.kind && right_place;
    });
    CHECK(found);
  }
}

}  // namespace

TEST_CASE("a plain run reports what the scheduler and guard pages see") {
  if (emulator::kernels_are_traced()) {
    SUCCEED("another test has started this program again with traced kernels");
    return;
  }
  for (const unsigned seed : {1u, 2u, 3u}) {
    emulator::configure({.schedule_seed = seed});
    check_all(true);
  }
}

TEST_CASE("a checked run reports every planted fault, at its line, and nothing else") {
  for (const unsigned seed : {1u, 2u, 3u, 4u, 5u}) {
    emulator::configure({.schedule_seed = seed, .check = true});
    check_all(false);
  }
}

TEST_CASE("Hopper's operations, used rightly, are reported for nothing") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    emulator::configure({.schedule_seed = seed, .check = true});
    emulator::clear_reports();
    const auto zeros = [](std::size_t count) {
      DeviceBuffer<half> buffer(count, RawDeviceBuffer::Guards::none);
      CUDA_CHECK(cudaMemset(buffer.data(), 0, buffer.bytes()));
      return buffer;
    };
    const DeviceBuffer<half> a = zeros(64 * 128), b = zeros(64 * 192);
    DeviceBuffer<float> floats(64 * 192, RawDeviceBuffer::Guards::none);
    DeviceBuffer<half> halves(2 * 64 * 64, RawDeviceBuffer::Guards::none);
    CUDA_CHECK(cudaMemset(floats.data(), 0, floats.bytes()));
    const auto* numbers = reinterpret_cast<const float*>(a.data());
    CUDA_CHECK(hopper::hand_over(numbers, floats.data(), 20));
    CUDA_CHECK(hopper::bulk_lines(reinterpret_cast<const unsigned char*>(a.data()),
                                  reinterpret_cast<unsigned char*>(floats.data())));
    CUDA_CHECK(hopper::tile_load(a.data(), halves.data(), {1, 100, 64, 64, 64, 0, 50, 0}));
    CUDA_CHECK(hopper::tile_store(a.data(), halves.data(), {1, 100, 64, 64, 64, 0, 50, 0}));
    using hopper::Operand;
    for (const Operand a_kind : {Operand::k_major, Operand::mn_major, Operand::registers}) {
      for (const Operand b_kind : {Operand::k_major, Operand::mn_major}) {
        CUDA_CHECK(hopper::wgmma(a.data(), a_kind, b.data(), b_kind, floats.data(), 128, true));
      }
    }
    CUDA_CHECK(hopper::wgmma_groups(a.data(), b.data(), floats.data()));
    CUDA_CHECK(hopper::registers(reinterpret_cast<int*>(floats.data())));
    CUDA_CHECK(hopper::neighbours(floats.data(), 16, 4));
    CUDA_CHECK(hopper::multicast(a.data(), halves.data()));
    CUDA_CHECK(cudaDeviceSynchronize());
    for (const emulator::Report& report : emulator::reports()) {
      UNSCOPED_INFO(emulator::name(report.kind)
                    << " at " << report.file << ":" << report.line << ": " << report.message);
    }
    CHECK(emulator::reports().empty());
  }
  emulator::configure({});
}

TEST_CASE("counting too does not change what is reported") {
  emulator::configure({.check = true, .profile = true});
  check_all(false);
  emulator::configure({});
}

TEST_CASE("a race names both threads, both places and the variable") {
  emulator::configure({.check = true});
  const auto fault = std::find_if(faults::all().begin(), faults::all().end(), [](const faults::Fault& entry) {
    return entry.name == "missing_block_barrier";
  });
  const std::vector<emulator::Report> reports = reports_of(fault->faulty);
  const auto race = std::find_if(reports.begin(), reports.end(),
                                 [](const auto& report) { return report.kind == ReportKind::shared_race; });
  REQUIRE(race != reports.end());
  const emulator::Report& report = *race;
  REQUIRE(report.threads.size() == 2);
  CHECK(report.threads[0] + report.threads[1] == 127);
  CHECK(report.variable == "tile");
  CHECK(report.kernel == "faults::missing_block_barrier<true>");
  // One way or the other: the write two lines above the read.
  const int read = marked_lines()["missing_block_barrier"];
  CHECK(report.line + report.other_line == 2 * read - 2);
  emulator::configure({});
}

TEST_CASE("a deadlock names the barriers, their lines, and how many threads have arrived") {
  emulator::configure({});
  const auto fault = std::find_if(faults::all().begin(), faults::all().end(), [](const faults::Fault& entry) {
    return entry.name == "half_a_warp_shuffles";
  });
  const std::vector<emulator::Report> reports = reports_of(fault->faulty);
  REQUIRE(reports.size() == 1);
  CHECK(reports[0].kind == ReportKind::deadlock);
  const int line = marked_lines()["half_a_warp_shuffles"];
  const auto says = [&](const std::string& words) {
    return reports[0].message.find(words) != std::string::npos;
  };
  INFO(reports[0].message);
  CHECK(says("64 threads wait at faults.cu:" + std::to_string(line) +
             " for lanes ffff0000 to reach __shfl_xor_sync"));
  CHECK(says("64 threads wait at faults.cu:" + std::to_string(line + 1) +
             " for __syncthreads, where 64 of 128 threads have arrived"));
}

TEST_CASE("a launch that faults fails the next call that waits, until cleared") {
  emulator::configure({});
  const auto fault = std::find_if(faults::all().begin(), faults::all().end(),
                                  [](const faults::Fault& entry) { return entry.name == "trapped"; });
  DeviceBuffer<float> in(1024, RawDeviceBuffer::Guards::none), out(256, RawDeviceBuffer::Guards::none);
  CHECK(fault->faulty(in.data(), out.data()) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  CHECK(fault->clean(in.data(), out.data()) == cudaErrorLaunchFailure);
  emulator::clear_error();
  emulator::clear_reports();
  CHECK(fault->clean(in.data(), out.data()) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("use after free and double free") {
  emulator::configure({.check = true});
  emulator::clear_reports();
  float *in = nullptr, *out = nullptr;
  CUDA_CHECK(cudaMalloc(&in, 4096));
  CUDA_CHECK(cudaMalloc(&out, 1024));
  CUDA_CHECK(cudaFree(in));
  CHECK(cudaFree(in) == cudaErrorInvalidValue);
  const auto fault = std::find_if(faults::all().begin(), faults::all().end(),
                                  [](const faults::Fault& entry) { return entry.name == "trapped"; });
  CHECK(fault->clean(in, out) == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  const std::vector<emulator::Report> reports = emulator::reports();
  const auto has = [&](ReportKind kind) {
    return std::any_of(reports.begin(), reports.end(),
                       [&](const auto& report) { return report.kind == kind; });
  };
  CHECK(has(ReportKind::double_free));
  CHECK(has(ReportKind::use_after_free));
  emulator::clear_reports();
  emulator::clear_error();
  CUDA_CHECK(cudaFree(out));
  emulator::configure({});
}
