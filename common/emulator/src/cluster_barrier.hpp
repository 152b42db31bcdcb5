#pragma once

#include "thread.hpp"

namespace emulator {

/// A block's part in the barrier of its cluster, where a warp's lanes arrive together.
class ClusterBarrier {
 public:
  explicit ClusterBarrier(Worker& worker) : worker_(worker) {}
  void begin_block();

  /// A warp arrives with the lanes of `mask`; `relaxed`: that orders no memory.
  void arrive(Thread* lanes, unsigned mask, bool relaxed);
  /// False: it must wait, since the phase in which it arrived has not ended.
  bool wait(Thread* lanes, unsigned mask);
  void thread_exits(const Thread& thread);
  /// Threads that have arrived in this phase and not returned.
  int arrived() const { return arrived_; }
  /// All threads of the cluster have arrived: ends the phase.
  void release();

 private:
  struct WarpState {
    bool has_arrived = false;  // and not waited since
    unsigned phase = 0;        // when it arrived
  };

  Worker& worker_;
  int arrived_ = 0;
  unsigned phase_ = 0;
  WarpState warps_[kMaxWarps];
};

}  // namespace emulator
