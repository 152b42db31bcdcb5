#pragma once

#include <cuda_runtime.h>

namespace attention {

/// Lanes that take part in every warp operation of the stages: all of them.
inline constexpr unsigned kFullWarp = 0xffffffffu;

/// Sum of `value` over groups of kLanes neighbouring lanes (a power of two up to 32); every lane gets it, with the
/// same bits. All 32 lanes must call it.
template <int kLanes = 32>
__device__ inline float warp_sum(float value) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(kFullWarp, value, distance);
  }
  return value;
}

/// Largest `value` over groups of kLanes neighbouring lanes, as warp_sum(). NaN loses to any number (fmaxf).
template <int kLanes = 32>
__device__ inline float warp_max(float value) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kFullWarp, value, distance));
  }
  return value;
}

}  // namespace attention
