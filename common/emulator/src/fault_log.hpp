#pragma once

#include <cstdint>
#include <unordered_set>

#include "report.hpp"

namespace emulator {

/// The faults that a worker has met in this launch. Formatting a report costs too much to do it for every
/// thread that repeats a fault.
class FaultLog {
 public:
  void begin_launch() { seen_.clear(); }
  /// Is this the first time that this launch meets this fault? `place`: a line or an address of code.
  bool first_time(ReportKind kind, std::uintptr_t place) {
    return seen_.insert(std::uint64_t(place) * 32 + std::uint64_t(kind)).second;
  }

 private:
  std::unordered_set<std::uint64_t> seen_;
};

}  // namespace emulator
