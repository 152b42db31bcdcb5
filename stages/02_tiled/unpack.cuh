// Eight halves, which a thread loads with one access of 16 bytes, become floats.
#pragma once

#include <cuda_fp16.h>

namespace attention::tiled {

// The eight halves in 16 bytes, as float.
__device__ inline void unpack(uint4 bits, float (&values)[8]) {
  const half2* pairs = reinterpret_cast<const half2*>(&bits);
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

}  // namespace attention::tiled
