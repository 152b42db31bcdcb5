#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "bulk_copies.hpp"
#include "emulator/launch.hpp"
#include "emulator/site.hpp"
#include "emulator/thread_functions.hpp"
#include "fiber.hpp"
#include "kernel_image.hpp"
#include "report.hpp"
#include "warpgroup.hpp"

namespace emulator {

class Tracer;

inline constexpr int kMaxBlockThreads = 1024;
inline constexpr int kMaxWarps = kMaxBlockThreads / 32;
inline constexpr int kNamedBarriers = 16;
inline constexpr int kClusterBarrier =
    kNamedBarriers;  ///< the cluster's, where it is told from those by number
inline constexpr std::size_t kMaxSmemBytes = 227 * 1024;

/// One cp.async, from its issue to the wait that completes it.
struct AsyncCopy {
  char* to;
  const char* from;
  int bytes;
  int source_bytes;  ///< the rest is filled with zeros
};

enum class State : std::uint8_t {
  ready,
  at_block_barrier,
  at_collective,
  at_named_barrier,
  at_cluster_barrier,
  at_mbarrier,
  at_register_pool,   ///< waits in setmaxnreg for other warps' registers
  waiting_for_trace,  ///< its log of accesses is full; continues when its warp's are written out
  exited,
};

class Cluster;
struct Worker;
struct Thread;

/// What a thread's fiber runs.
void thread_entry();

/// An instruction that the lanes of a warp perform together.
struct WarpOperation {
  const char* name;
  /// Must all lanes be at one place in the source (.aligned in the PTX ISA)?
  bool aligned;
  /// Done once, by the last lane to arrive, for the lanes of `mask`; false: the lanes stay blocked.
  bool (*perform)(Worker& worker, Thread* lanes, unsigned mask);
};

/// One CUDA thread of the block that runs on a worker.
struct Thread {
  Fiber fiber;
  uint3 index;
  int linear;
  State state;

  // The warp operation, or the barrier, where it waits.
  const WarpOperation* operation;
  unsigned mask;
  void* arguments;
  Site site;

  std::vector<AsyncCopy> copies;      ///< issued and not yet complete, oldest first
  std::vector<int> committed_groups;  ///< number of those copies in each committed group, oldest first
  int bulk_groups;                    ///< of bulk stores, that it has committed

  // The mbarrier where it waits, and the parity of the phase.
  std::ptrdiff_t mbarrier;
  unsigned mbarrier_parity;

  int warp() const { return linear / 32; }
  int lane() const { return linear % 32; }
};

struct Warp {
  unsigned existing;        ///< lanes that the block has
  unsigned alive;           ///< those that have not returned
  unsigned ready;           ///< those that could run now, the running one excepted
  unsigned waiting;         ///< those at a warp operation
  bool arrived_at_cluster;  ///< and has not waited there since
  unsigned cluster_phase;   ///< of the cluster's barrier when it arrived
  int registers;            ///< a lane, as setmaxnreg leaves them
};

struct NamedBarrier {
  int expected = 0;  ///< threads, from the first arrival
  int arrived = 0;
  std::vector<std::pair<int, unsigned>> blocked;  ///< warps with their lanes
};

/// What all blocks of a launch have in common.
struct LaunchJob {
  const KernelBody* body;
  const KernelImage* image;
  dim3 grid, block;
  dim3 cluster;  ///< in blocks; 1 x 1 x 1 unless the launch says otherwise
  std::size_t dynamic_smem_bytes;
  bool starts_early;  ///< by programmatic stream serialization: maybe before the launch before it has ended
  bool trace;
  std::vector<bool> traced_blocks;  ///< by index; empty: all
};

/// Runs a block: a fiber a thread, lanes in random order within a warp until they block, then another warp.
struct Worker {
  Worker(Cluster& cluster, unsigned rank);
  ~Worker();

  void begin_launch(const LaunchJob& job);
  void begin_block(const LaunchJob& job, uint3 index, std::uint64_t seed);
  /// Is there a thread that can go on, or a copy that can land?
  bool can_run() const { return ready_warps_ != 0 || !bulk_copies.empty(); }
  /// Runs until no thread of the block can go on and all copies have landed. False: one made a fault that
  /// ends the launch.
  bool run();
  void report_deadlock();
  void end_block();

  /// Puts what the block has in shared memory aside, and back.
  void keep_smem();
  void restore_smem();

  // ---- For code that runs on a thread's fiber ----

