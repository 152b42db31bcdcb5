#pragma once

#include <string>
#include <utility>
#include <vector>

#include "thread.hpp"

namespace emulator {

inline constexpr int kNamedBarriers = 16;

/// The named barriers of a block: bar.sync and bar.arrive of the PTX ISA, which a warp executes as one.
class NamedBarriers {
 public:
  explicit NamedBarriers(Worker& worker) : worker_(worker) {}
  void begin_block();

  /// A warp arrives with the lanes of `mask`, at a barrier for `threads` threads. False: with `sync`
  /// it must wait.
  bool arrive(int id, int threads, bool sync, Thread* lanes, unsigned mask);
  /// "named barrier 3, where 32 of 64 threads have arrived", for a thread that waits there.
  std::string in_words(const Thread& thread) const;

 private:
  struct Barrier {
    int expected = 0;  // threads, from the first arrival
    int arrived = 0;
    std::vector<std::pair<int, unsigned>> blocked;  // warps with their lanes
  };

  Worker& worker_;
  Barrier barriers_[kNamedBarriers];
};

}  // namespace emulator
