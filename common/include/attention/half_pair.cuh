#pragma once

#include <cuda_fp16.h>

#include <cstdint>

namespace attention {

/// Two numbers rounded to half, `low` in the lower 16 bits. This is one register of a matrix instruction's
/// FP16 operand, and two neighbouring elements of a row in memory.
__device__ __forceinline__ std::uint32_t pack(float low, float high) {
  const half2 pair = __floats2half2_rn(low, high);
  return reinterpret_cast<const std::uint32_t&>(pair);
}

/// The two halves in the bits of `pair`, converted to float.
/// A load of 16 bytes as float4 holds four such pairs.
__device__ __forceinline__ float2 unpack(float pair) {
  return __half22float2(reinterpret_cast<const half2&>(pair));
}

}  // namespace attention
