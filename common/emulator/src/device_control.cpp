// What the harness asks of its device, answered by the emulated one; and starting a program again with the
// traced flavour of its kernels.

#include "device_control.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <stdexcept>
#include <vector>

#include "attention/device.hpp"
#include "attention/error.hpp"
#include "emulator/emulator.hpp"
#include "kernel_image.hpp"

namespace emulator {
namespace {

Options chosen;
constexpr const char* kRestarted = "ATTENTION_TRACED_KERNELS";  // in the environment of a restarted program

// lib/traced beside the library that this code is in.
std::filesystem::path traced_folder() {
  Dl_info info = {};
  dladdr(reinterpret_cast<const void*>(&kernels_are_traced), &info);
  std::error_code ignored;
  return std::filesystem::absolute(info.dli_fname ? info.dli_fname : "", ignored).parent_path() / "traced";
}

std::vector<std::string> command_line() {
  std::ifstream in("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string argument; std::getline(in, argument, '\0');) arguments.push_back(argument);
  return arguments;
}

[[noreturn]] void restart_with_traced_kernels() {
  const std::string folder = traced_folder().string();
  if (getenv(kRestarted) || !std::filesystem::is_directory(folder)) {
    throw std::runtime_error(
        fmt::format("there are no traced kernels for this program (looked in {})", folder));
  }
  const char* path = getenv("LD_LIBRARY_PATH");
  setenv("LD_LIBRARY_PATH", (path && *path ? folder + ":" + path : folder).c_str(), 1);
  setenv(kRestarted, "1", 1);
  std::vector<std::string> arguments = command_line();
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  std::fflush(nullptr);
  execv("/proc/self/exe", pointers.data());
  throw std::runtime_error("cannot start the program again with traced kernels");
}

}  // namespace

void configure(const Options& options) {
  if ((options.check || options.profile) && !kernels_are_traced()) restart_with_traced_kernels();
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
