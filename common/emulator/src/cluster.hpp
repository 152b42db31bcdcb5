#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "worker.hpp"

namespace emulator {

/// The blocks that one OS thread runs side by side: those of a cluster, or a single one.
///
/// One of them runs at a time, until none of its threads can. All of them see their shared memory at the same
/// addresses, so what a block has there is kept aside while another one runs.
class Cluster {
 public:
  void begin_launch(const LaunchJob& job);
  /// False: a thread made a fault that ends the launch.
  bool run(const LaunchJob& job, std::uint64_t index, std::uint64_t seed);
  void end_launch(const LaunchJob& job);

  const FiberStacks& stacks() const { return stacks_; }
  unsigned size() const { return size_; }
  Worker& block(unsigned rank) { return *blocks_[rank]; }
  /// Ends the phase of the cluster's barrier where all threads that have not returned have arrived.
  void check_barrier();
  /// "the cluster's barrier, where 32 of 64 threads have arrived"
  std::string barrier_in_words() const;
  /// Of all its blocks since the last call.
  std::uint64_t take_switches();

 private:
  // Threads of all its blocks at the cluster's barrier, and those that have not returned.
  struct Arrivals {
    int arrived, live;
  };
  Arrivals arrivals() const;
  void enter(unsigned rank);

  FiberStacks stacks_;
  std::vector<std::unique_ptr<Worker>> blocks_;
  unsigned size_ = 1;
};

}  // namespace emulator
