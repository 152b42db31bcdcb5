#pragma once

#include <cstdint>

#include "emulator/site.hpp"
#include "emulator/vector_types.hpp"

// Where a CUDA thread is, the barriers where it waits, and what it exchanges with its warp.

namespace emulator {

// `const` is right although the value depends on the calling fiber: a fiber never changes its index, so the
// compiler may keep the value in a register for as long as it likes.
__attribute__((const)) uint3 thread_index();
__attribute__((const)) uint3 block_index();
__attribute__((const)) int lane_index();

enum class BarrierReduction { none, count, all, any };
int block_barrier(BarrierReduction reduction, int predicate, Site site);
void griddepcontrol_wait();
void named_barrier_sync(int id, int threads, Site site);
void named_barrier_arrive(int id, int threads, Site site);
void warp_barrier(unsigned mask, Site site);

enum class Shuffle { index, up, down, exclusive_or };
/// Replaces the `bytes` at `value` by those of lane `source_lane`, which must be in `mask`.
void shuffle(Shuffle kind, void* value, int bytes, int source_lane, unsigned mask, Site site);

enum class Vote { ballot, any, all, elect };
/// Lanes of `mask` whose predicate is true.
unsigned ballot(Vote kind, unsigned mask, bool predicate, Site site);

/// Lanes of `mask` whose `bytes` at `value` equal this lane's.
unsigned match_any(unsigned mask, const void* value, int bytes, Site site);

enum class Reduction { add, min, max, bit_and, bit_or, bit_xor };
std::uint32_t reduce(Reduction reduction, unsigned mask, std::uint32_t value, bool is_signed, Site site);

enum class Butterfly { sum, max };
/// What log2(lanes) rounds of `value = value op __shfl_xor_sync(whole warp, value, lanes / 2, then /
/// 4, ...)` give.
float butterfly(Butterfly kind, int lanes, float value, Site site);

[[noreturn]] void trap(Site site);

}  // namespace emulator

// Macros, so that no hook of a traced kernel sees a load. The dimensions cannot be macros: cudaLaunchConfig_t
// has members of their names.
#define threadIdx (::emulator::thread_index())
#define blockIdx (::emulator::block_index())
extern __thread dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

#define EMULATOR_SITE ::emulator::Site site = ::emulator::Site::here()

__forceinline__ void __syncthreads(EMULATOR_SITE) {
  ::emulator::block_barrier(::emulator::BarrierReduction::none, 0, site);
}
__forceinline__ int __syncthreads_count(int predicate, EMULATOR_SITE) {
  return ::emulator::block_barrier(::emulator::BarrierReduction::count, predicate, site);
}
__forceinline__ int __syncthreads_and(int predicate, EMULATOR_SITE) {
  return ::emulator::block_barrier(::emulator::BarrierReduction::all, predicate, site);
}
__forceinline__ int __syncthreads_or(int predicate, EMULATOR_SITE) {
  return ::emulator::block_barrier(::emulator::BarrierReduction::any, predicate, site);
}
__forceinline__ void __syncwarp(unsigned mask = 0xffffffffu, EMULATOR_SITE) {
  ::emulator::warp_barrier(mask, site);
}

// The lane that each shuffle reads, by the PTX ISA's shfl.sync: a source outside the segment of `width` lanes
// means the lane's own value.
template <typename T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = warpSize, EMULATOR_SITE) {
  const int lane = ::emulator::lane_index();
  const int source_lane = (lane & ~(width - 1)) | (source & (width - 1));
  ::emulator::shuffle(::emulator::Shuffle::index, &value, sizeof(T), source_lane, mask, site);
  return value;
}
template <typename T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                                 EMULATOR_SITE) {
  const int lane = ::emulator::lane_index();
  const int first = lane & ~(width - 1);
  const int wanted = lane - int(delta);
  ::emulator::shuffle(::emulator::Shuffle::up, &value, sizeof(T), wanted < first ? lane : wanted, mask, site);
  return value;
}
template <typename T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize,
                                   EMULATOR_SITE) {
  const int lane = ::emulator::lane_index();
  const int last = lane | (width - 1);
  const int wanted = lane + int(delta);
  ::emulator::shuffle(::emulator::Shuffle::down, &value, sizeof(T), wanted > last ? lane : wanted, mask,
                      site);
  return value;
}
template <typename T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize,
                                  EMULATOR_SITE) {
  const int lane = ::emulator::lane_index();
  const int last = lane | (width - 1);
  const int wanted = lane ^ lane_mask;
  ::emulator::shuffle(::emulator::Shuffle::exclusive_or, &value, sizeof(T), wanted > last ? lane : wanted,
                      mask, site);
  return value;
}

__forceinline__ unsigned __ballot_sync(unsigned mask, int predicate, EMULATOR_SITE) {
  return ::emulator::ballot(::emulator::Vote::ballot, mask, predicate != 0, site);
}
__forceinline__ int __any_sync(unsigned mask, int predicate, EMULATOR_SITE) {
  return ::emulator::ballot(::emulator::Vote::any, mask, predicate != 0, site) != 0;
}
__forceinline__ int __all_sync(unsigned mask, int predicate, EMULATOR_SITE) {
  return ::emulator::ballot(::emulator::Vote::all, mask, predicate == 0, site) == 0;
}
template <typename T>
__forceinline__ unsigned __match_any_sync(unsigned mask, T value, EMULATOR_SITE) {
  return ::emulator::match_any(mask, &value, sizeof(T), site);
}

#define EMULATOR_REDUCE(name, reduction)                                                   \
  __forceinline__ unsigned name(unsigned mask, unsigned value, EMULATOR_SITE) {            \
    return ::emulator::reduce(::emulator::Reduction::reduction, mask, value, false, site); \
  }
#define EMULATOR_REDUCE_SIGNED(name, reduction)                                                          \
  EMULATOR_REDUCE(name, reduction)                                                                       \
  __forceinline__ int name(unsigned mask, int value, EMULATOR_SITE) {                                    \
    return int(::emulator::reduce(::emulator::Reduction::reduction, mask, unsigned(value), true, site)); \
  }
EMULATOR_REDUCE_SIGNED(__reduce_add_sync, add)
EMULATOR_REDUCE_SIGNED(__reduce_min_sync, min)
EMULATOR_REDUCE_SIGNED(__reduce_max_sync, max)
EMULATOR_REDUCE(__reduce_and_sync, bit_and)
EMULATOR_REDUCE(__reduce_or_sync, bit_or)
EMULATOR_REDUCE(__reduce_xor_sync, bit_xor)
#undef EMULATOR_REDUCE
#undef EMULATOR_REDUCE_SIGNED

__forceinline__ void __trap(EMULATOR_SITE) {
  ::emulator::trap(site);
}

// Threads of a block run one after the other on one CPU thread, and blocks meet through atomics only: what a
// fence orders is in order already.
__forceinline__ void __threadfence() {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
__forceinline__ void __threadfence_block() {
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

// Programmatic dependent launch: see griddepcontrol_wait() in attention/ptx.cuh.
__forceinline__ void cudaGridDependencySynchronize() {
  ::emulator::griddepcontrol_wait();
}
__forceinline__ void cudaTriggerProgrammaticLaunchCompletion() {}
