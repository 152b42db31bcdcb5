#pragma once

#include <string>

#include "emulator/site.hpp"
#include "emulator/thread_functions.hpp"

namespace emulator {

class Worker;
struct Thread;

/// __syncthreads, and its forms that count, all and any a predicate.
class BlockBarrier {
 public:
  explicit BlockBarrier(Worker& worker) : worker_(worker) {}
  void begin_block() { arrived_ = sum_ = 0; }

  /// The current thread arrives. True: it was the last, and goes on.
  bool arrive(bool predicate, Site site);
  /// Of the phase that has just ended.
  int result(BarrierReduction reduction) const;
  /// "__syncthreads, where 32 of 64 threads have arrived"
  std::string in_words() const;
  /// Reports the barrier where others wait for this thread, which has returned, and lets them go on.
  void thread_exits(const Thread& thread);

 private:
  void report_misuse(const Thread& self, Site site);
  void release();

  Worker& worker_;
  int arrived_ = 0;
  Site site_;  // of the first to arrive
  int first_thread_ = 0;
  int sum_ = 0;  // of predicates
  int result_ = 0;
};

}  // namespace emulator
