#pragma once

#include <cstdint>

#include "thread.hpp"

namespace emulator {

class Tracer;

/// Decides which thread of a block runs: a fiber per thread, one at a time, lanes in random order within a
/// warp until they block, then another warp. A seed decides the order.
class Scheduler {
 public:
  void begin_launch(dim3 block);
  /// All threads of a block are ready. Its fibers take the stacks from `first_stack` on.
  void begin_block(const FiberStacks& stacks, int first_stack, std::uint64_t seed, Tracer* tracer);

  /// Runs threads until none can go on. Called from the OS thread's own stack.
  void run();
  bool can_run() const { return ready_warps_ != 0; }

  Thread& current() { return *current_; }
  const Thread& current() const { return *current_; }
  /// Does a thread of the block run (and not the code around it)?
  bool has_current() const { return current_ != nullptr; }

  Thread& thread(int linear) { return threads_[linear]; }
  const Thread& thread(int linear) const { return threads_[linear]; }
  /// The 32 lanes of a warp.
  Thread* lanes(int warp) { return &threads_[warp * 32]; }
  int thread_count() const { return thread_count_; }
  int warp_count() const { return warp_count_; }
  /// Lanes that the block has in a warp, and those of them that have not returned.
  unsigned existing(int warp) const { return existing_[warp]; }
  unsigned alive(int warp) const { return alive_[warp]; }
  /// Threads that have not returned.
  int live() const { return live_; }

  void make_ready(Thread& thread);
  /// The current thread, which was made ready with others, goes on at once.
  void keep_current();
  /// The thread has returned.
  void retire(Thread& thread);

  /// Gives way until something makes this thread ready again.
  ///
  /// Inlined, as is everything between it and the kernel: a processor predicts where a return goes from the
  /// call before it, and after a switch that call was another fiber's. Each level of calls would cost a
  /// misprediction, half as much as the switch itself.
  __attribute__((always_inline)) void yield() {
    Thread& from = *current_;
    Thread* next = pick_next();
    if (next == &from) return;
    ++switches_;
    current_ = next;
    from.fiber.switch_to(next ? next->fiber : block_loop_);
  }
  /// Leaves a thread that has returned, for the next one.
  [[noreturn]] void leave_returned();
  /// Leaves the block in the middle of the current thread, which never goes on.
  [[noreturn]] void abandon_block();

  std::uint64_t random();
  /// Switches between fibers since the last call.
  std::uint64_t take_switches();

 private:
  static void start_thread();
  Thread* pick_next();
  int pick_bit(unsigned mask);

  Thread threads_[kMaxBlockThreads];
  Thread* current_ = nullptr;
  Fiber block_loop_;
  dim3 block_;
  int thread_count_ = 0;
  int warp_count_ = 0;
  int live_ = 0;
  int current_warp_ = 0;
  unsigned ready_warps_ = 0;        // bit by warp
  unsigned ready_[kMaxWarps] = {};  // lanes that could run now, the running one excepted
  unsigned alive_[kMaxWarps] = {};
  unsigned existing_[kMaxWarps] = {};
  std::uint64_t random_ = 1;
  std::uint64_t switches_ = 0;
  Tracer* tracer_ = nullptr;
};

}  // namespace emulator
