#pragma once

// How partial results of different keys become one.
#include <cuda_fp16.h>

#include <cmath>

#include "attention/half_pair.cuh"
#include "attention/ptx.cuh"

namespace attention::decode {

// Four columns of a row of O from some of its keys: not yet divided by the sum of exponentials.
struct Partial {
  float4 o;
  float m, l;  // maximum, and sum of 2^(score - m)
};

// [merge_parts]
// Merges `count` partial results of a row. Number i has its maximum and sum at m_l[i * m_l_stride] and its
// columns from o[i * o_stride] on. Each is scaled by what separates its maximum from the largest.
__device__ __forceinline__ Partial merge(int count, const float2* m_l, size_t m_l_stride, const float* o,
                                         size_t o_stride) {
  Partial all = {make_float4(0.f, 0.f, 0.f, 0.f), -INFINITY, 0.f};
  for (int i = 0; i < count; ++i) all.m = fmaxf(all.m, m_l[i * m_l_stride].x);
  for (int i = 0; i < count; ++i) {
    const float2 part = m_l[i * m_l_stride];
    // Where the row sees none of the keys the sum is 0, and must not weigh in whatever the maxima are.
    const float weight = part.y == 0.f ? 0.f : ex2_approx(part.x - all.m);
    const float4 part_o = *reinterpret_cast<const float4*>(o + i * o_stride);
    all.l += weight * part.y;
    all.o.x += weight * part_o.x;
    all.o.y += weight * part_o.y;
    all.o.z += weight * part_o.z;
    all.o.w += weight * part_o.w;
  }
  return all;
}
// [merge_parts]

// Divides by the sum and stores four columns. A row that sees no key has the sum 0 and is zero, not 0 / 0.
__device__ __forceinline__ void store_quotient(half* o_gmem, const Partial& all) {
  const float inverse = all.l == 0.f ? 0.f : 1.f / all.l;
  *reinterpret_cast<uint2*>(o_gmem) =
      make_uint2(pack(all.o.x * inverse, all.o.y * inverse), pack(all.o.z * inverse, all.o.w * inverse));
}

}  // namespace attention::decode
