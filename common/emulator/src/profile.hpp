#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/emulator.hpp"
#include "emulator/site.hpp"

namespace emulator {

/// What one worker counted in one launch, with places still as return addresses.
struct PlaceCounts {
  std::uintptr_t pc;
  Site site;
  Counters counters;
};
struct PlacedEvent {
  EventKind kind;
  int warp;
  std::uintptr_t pc;
  Site site;
  std::uint64_t begin, end;
};
struct KernelCounts {
  std::uint64_t traced_blocks = 0;
  std::vector<Counters> warps;
  std::vector<PlaceCounts> places;
  std::vector<PlacedEvent> events;
};

/// A launch of `kernel` begins: what workers add belongs to it.
void begin_profiled_launch(const std::string& kernel, std::uint64_t blocks);
void add_to_profile(const KernelCounts& counts);
/// True for one block of a kernel's first launch: the one whose events are kept.
bool may_record_events();

}  // namespace emulator
