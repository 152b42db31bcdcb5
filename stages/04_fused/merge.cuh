// The end of split_keys: groups of warps have each seen other keys, and their sums become one O.
#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "softmax.cuh"

namespace attention::fused {

// Floats from one row of partial sums to the next: rows begin 8 banks apart, so that stores to 4 rows at once
// do not collide.
constexpr int merge_pitch(int head_dim) {
  return head_dim + 8;
}
// Partial sums, then m and l, of every row and group.
constexpr size_t merge_smem_bytes(int head_dim, int rows, int groups) {
  return size_t(groups) * rows * (merge_pitch(head_dim) + 2) * sizeof(float);
}

// [merge]
// Scales the sums of the key groups to one maximum per row, adds them and stores O. A warp of the block has
// 16 of the kBlockQ rows; o_frag's last tile has their sums of P.
template <int kHeadDim, int kBlockQ, int kKeyGroups, int kOTiles>
__device__ inline void merge_key_groups(const Problem& p, const float (&o_frag)[kOTiles][4],
                                        const float (&m_i)[2], half* o_gmem, int block_q) {
  constexpr int kPitch = merge_pitch(kHeadDim);
  float* o_smem = reinterpret_cast<float*>(dynamic_smem);  // [kKeyGroups][kBlockQ][kPitch]
  float2* ml_smem = reinterpret_cast<float2*>(o_smem + kKeyGroups * kBlockQ * kPitch);  // of the same rows
  const int lane_id = threadIdx.x % 32;
  for (int h = 0; h < 2; ++h) {
    const int row = threadIdx.x / 32 * 16 + lane_id / 4 + 8 * h;  // in [kKeyGroups][kBlockQ]
#pragma unroll
    for (int n = 0; n < kOTiles - 1; ++n) {
      *reinterpret_cast<float2*>(o_smem + row * kPitch + 8 * n + lane_id % 4 * 2) =
          make_float2(o_frag[n][2 * h], o_frag[n][2 * h + 1]);
    }
    if (lane_id % 4 == 0) ml_smem[row] = make_float2(m_i[h], o_frag[kOTiles - 1][2 * h]);
  }
  __syncthreads();
  constexpr int kLanesPerRow = kHeadDim / 4;
  for (int i = threadIdx.x; i < kBlockQ * kLanesPerRow; i += kKeyGroups * kBlockQ * 2) {
    const int row = i / kLanesPerRow;
    const int column = i % kLanesPerRow * 4;
    if (block_q + row >= p.seq_q) break;
    float2 ml[kKeyGroups];
    float m = kLowest, l = 0.f;
#pragma unroll
    for (int g = 0; g < kKeyGroups; ++g) {
      ml[g] = ml_smem[g * kBlockQ + row];
      m = fmaxf(m, ml[g].x);
    }
    float4 o = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
    for (int g = 0; g < kKeyGroups; ++g) {
      const float4 part = *reinterpret_cast<const float4*>(o_smem + (g * kBlockQ + row) * kPitch + column);
      const float weight = ex2_approx(ml[g].x - m);
      l += weight * ml[g].y;
      o.x += weight * part.x, o.y += weight * part.y, o.z += weight * part.z, o.w += weight * part.w;
    }
    // A row that sees no key must yield zero, not 0 / 0.
    const float inverse = visible_keys(p, block_q + row) > 0 ? 1.f / l : 0.f;
    // Indexed in units of 8 bytes: nvcc does not see that an offset in halves is a multiple of 4, and would
    // store 4 bytes twice.
    reinterpret_cast<uint2*>(o_gmem)[(size_t(block_q + row) * kHeadDim + column) / 4] =
        make_uint2(pack(o.x * inverse, o.y * inverse), pack(o.z * inverse, o.w * inverse));
  }
}
// [merge]

}  // namespace attention::fused
