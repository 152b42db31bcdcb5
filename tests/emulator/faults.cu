#include "faults.hpp"

#include <cuda_fp16.h>
#include <mma.h>

#include "attention/launch.hpp"
#include "attention/ptx.cuh"

namespace faults {
namespace {

using attention::launch;

// ---- Races on shared memory ----

template <bool kFault>
__global__ void missing_block_barrier(const float* in, float* out) {
  __shared__ float tile[128];
  tile[threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncthreads();
  out[threadIdx.x] = tile[127 - threadIdx.x];  // fault: missing_block_barrier
}

template <bool kFault>
__global__ void missing_warp_barrier(const float* in, float* out) {
  __shared__ float tile[32];
  tile[threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncwarp();
  out[threadIdx.x] = tile[31 - threadIdx.x];  // fault: missing_warp_barrier
}

template <bool kFault>
__global__ void overwritten_too_early(const float* in, float* out) {
  __shared__ float tile[128];
  float sum = 0.0f;
  for (int step = 0; step < 2; ++step) {
    tile[threadIdx.x] = in[128 * step + threadIdx.x];  // fault: overwritten_too_early
    __syncthreads();
    sum += tile[127 - threadIdx.x];
    if (!kFault) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

template <bool kFault>
__global__ void two_writers(const float* in, float* out) {
  __shared__ float tile[64];
  const int slot = kFault ? int(threadIdx.x) / 2 : int(threadIdx.x);
  if (kFault || threadIdx.x < 64) tile[slot] = in[threadIdx.x];  // fault: two_writers
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x % 64];
}

// A shuffle makes lanes meet, but it orders no memory.
template <bool kFault>
__global__ void shuffle_for_barrier(const float* in, float* out) {
  __shared__ float tile[32];
  tile[threadIdx.x] = in[threadIdx.x];
  const float other = __shfl_xor_sync(0xffffffffu, in[threadIdx.x], 1);
  if (!kFault) __syncwarp();
  out[threadIdx.x] = other + tile[31 - threadIdx.x];  // fault: shuffle_for_barrier
}

template <bool kFault>
__global__ void consumer_too_early(const float* in, float* out) {
  __shared__ float tile[32];
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  if (warp_id == 0) {
    if (kFault) attention::bar_arrive(1, 64);
    tile[lane_id] = in[lane_id];
    if (!kFault) attention::bar_arrive(1, 64);
  } else {
    attention::bar_sync(1, 64);
    out[lane_id] = tile[31 - lane_id];  // fault: consumer_too_early
  }
}

// Threads of two warps read; one of the readers overwrites what it read, after the other warp or before it.
template <bool kFault>
__global__ void overwritten_by_a_reader(const float* in, float* out) {
  __shared__ float value;
  const int warp_id = int(threadIdx.x) / 32;
  if (threadIdx.x == 0) value = in[0];
  __syncthreads();
  float seen = 0;
  if (threadIdx.x == 37) seen = value;
  if (warp_id == 1) attention::bar_arrive(1, 64);
  if (warp_id == 0) {
    if (!kFault) attention::bar_sync(1, 64);
    if (threadIdx.x == 5) {
      seen = value;
      value = seen + 1;
    }
    if (kFault) attention::bar_sync(1, 64);
  }
  out[threadIdx.x] = seen;
}

// ---- Races on global memory ----

template <bool kFault>
__global__ void global_race(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x];
  if (!kFault) __syncthreads();
  const float neighbour = out[(threadIdx.x + 1) % 128];  // fault: global_race
  __syncthreads();
  out[threadIdx.x] = neighbour;
}

// ---- cp.async ----

template <bool kFault>
__global__ void async_not_waited(const float* in, float* out) {
  __shared__ __align__(16) float tile[512];
  attention::cp_async_16(&tile[4 * threadIdx.x], in + 4 * threadIdx.x);
  attention::cp_async_commit_group();
  if (!kFault) attention::cp_async_wait_group<0>();
  __syncthreads();
  out[threadIdx.x] = tile[127 - threadIdx.x];  // fault: async_not_waited
  attention::cp_async_wait_group<0>();
}

// Waits until one group is outstanding where it must be none.
template <bool kFault>
__global__ void async_wait_off_by_one(const float* in, float* out) {
  __shared__ __align__(16) float tile[2][128];
  for (int step = 0; step < 2; ++step) {
    if (threadIdx.x < 32)
      attention::cp_async_16(&tile[step][4 * threadIdx.x], in + 128 * step + 4 * threadIdx.x);
    attention::cp_async_commit_group();
  }
  attention::cp_async_wait_group<kFault ? 1 : 0>();
  __syncthreads();
  out[threadIdx.x] = tile[1][threadIdx.x];  // fault: async_wait_off_by_one
  attention::cp_async_wait_group<0>();
}

template <bool kFault>
__global__ void async_wait_never_made(const float* in, float* out) {
  __shared__ __align__(16) float tile[512];
  attention::cp_async_16(&tile[4 * threadIdx.x], in + 4 * threadIdx.x);  // fault: async_wait_never_made
  attention::cp_async_commit_group();
  if (!kFault) attention::cp_async_wait_group<0>();
  out[threadIdx.x] = in[threadIdx.x];
}

// The wait is for a thread's own copies; the neighbour's need a barrier too.
template <bool kFault>
__global__ void async_without_barrier(const float* in, float* out) {
  __shared__ __align__(16) float tile[512];
  attention::cp_async_16(&tile[4 * threadIdx.x], in + 4 * threadIdx.x);
  attention::cp_async_commit_group();
  attention::cp_async_wait_group<0>();
  if (!kFault) __syncthreads();
  out[threadIdx.x] = tile[511 - 4 * threadIdx.x];  // fault: async_without_barrier
}

template <bool kFault>
__global__ void async_misaligned(const float* in, float* out) {
  __shared__ __align__(16) float tile[512];
  const float* source = in + 4 * threadIdx.x + (kFault ? 1 : 0);
  attention::cp_async_16(&tile[4 * threadIdx.x], source);  // fault: async_misaligned
  attention::cp_async_wait_all();
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

// ---- Uninitialised, out of bounds, misaligned ----

template <bool kFault>
__global__ void uninitialized(const float* in, float* out) {
  __shared__ float tile[128];
  if (!kFault || threadIdx.x != 77) tile[threadIdx.x] = in[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];  // fault: uninitialized
}

template <bool kFault>
__global__ void global_read_past_end(const float* in, float* out) {
  out[threadIdx.x] = in[threadIdx.x + (kFault ? 1024 - 127 : 1024 - 128)];  // fault: global_read_past_end
}

template <bool kFault>
__global__ void global_write_before(const float* in, float* out) {
  out[int(threadIdx.x) - (kFault ? 1 : 0)] = in[threadIdx.x];  // fault: global_write_before
}

template <bool kFault>
__global__ void dynamic_past_end(const float* in, float* out) {
  float* tile = reinterpret_cast<float*>(dynamic_smem);
  tile[threadIdx.x + (kFault ? 1 : 0)] = in[threadIdx.x];  // fault: dynamic_past_end
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x + (kFault ? 1 : 0)];
}

template <bool kFault>
__global__ void static_into_neighbour(const float* in, float* out) {
  __shared__ float first[128];
  __shared__ float second[128];
  const int shift = kFault ? 1 : 0;
  second[threadIdx.x] = 0.0f;
  __syncthreads();
  first[threadIdx.x + shift] = in[threadIdx.x];  // fault: static_into_neighbour
  __syncthreads();
  out[threadIdx.x] = first[127 - threadIdx.x] + second[threadIdx.x];
}

template <bool kFault>
__global__ void misaligned_vector(const float* in, float* out) {
  const float* source = in + 4 * threadIdx.x + (kFault ? 1 : 0);
  const float4 four = *reinterpret_cast<const float4*>(source);  // fault: misaligned_vector
  out[threadIdx.x] = four.x + four.w;
}

template <bool kFault>
__global__ void ldmatrix_misaligned(const float* in, float* out) {
  __shared__ __align__(16) half tile[32 * 8 + 8];
  for (int i = 0; i < 8; ++i) tile[8 * threadIdx.x + i] = __float2half(in[i]);
  if (threadIdx.x < 8) tile[256 + threadIdx.x] = __float2half(0.0f);
  __syncwarp();
  std::uint32_t r[4];
  attention::ldmatrix_x4(r, &tile[8 * threadIdx.x + (kFault ? 4 : 0)]);  // fault: ldmatrix_misaligned
  out[threadIdx.x] = float(r[0] + r[1] + r[2] + r[3]);
}

// ---- Barriers ----

template <bool kFault>
__global__ void divergent_barrier(const float* in, float* out) {
  if (kFault && threadIdx.x < 64) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool kFault>
__global__ void exited_at_barrier(const float* in, float* out) {
  if (kFault && threadIdx.x >= 100) return;
  out[threadIdx.x] = in[threadIdx.x];
  __syncthreads();  // fault: exited_at_barrier
  out[threadIdx.x + 128] = in[threadIdx.x];
}

template <bool kFault>
__global__ void half_a_warp_shuffles(const float* in, float* out) {
  float value = in[threadIdx.x];
  if (!kFault || threadIdx.x % 32 < 16)
    value += __shfl_xor_sync(0xffffffffu, value, 1);  // fault: half_a_warp_shuffles
  __syncthreads();
  out[threadIdx.x] = value;
}

template <bool kFault>
__global__ void named_barrier_starved(const float* in, float* out) {
  if (threadIdx.x < 32) {
    attention::bar_sync(3, kFault ? 96 : 64);  // fault: named_barrier_starved
  } else {
    attention::bar_arrive(3, kFault ? 96 : 64);
  }
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool kFault>
__global__ void lane_outside_mask(const float* in, float* out) {
  const unsigned mask = kFault ? 0x0000ffffu : 0xffffffffu;
  out[threadIdx.x] = __shfl_xor_sync(mask, in[threadIdx.x], 1);  // fault: lane_outside_mask
}

template <bool kFault>
__global__ void shuffle_from_outside(const float* in, float* out) {
  if (threadIdx.x >= 16) return;
  out[threadIdx.x] =
      __shfl_sync(0x0000ffffu, in[threadIdx.x], kFault ? 20 : 5);  // fault: shuffle_from_outside
}

template <bool kFault>
__global__ void trapped(const float* in, float* out) {
  if (kFault && threadIdx.x == 5) __trap();  // fault: trapped
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool kFault>
__global__ void deep_stack(const float* in, float* out) {  // fault: deep_stack
  constexpr int kFloats = kFault ? 200 * 1024 / 4 : 1024;
  volatile float local[kFloats];
  for (int i = 0; i < kFloats; i += 512) local[kFloats - 1 - i] = in[threadIdx.x];
  out[threadIdx.x] = local[kFloats - 1];
}

// ---- Launches ----

#define FAULT_LAUNCH(name, threads, smem_bytes)                           \
  cudaError_t name##_faulty(const float* in, float* out) {                \
    return launch(name<true>, 1, threads, smem_bytes, nullptr, in, out);  \
  }                                                                       \
  cudaError_t name##_clean(const float* in, float* out) {                 \
    return launch(name<false>, 1, threads, smem_bytes, nullptr, in, out); \
  }
FAULT_LAUNCH(missing_block_barrier, 128, 0)
FAULT_LAUNCH(missing_warp_barrier, 32, 0)
FAULT_LAUNCH(overwritten_too_early, 128, 0)
FAULT_LAUNCH(two_writers, 128, 0)
FAULT_LAUNCH(shuffle_for_barrier, 32, 0)
FAULT_LAUNCH(consumer_too_early, 64, 0)
FAULT_LAUNCH(overwritten_by_a_reader, 128, 0)
FAULT_LAUNCH(global_race, 128, 0)
FAULT_LAUNCH(async_not_waited, 128, 0)
FAULT_LAUNCH(async_wait_off_by_one, 128, 0)
FAULT_LAUNCH(async_wait_never_made, 128, 0)
FAULT_LAUNCH(async_without_barrier, 128, 0)
FAULT_LAUNCH(async_misaligned, 64, 0)
FAULT_LAUNCH(uninitialized, 128, 0)
FAULT_LAUNCH(global_read_past_end, 128, 0)
FAULT_LAUNCH(global_write_before, 128, 0)
FAULT_LAUNCH(dynamic_past_end, 128, 512)
FAULT_LAUNCH(static_into_neighbour, 128, 0)
FAULT_LAUNCH(misaligned_vector, 128, 0)
FAULT_LAUNCH(ldmatrix_misaligned, 32, 0)
FAULT_LAUNCH(divergent_barrier, 128, 0)
FAULT_LAUNCH(exited_at_barrier, 128, 0)
FAULT_LAUNCH(half_a_warp_shuffles, 128, 0)
FAULT_LAUNCH(named_barrier_starved, 64, 0)
FAULT_LAUNCH(lane_outside_mask, 32, 0)
FAULT_LAUNCH(shuffle_from_outside, 32, 0)
FAULT_LAUNCH(trapped, 32, 0)
FAULT_LAUNCH(deep_stack, 32, 0)

}  // namespace

std::span<const Fault> all() {
#define FAULT_ENTRY(name) \
  { #name, name##_faulty, name##_clean }
  static constexpr Fault kFaults[] = {
      FAULT_ENTRY(missing_block_barrier),
      FAULT_ENTRY(missing_warp_barrier),
      FAULT_ENTRY(overwritten_too_early),
      FAULT_ENTRY(two_writers),
      FAULT_ENTRY(shuffle_for_barrier),
      FAULT_ENTRY(consumer_too_early),
      FAULT_ENTRY(overwritten_by_a_reader),
      FAULT_ENTRY(global_race),
      FAULT_ENTRY(async_not_waited),
      FAULT_ENTRY(async_wait_off_by_one),
      FAULT_ENTRY(async_wait_never_made),
      FAULT_ENTRY(async_without_barrier),
      FAULT_ENTRY(async_misaligned),
      FAULT_ENTRY(uninitialized),
      FAULT_ENTRY(global_read_past_end),
      FAULT_ENTRY(global_write_before),
      FAULT_ENTRY(dynamic_past_end),
      FAULT_ENTRY(static_into_neighbour),
      FAULT_ENTRY(misaligned_vector),
      FAULT_ENTRY(ldmatrix_misaligned),
      FAULT_ENTRY(divergent_barrier),
      FAULT_ENTRY(exited_at_barrier),
      FAULT_ENTRY(half_a_warp_shuffles),
      FAULT_ENTRY(named_barrier_starved),
      FAULT_ENTRY(lane_outside_mask),
      FAULT_ENTRY(shuffle_from_outside),
      FAULT_ENTRY(trapped),
      FAULT_ENTRY(deep_stack),
  };
  return kFaults;
}

}  // namespace faults
