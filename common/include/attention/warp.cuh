#pragma once

#include <cuda_runtime.h>

namespace attention {

/// Mask of all 32 lanes, which take part in every warp operation of the stages.
inline constexpr unsigned kFullMask = 0xffffffffu;

/// The largest `value` of each group of `Lanes` neighbouring lanes (a power of two up to 32), returned to all
/// of its lanes. Every lane of the warp must take part. A butterfly reduction: log2(Lanes) shuffles.
template <int Lanes = 32>
__device__ __forceinline__ float warp_reduce_max(float value) {
  static_assert(Lanes >= 1 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0);
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullMask, value, distance));
  }
  return value;
}

/// The sum of `value` over each group of `Lanes` neighbouring lanes, with the same conditions.
template <int Lanes = 32>
__device__ __forceinline__ float warp_reduce_sum(float value) {
  static_assert(Lanes >= 1 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0);
#pragma unroll
  for (int distance = Lanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullMask, value, distance);
  }
  return value;
}

}  // namespace attention
