#pragma once

// Warp reductions: the emulated device's twin of common/include/attention/warp.cuh, which says what each one
// does. They stand for the same shuffles, count as such and round the same, but the lanes meet once for all
// of them: meeting is what takes time here.

#include <cuda_runtime.h>

namespace attention {

inline constexpr unsigned kFullMask = 0xffffffffu;

template <int Lanes = 32>
__device__ __forceinline__ float warp_reduce_max(float value, EMULATOR_SITE) {
  static_assert(Lanes >= 1 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0);
  return ::emulator::butterfly(::emulator::Butterfly::max, Lanes, value, site);
}

template <int Lanes = 32>
__device__ __forceinline__ float warp_reduce_sum(float value, EMULATOR_SITE) {
  static_assert(Lanes >= 1 && Lanes <= 32 && (Lanes & (Lanes - 1)) == 0);
  return ::emulator::butterfly(::emulator::Butterfly::sum, Lanes, value, site);
}

}  // namespace attention
