#pragma once

#include <string>
#include <vector>

#include "thread.hpp"

namespace emulator {

/// The registers that setmaxnreg moves from warp to warp: what one releases, another may take.
class RegisterPool {
 public:
  explicit RegisterPool(Worker& worker) : worker_(worker) {}
  /// A block starts with an equal share of the register file for each thread, and an empty pool.
  void begin_block(int thread_count);

  /// Registers of each thread of a warp.
  int of(int warp) const { return of_warp_[warp]; }
  /// Raises a warp's registers per thread. False: the pool has too few, and the warp waits.
  bool raise(int warp, int registers);
  /// Lowers them, and serves the warps that wait.
  void lower(int warp, int registers);
  /// "200 registers per thread, of which 8 are missing", for a thread that waits.
  std::string in_words(const Thread& thread) const;

 private:
  struct Request {
    int warp, registers;
  };
  bool take(Request request);

  Worker& worker_;
  int free_ = 0;                  // per thread of a warp
  std::vector<Request> waiting_;  // in the order in which they came
  int of_warp_[kMaxWarps] = {};
};

}  // namespace emulator