  /// Gives way until somebody makes this thread ready again.
  ///
  /// Inlined, as is all between it and the kernel: a processor predicts a return by the call before it, and
  /// after a switch that was another fiber's. Each level of calls would cost a misprediction, half as much as
  /// the switch.
  __attribute__((always_inline)) void yield() {
    Thread& from = *current;
    Thread* next = pick_next();
    if (next == &from) return;
    ++switches;
    current = next;
    from.fiber.switch_to(next ? next->fiber : block_loop);
  }
  /// Gives way until the accesses that this thread has logged are written out.
  void wait_for_trace();
  void make_ready(Thread& thread);
  /// Makes this thread wait for the lanes of `mask` and perform `operation` with them.
  __attribute__((always_inline)) void join(const WarpOperation& operation, unsigned mask, void* arguments,
                                           Site site) {
    if (!arrive(operation, mask, arguments, site)) yield();
  }
  /// Ends the block, and with it the launch, after a report of why.
  [[noreturn]] void fail();
  /// Block `rank` of its cluster; ends the block with a report where there is none, or it has returned.
  Worker& block_of_cluster(unsigned rank, Site site);
  /// Is this the first time that this launch meets this fault? Formatting a report costs too much to do in
  /// vain.
  bool first_time(ReportKind kind, std::uintptr_t place);
  /// Global memory is about to be used: reports where the launch before may still run. Either place will do.
  void check_launch_before(Site site, std::uintptr_t pc) {
    if (!launch_before_ended) report_launch_before(site, pc);
  }
  /// "block (0,3,0)"
  std::string block_name() const;

  /// Offset in shared memory: static variables first, then the dynamic array; -1 elsewhere.
  std::ptrdiff_t shared_offset(const void* address) const {
    const char* at = static_cast<const char*>(address);
    if (std::size_t(at - dynamic_smem) < kMaxSmemBytes) return (at - dynamic_smem) + static_bytes();
    if (std::size_t(at - static_smem.begin) < std::size_t(static_smem.end - static_smem.begin)) {
      return at - static_smem.begin;
    }
    return -1;
  }
  /// Of the static part, rounded up so that the dynamic part keeps its alignment.
  std::ptrdiff_t static_bytes() const { return (static_smem.end - static_smem.begin + 1023) / 1024 * 1024; }
  /// Bytes of shared memory in use, from offset 0 on.
  std::ptrdiff_t smem_bytes() const { return static_bytes() + std::ptrdiff_t(dynamic_bytes); }
  /// Where the byte at an offset is now: in place while this block runs, else aside.
  char* shared_at(std::ptrdiff_t offset) {
    if (!kept_aside)
      return offset < static_bytes() ? static_smem.begin + offset : dynamic_smem + (offset - static_bytes());
    return kept_smem.data() + offset;
  }
  /// "tile+64" or "dynamic_smem+1024"; `variable` gets the name alone.
  std::string shared_name(std::ptrdiff_t offset, std::string* variable = nullptr) const;

  Cluster& cluster;
  const unsigned rank;  ///< in the cluster

  Thread threads[kMaxBlockThreads];
  Warp warps[kMaxWarps];
  NamedBarrier named_barriers[kNamedBarriers];
  Thread* current = nullptr;
  const KernelBody* body = nullptr;
  const KernelImage* image = nullptr;
  uint3 block_index;
  int thread_count = 0;
  int warp_count = 0;
  int live = 0;
  bool failed = false;
  bool launch_before_ended = true;  ///< or at least some thread of the block has waited for that

  // __syncthreads
  int barrier_arrived = 0;
  Site barrier_site;
  int barrier_sum = 0;
  int barrier_result = 0;
  int barrier_thread = 0;

  std::vector<Thread*> at_mbarriers;                  ///< that wait
  std::vector<std::ptrdiff_t> unfenced_mbarriers;     ///< initialised, and not yet shown to the copy engine
  std::vector<BulkCopy> bulk_copies;                  ///< issued and not yet landed
  std::vector<BulkStore> bulk_stores;                 ///< issued and not yet waited for
  std::vector<WarpProducts> products;                 ///< by warp
  int free_registers = 0;                             ///< that shrinking warps have left for others
  std::vector<std::pair<int, int>> wanted_registers;  ///< warps that wait for so many a lane

  // The cluster's barrier: threads that have arrived and not returned, and how many phases have ended.
  int cluster_barrier_arrived = 0;
  unsigned cluster_phase = 0;
  void release_cluster_barrier();

  KernelImage::Segment static_smem = {nullptr, nullptr};
  char* dynamic_smem = nullptr;
  std::size_t dynamic_bytes = 0;
  std::vector<char> kept_smem;
  bool kept_aside = false;

  std::unique_ptr<Tracer> tracer_storage;
  Tracer* tracer = nullptr;  ///< of a traced block, else null

  Fiber block_loop;
  std::uint64_t switches = 0;

 private:
  friend void thread_entry();
  friend int block_barrier(BarrierReduction, int, Site);
  Thread* pick_next();
  bool arrive(const WarpOperation& operation, unsigned mask, void* arguments, Site site);
  int pick_bit(unsigned mask);
  bool try_operation(Warp& warp, Thread& member, Thread* performer);
  void release_block_barrier();
  void thread_exits(Thread& thread);
  void report_unfinished(const Thread& thread);
  void report_launch_before(Site site, std::uintptr_t pc);
  void land_a_copy();
  std::uint64_t next_random();

  unsigned ready_warps_ = 0;
  int current_warp_ = 0;
  std::uint64_t random_ = 1;
  std::unordered_set<std::uint64_t> seen_faults_;
};

/// The block that this OS thread runs, or null on a host thread.
extern __thread Worker* current_worker;

}  // namespace emulator
