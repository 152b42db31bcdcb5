// The softmax of one row by one warp.
#pragma once

#include <cuda_fp16.h>

#include "attention/warp.cuh"
#include "scores.cuh"
#include "vector4.cuh"

namespace attention::wmma {

// Scores chunk + 4 lane_id .. chunk + 4 lane_id + 3 of a row, and those every 128 keys on. Keys that the row
// does not see count as -infinity.
template <int kVectors>
__device__ inline void load_scores(float (&s_rmem)[kVectors][4], const float* s_row_gmem, int lane_id,
                                   int chunk, int keys) {
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int key = chunk + (i * 32 + lane_id) * 4;
    const float4 s = key < keys ? load4(s_row_gmem + key) : make_float4(0.f, 0.f, 0.f, 0.f);
    s_rmem[i][0] = key + 0 < keys ? s.x : -INFINITY;
    s_rmem[i][1] = key + 1 < keys ? s.y : -INFINITY;
    s_rmem[i][2] = key + 2 < keys ? s.z : -INFINITY;
    s_rmem[i][3] = key + 3 < keys ? s.w : -INFINITY;
  }
}

// [softmax_row]
// P = softmax(S) of a row that sees `keys` keys. The registers of a warp, kVectors float4 per lane, hold
// 128 * kVectors scores. A row of up to that length is read once, a longer one twice, with a running maximum
// and sum. P overwrites S as halves, and no score is overwritten before it has been read.
template <int kVectors>
__device__ inline void softmax_row(float* s_row_gmem, int lane_id, int keys) {
  constexpr int kChunk = 128 * kVectors;
  half* p_row_gmem = reinterpret_cast<half*>(s_row_gmem);

  float s_rmem[kVectors][4];
  float m_i = -INFINITY;  // largest score so far
  float l_i = 0.f;        // sum of exp(score - m_i) so far
  for (int chunk = 0; chunk < keys; chunk += kChunk) {
    load_scores(s_rmem, s_row_gmem, lane_id, chunk, keys);
    float m_new = m_i;
    for (const auto& s : s_rmem) m_new = fmaxf(m_new, fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3])));
    m_new = warp_reduce_max(m_new);
    float sum = 0.f;
    for (auto& s : s_rmem) {
      for (float& x : s) sum += x = __expf(x - m_new);
    }
    l_i = l_i * __expf(m_i - m_new) + warp_reduce_sum(sum);
    m_i = m_new;
  }

  const float inverse = 1.f / l_i;
  for (int chunk = 0; chunk < keys; chunk += kChunk) {
    if (keys > kChunk) {  // the registers hold the last chunk only
      load_scores(s_rmem, s_row_gmem, lane_id, chunk, keys);
      for (auto& s : s_rmem) {
        for (float& x : s) x = __expf(x - m_i);
      }
    }
    __syncwarp();  // every lane has read the chunk before any lane overwrites it; a shuffle orders no memory
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int key = chunk + (i * 32 + lane_id) * 4;
      const auto& s = s_rmem[i];
      // Up to a multiple of 8 keys, what the output kernel loads at once; unseen keys weigh exp(-inf) = 0.
      if (key < round_up(keys, 8)) {
        store4(p_row_gmem + key, make_float4(s[0] * inverse, s[1] * inverse, s[2] * inverse, s[3] * inverse));
      }
    }
  }
}
// [softmax_row]

}  // namespace attention::wmma
