#pragma once

#include <cstdint>

#include "emulator/runtime_types.hpp"
#include "emulator/site.hpp"
#include "fiber.hpp"

namespace emulator {

class Worker;
struct Thread;

inline constexpr int kMaxBlockThreads = 1024;
inline constexpr int kMaxWarps = kMaxBlockThreads / 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;

enum class State : std::uint8_t {
  ready,
  at_block_barrier,
  at_collective,
  at_named_barrier,
  at_cluster_barrier,
  at_mbarrier,
  at_register_pool,   ///< waits in setmaxnreg for registers that other warps release
  waiting_for_trace,  ///< its log of accesses is full; continues when its warp's logs are written out
  exited,
};

/// An instruction that the lanes of a warp execute together.
struct WarpOperation {
  const char* name;
  /// Must all lanes be at one place in the source (.aligned in the PTX ISA)?
  bool aligned;
  /// Called once, by the last lane to arrive, for the lanes of `mask`; false: the lanes stay blocked.
  bool (*perform)(Worker& worker, Thread* lanes, unsigned mask);
};

/// One CUDA thread of the block that runs on a worker.
struct Thread {
  Fiber fiber;
  uint3 index;
  int linear;
  State state;

  // The instruction where it waits.
  Site site;
  const WarpOperation* operation;
  unsigned mask;
  void* arguments;

  int warp() const { return linear / 32; }
  int lane() const { return linear % 32; }
};

}  // namespace emulator
