#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/warp.cuh"
#include "one_pass.cuh"

// Merging partial results of several warpgroups, which split the keys of the same rows.
//
// A thread sends them to another block as FP16: two neighbouring eight-column tiles of O, eight numbers in 16
// bytes. The thread that receives them has the same rows and columns.
namespace attention::tuned {

/// Two tiles, to be sent.
__device__ __forceinline__ float4 pack_tiles(const float (*tiles)[4]) {
  return make_float4(
      __uint_as_float(pack(tiles[0][0], tiles[0][1])), __uint_as_float(pack(tiles[0][2], tiles[0][3])),
      __uint_as_float(pack(tiles[1][0], tiles[1][1])), __uint_as_float(pack(tiles[1][2], tiles[1][3])));
}

/// tiles = own_weight * tiles + weight * what was packed. A weight for each of the thread's two rows.
__device__ __forceinline__ void merge_tiles(float (*tiles)[4], const float (&own_weight)[2], float4 packed,
                                            const float (&weight)[2]) {
  const float2 pairs[4] = {unpack(packed.x), unpack(packed.y), unpack(packed.z), unpack(packed.w)};
  for (int i = 0; i < 4; ++i) {
    float* own = &tiles[i / 2][2 * (i % 2)];
    own[0] = fmaf(pairs[i].x, weight[i % 2], own[0] * own_weight[i % 2]);
    own[1] = fmaf(pairs[i].y, weight[i % 2], own[1] * own_weight[i % 2]);
  }
}

/// 1 / l, or 0 for a row that sees no key (none where kUnmasked): it must yield zero, not 0 / 0.
template <bool kUnmasked>
__device__ __forceinline__ float inverse_of(float l) {
  return kUnmasked || l > 0.f ? __fdividef(1.f, l) : 0.f;
}

/// The weights of partial results in a merge: of our own, which is not divided by its sum yet, and of the
/// others, which are divided by theirs.
template <bool kUnmasked, int kOthers>
__device__ __forceinline__ void weigh(const float (&m_i)[2], const float (&l_i)[2],
                                      const RowPairStats (&other)[kOthers], float (&own_weight)[2],
                                      float (&weight)[kOthers][2]) {
  for (int r = 0; r < 2; ++r) {
    float m = m_i[r];
    for (int i = 0; i < kOthers; ++i) m = fmaxf(m, other[i].m[r]);
    own_weight[r] = ex2_approx(m_i[r] - m);
    float l = own_weight[r] * l_i[r];
    for (int i = 0; i < kOthers; ++i) {
      weight[i][r] = ex2_approx(other[i].m[r] - m) * other[i].l[r];
      l += weight[i][r];
    }
    const float inverse = inverse_of<kUnmasked>(l);
    own_weight[r] *= inverse;
    for (int i = 0; i < kOthers; ++i) weight[i][r] *= inverse;
  }
}

/// Writes two neighbouring tiles, of which `first_tile` is the first, to O. Neighbouring lanes swap a pair:
/// even lanes then have four columns of the first tile, odd lanes of the second, and each stores 8 bytes.
template <bool kUnmasked>
__device__ __forceinline__ void store_tiles(const Problem& p, half* o_gmem, int head, int first_row,
                                            int warp_id, int lane_id, int first_tile,
                                            const float (&tiles)[2][4]) {
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + warp_id * 16 + lane_id / 4 + 8 * r;
    std::uint32_t low = pack(tiles[0][2 * r], tiles[0][2 * r + 1]);
    std::uint32_t high = pack(tiles[1][2 * r], tiles[1][2 * r + 1]);
    const std::uint32_t taken = __shfl_xor_sync(kFullMask, lane_id % 2 == 0 ? high : low, 1);
    if (lane_id % 2 == 0) {
      high = taken;
    } else {
      low = taken;
    }
    if (!kUnmasked && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    const int column = (first_tile + lane_id % 2) * 8 + lane_id % 4 / 2 * 4;
    *reinterpret_cast<uint2*>(row_gmem + column) = make_uint2(low, high);
  }
}

}  // namespace attention::tuned
