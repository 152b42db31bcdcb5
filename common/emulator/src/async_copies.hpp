#pragma once

#include <cstddef>
#include <vector>

#include "emulator/site.hpp"
#include "thread.hpp"

namespace emulator {

/// One cp.async, from its issue to the wait that completes it.
struct AsyncCopy {
  char* to;
  const char* from;
  int bytes;
  int source_bytes;  ///< the rest is filled with zeros
};

/// The cp.asyncs of a block's threads. Nothing moves until the issuing thread waits, so that a missing wait
/// is a wrong answer.
class AsyncCopies {
 public:
  void begin_block(int thread_count);

  void issue(const Thread& thread, const AsyncCopy& copy, Site site);
  /// Makes the copies since the last commit a group. Returns how many groups with copies in
  /// them are outstanding.
  std::size_t commit(const Thread& thread);
  /// Carries copies out until at most `groups` committed groups are outstanding; negative: all, committed or
  /// not. Returns them, oldest first, until the thread's next call.
  const std::vector<AsyncCopy>& wait(const Thread& thread, int groups);

  std::size_t outstanding(const Thread& thread) const { return queue_of(thread).copies.size(); }
  /// Where the thread issued its latest copy.
  Site latest_site(const Thread& thread) const { return queue_of(thread).latest; }

 private:
  struct Queue {
    std::vector<AsyncCopy> copies;      // oldest first
    std::vector<int> committed_groups;  // number of those copies in each committed group, oldest first
    Site latest;
  };
  const Queue& queue_of(const Thread& thread) const { return queues_[std::size_t(thread.linear)]; }
  Queue& queue_of(const Thread& thread) { return queues_[std::size_t(thread.linear)]; }

  std::vector<Queue> queues_;  // by thread
  std::vector<AsyncCopy> completed_;
};

}  // namespace emulator
