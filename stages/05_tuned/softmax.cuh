#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "one_pass.cuh"

// The softmax of one half of a warpgroup's keys: s is an accumulator of wgmma, 64 rows by kHalfKeys keys.
namespace attention::tuned {

/// Scores of keys that a row must not see become -infinity. A positive scale keeps the scores' order, so it
/// waits for the exponent; any other is applied here. first_row and first_key: of the warpgroup and the half.
__device__ __forceinline__ void mask(const Problem& p, int first_row, int first_key, int warp_id, int lane_id,
                                     float (&s)[kHalfKeys / 2]) {
#pragma unroll
  for (int i = 0; i < kHalfKeys / 2; ++i) {
    const int row = first_row + warp_id * 16 + lane_id / 4 + i / 2 % 2 * 8;
    const int key = first_key + i / 4 * 8 + lane_id % 4 * 2 + i % 2;
    if (!(p.scale > 0.f)) s[i] *= p.scale * kLog2e;
    if (row >= p.seq_q || key >= visible_keys(p, row)) s[i] = -INFINITY;
  }
}

/// The largest scores of the thread's two rows, of those of the first kKeys keys that the thread has. Two
/// maxima per row, of even and of odd columns: chains of dependent instructions are half as long.
template <int kKeys>
__device__ __forceinline__ void take_maximum(const float (&s)[kHalfKeys / 2], float (&m)[2]) {
  float largest[4] = {s[0], s[1], s[2], s[3]};
#pragma unroll
  for (int i = 4; i < kKeys / 2; ++i) largest[i % 4] = fmaxf(largest[i % 4], s[i]);
  for (int r = 0; r < 2; ++r) m[r] = fmaxf(largest[2 * r], largest[2 * r + 1]);
}

/// P = exp2(exponent_scale * S - m_i) as an operand of wgmma. l_i += the thread's part of the rows' sums.
__device__ __forceinline__ void exponentials(const float (&s)[kHalfKeys / 2], float exponent_scale,
                                             const float (&m_i)[2], float (&l_i)[2],
                                             std::uint32_t (&p_frag)[kHalfKeys / 16][4]) {
#pragma unroll
  for (int i = 0; i < kHalfKeys / 2; i += 2) {
    const int r = i / 2 % 2;
    const float low = ex2_approx(fmaf(s[i], exponent_scale, -m_i[r]));
    const float high = ex2_approx(fmaf(s[i + 1], exponent_scale, -m_i[r]));
    l_i[r] += low + high;
    p_frag[i / 8][i / 2 % 4] = pack(low, high);
  }
}

}  // namespace attention::tuned
