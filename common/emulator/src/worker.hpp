#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "async_copies.hpp"
#include "block_barrier.hpp"
#include "bulk_copies.hpp"
#include "cluster_barrier.hpp"
#include "convergence.hpp"
#include "emulator/launch.hpp"
#include "fault_log.hpp"
#include "mbarrier.hpp"
#include "named_barriers.hpp"
#include "register_pool.hpp"
#include "scheduler.hpp"
#include "shared_memory.hpp"
#include "warpgroup.hpp"

namespace emulator {

class Cluster;
class Tracer;

/// What all blocks of a launch have in common.
struct LaunchJob {
  const KernelBody* body;
  const KernelImage* image;
  dim3 grid, block;
  dim3 cluster;  ///< in blocks; 1 x 1 x 1 unless the launch says otherwise
  std::size_t dynamic_smem_bytes;
  bool starts_early;  ///< by programmatic stream serialization: maybe before the previous launch has ended
  bool trace;
  std::vector<bool> traced_blocks;  ///< by index; empty: all
};

/// Runs one block at a time: the parts of a streaming multiprocessor that a block uses, and what
/// ties them together.
class Worker {
 public:
  Worker(Cluster& cluster, unsigned rank);
  ~Worker();

  void begin_launch(const LaunchJob& job);
  void begin_block(const LaunchJob& job, uint3 index, std::uint64_t seed);
  /// Is there a thread that can go on, or a copy that can land?
  bool can_run() const { return scheduler.can_run() || bulk_copies.any_in_flight(); }
  /// Runs until no thread of the block can go on and all copies have landed. False: one made a fault that
  /// ends the launch.
  bool run();
  void end_block();
  void end_launch(const LaunchJob& job);

  uint3 block_index() const { return block_index_; }
  /// "block (0,3,0)"
  std::string name() const;
  /// Of a traced block, else null.
  Tracer* tracer() const { return tracer_; }

  // ---- For code that runs on a thread's fiber ----

  /// What a fiber runs: the kernel, and what a thread does when it returns from it.
  [[noreturn]] void run_thread();
  Thread& current() { return scheduler.current(); }
  /// Makes the current thread wait for the lanes of `mask` and perform `operation` with them.
  __attribute__((always_inline)) void join(const WarpOperation& operation, unsigned mask, void* arguments,
                                           Site site) {
    if (!convergence.arrive(operation, mask, arguments, site)) scheduler.yield();
  }
  /// Gives way until the accesses that the current thread has logged are written out.
  void wait_for_trace();
  /// Block `rank` of its cluster; ends the block with a report where there is none, or it has returned.
  Worker& block_of_cluster(unsigned rank, Site site);

  /// Global memory is about to be used: reports where the previous launch may still run. Either
  /// place will do.
  void check_previous_launch(Site site, std::uintptr_t pc) {
    if (!previous_launch_ended_) report_previous_launch(site, pc);
  }
  /// A thread of the block has waited for the previous launch.
  void note_previous_launch_ended() { previous_launch_ended_ = true; }

  /// Ends the block, and with it the launch, after a report of why.
  [[noreturn]] void fail();
  /// Reports "block (0,3,0) thread 5: <what>" of the current thread, and fails.
  [[noreturn]] void refuse_thread(ReportKind kind, Site site, const std::string& what);
  /// Reports "block (0,3,0) warp 1: <what>" of the thread's warp, where the thread is, and fails.
  [[noreturn]] void refuse_warp(ReportKind kind, const Thread& thread, const std::string& what);

  Cluster& cluster;
  const unsigned rank;  ///< in the cluster

  Scheduler scheduler;
  Convergence convergence;
  BlockBarrier block_barrier;
  NamedBarriers named_barriers;
  ClusterBarrier cluster_barrier;
  SharedMemory smem;
  Mbarriers mbarriers;
  AsyncCopies async_copies;
  BulkCopies bulk_copies;
  RegisterPool registers;
  FaultLog faults;
  WarpProducts& products(int warp) { return products_[warp]; }

 private:
  void thread_exits(Thread& thread);
  void report_unfinished(const Thread& thread);
  void report_different_products(const Thread& last);
  void report_previous_launch(Site site, std::uintptr_t pc);

  const KernelBody* body_ = nullptr;
  uint3 block_index_ = {};
  bool failed_ = false;
  bool previous_launch_ended_ = true;  // or at least some thread of the block has waited for that
  WarpProducts products_[kMaxWarps];
  std::unique_ptr<Tracer> tracer_storage_;
  Tracer* tracer_ = nullptr;
};

/// The block that this OS thread runs, or null on a host thread.
extern __thread Worker* current_worker;

}  // namespace emulator
