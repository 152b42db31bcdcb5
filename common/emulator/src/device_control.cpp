// What the harness asks of its device, answered by the emulated one.

#include "device_control.hpp"

#include <fmt/format.h>

#include <ostream>

#include "attention/device.hpp"
#include "attention/error.hpp"
#include "emulator/emulator.hpp"
#include "kernel_image.hpp"
#include "traced_kernels.hpp"

namespace emulator {
namespace {

Options chosen;

}  // namespace

void configure(const Options& options) {
  if (options.check || options.profile) need_traced_kernels();
  chosen = options;
}

const Options& options() {
  return chosen;
}

bool kernels_are_traced() {
  return any_image_traced();
}

}  // namespace emulator

namespace attention {

void configure_device(const EmulatorOptions& options) {
  if (options.profile_blocks < 0) {
    throw InvalidInput(fmt::format("--profile-blocks must be 0 or more, got {}", options.profile_blocks));
  }
  emulator::Options chosen = emulator::options();
  if (options.schedule_seed) chosen.schedule_seed = *options.schedule_seed;
  chosen.check = options.check_memory;
  chosen.profile = options.profile;
  chosen.traced_blocks = options.profile_blocks;
  emulator::configure(chosen);
}

bool device_is_emulated() {
  return true;
}

std::size_t device_faults() {
  return emulator::report_count();
}

// A variant's failed launch must not fail the variants after it, as it would on a GPU.
void reset_device_findings() {
  emulator::clear_reports();
  emulator::clear_profile();
  emulator::clear_error();
}

void print_device_profile(std::ostream& out) {
  if (emulator::options().profile) emulator::print_profile(out, emulator::profile());
}

std::string device_profile_json() {
  return emulator::options().profile ? emulator::profile_json(emulator::profile()) : "null";
}

}  // namespace attention
