#include "device_control.hpp"

#include <fmt/format.h>

#include "attention/error.hpp"

namespace attention {

void configure_device(const EmulatorOptions& options) {
  const char* option = options.schedule_seed         ? "--schedule-seed"
                       : options.check_memory        ? "--check-memory"
                       : options.profile             ? "--profile"
                       : options.profile_blocks != 0 ? "--profile-blocks"
                                                     : nullptr;
  if (option) {
    throw InvalidInput(
        fmt::format("{} needs the emulated device; on a GPU use compute-sanitizer and ncu instead", option));
  }
}

bool device_is_emulated() {
  return false;
}
std::size_t device_faults() {
  return 0;
}
void reset_device_findings() {}
void print_device_profile(std::ostream&) {}
std::string device_profile_json() {
  return "null";
}

}  // namespace attention
