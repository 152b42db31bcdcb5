// Four neighbours at a time: 16 bytes of floats, 8 bytes of halves.
#pragma once

#include <cuda_fp16.h>

#include "attention/half_pair.cuh"

namespace attention::wmma {

__device__ inline float4 load4(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}

__device__ inline float4 load4(const half* x) {
  const uint2 bits = *reinterpret_cast<const uint2*>(x);
  const float2 low = __half22float2(reinterpret_cast<const half2&>(bits.x));
  const float2 high = __half22float2(reinterpret_cast<const half2&>(bits.y));
  return make_float4(low.x, low.y, high.x, high.y);
}

__device__ inline void store4(half* to, float4 x) {
  *reinterpret_cast<uint2*>(to) = make_uint2(pack(x.x, x.y), pack(x.z, x.w));
}

}  // namespace attention::wmma
