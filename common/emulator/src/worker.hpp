#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "emulator/launch.hpp"
#include "emulator/site.hpp"
#include "emulator/thread_functions.hpp"
#include "fiber.hpp"
#include "kernel_image.hpp"
#include "report.hpp"

namespace emulator {

class Tracer;

inline constexpr int kMaxBlockThreads = 1024;
inline constexpr int kMaxWarps = kMaxBlockThreads / 32;
inline constexpr int kNamedBarriers = 16;
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
  waiting_for_trace,  ///< its log of accesses is full; continues when its warp's are written out
  exited,
};

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

  int warp() const { return linear / 32; }
  int lane() const { return linear % 32; }
};

struct Warp {
  unsigned existing;  ///< lanes that the block has
  unsigned alive;     ///< those that have not returned
  unsigned ready;     ///< those that could run now, the running one excepted
  unsigned waiting;   ///< those at a warp operation
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
  std::size_t dynamic_smem_bytes;
  bool trace;
  std::vector<bool> traced_blocks;  ///< by index; empty: all
};

/// Runs blocks, one at a time, on one OS thread: a fiber a thread, lanes in random order within a warp until
/// they block, then another warp.
struct Worker {
  Worker();
  ~Worker();

  void begin_launch(const LaunchJob& job);
  /// False: a thread made a fault that ends the launch.
  bool run_block(const LaunchJob& job, std::uint64_t block, std::uint64_t seed);

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
  /// Is this the first time that this launch meets this fault? Formatting a report costs too much to do in
  /// vain.
  bool first_time(ReportKind kind, std::uintptr_t place);
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
  std::ptrdiff_t static_bytes() const { return (static_smem.end - static_smem.begin + 15) / 16 * 16; }
  /// "tile+64" or "dynamic_smem+1024"; `variable` gets the name alone.
  std::string shared_name(std::ptrdiff_t offset, std::string* variable = nullptr) const;

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

  // __syncthreads
  int barrier_arrived = 0;
  Site barrier_site;
  int barrier_sum = 0;
  int barrier_result = 0;
  int barrier_thread = 0;

  KernelImage::Segment static_smem = {nullptr, nullptr};
  char* dynamic_smem = nullptr;
  std::size_t dynamic_bytes = 0;

  std::unique_ptr<Tracer> tracer_storage;
  Tracer* tracer = nullptr;  ///< of a traced block, else null

  Fiber block_loop;
  FiberStacks stacks;
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
  void report_deadlock();
  std::uint64_t next_random();

  unsigned ready_warps_ = 0;
  int current_warp_ = 0;
  std::uint64_t random_ = 1;
  std::unordered_set<std::uint64_t> seen_faults_;
};

/// The worker that this OS thread is, or null on a host thread.
extern __thread Worker* current_worker;

}  // namespace emulator
