#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/emulator.hpp"
#include "emulator/site.hpp"

namespace emulator {

/// A fault as it is met: where in the source is worked out later, for all new ones at once, since it takes
/// another process to do so.
struct Finding {
  ReportKind kind;
  Site site;              ///< place of the call, where the call knows it
  std::uintptr_t pc = 0;  ///< else the return address in the kernel
  std::string message;
  std::vector<int> threads = {};
  std::string variable = {};
  std::uintptr_t other_pc = 0;  ///< of a race: the earlier access
};

/// Keeps a finding unless its place is known already. Any thread may call it.
void report(Finding finding);

/// Where all later findings belong; nullptr: to the host program.
void set_reported_kernel(const char* kernel);

/// Works out the places of new findings and prints them on stderr.
void publish_findings();

}  // namespace emulator
