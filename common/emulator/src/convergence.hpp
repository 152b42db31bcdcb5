#pragma once

#include "thread.hpp"

namespace emulator {

/// Where the lanes of a warp converge for an instruction that they execute together: each waits until all
/// lanes of its mask are there, and the last one performs the instruction for all.
class Convergence {
 public:
  explicit Convergence(Worker& worker) : worker_(worker) {}
  void begin_block();

  /// The current thread arrives. True: it was the last, the operation is performed, and it goes on.
  bool arrive(const WarpOperation& operation, unsigned mask, void* arguments, Site site);
  /// The lanes that wait for this thread, which has returned, wait in vain; a GPU of today lets them go on.
  void thread_exits(const Thread& thread);
  /// Lanes of its mask that a waiting thread still waits for.
  unsigned missing(const Thread& thread) const;

 private:
  bool try_operation(Thread& member, const Thread* performer);

  Worker& worker_;
  unsigned waiting_[kMaxWarps] = {};
};

/// Ends the block with a report where not all 32 lanes take part in an instruction of the whole warp.
void need_whole_warp(Worker& worker, const Thread* lanes, unsigned mask);

}  // namespace emulator
