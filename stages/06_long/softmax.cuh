#pragma once

// The online softmax of a thread's two rows, 8 apart.
#include "attention/constants.hpp"
#include "attention/indexing.cuh"
#include "attention/ptx.cuh"
#include "attention/warp.cuh"
#include "order.cuh"

namespace attention::long_rows {

// Start of a running maximum: below any score of finite halves, and finite, so that a masked score, -inf,
// minus it is -inf and not NaN.
inline constexpr float kLowest = -1e30f;
// A maximum may be surpassed by 8 (a factor 2^8 of P) before O is rescaled: P stays below 256, and half goes
// up to 65504.
inline constexpr float kRescaleSlack = 8.f;

// How scores become exponents of 2. A positive scale keeps the order of scores, so it can wait for the
// exponent, where it costs nothing; any other is applied to the scores first.
struct Scale {
  float log2;      // the problem's scale times log2(e)
  bool first;      // applied to the scores?
  float exponent;  // what is left to apply in the exponent
  float slack;     // kRescaleSlack, in units of scores

  __device__ explicit Scale(const Problem& p)
      : log2(p.scale * kLog2e),
        first(!(log2 > 0.f)),
        exponent(first ? 1.f : log2),
        slack(kRescaleSlack / exponent) {}
};

// [online_softmax]
// What a thread knows of its two rows. Sums are of the thread's own columns until the end.
struct RowState {
  float m_i[2] = {kLowest, kLowest};  // running maximum, in units of s
  float l_i[2] = {0.f, 0.f};          // running sum
  float correction[2];                // what O is still to be multiplied by, where softmax() says so
  int keys[2];                        // how many the rows see
  int unmasked_tiles;                 // that every row of the warpgroup sees in full
};

// The state before the first tile. `first_row` is the warpgroup's, `thread_row` the thread's upper row in it.
template <typename T>
__device__ __forceinline__ RowState start_rows(const Problem& p, int first_row, int thread_row) {
  RowState rows;
  for (int h = 0; h < 2; ++h) rows.keys[h] = visible_keys(p, first_row + thread_row + 8 * h);
  rows.unmasked_tiles = visible_keys(p, first_row) / T::kBlockKv;
  return rows;
}

// Multiplies an accumulator, each row by its factor.
template <int kRegisters>
__device__ __forceinline__ void multiply(float (&accumulator)[kRegisters], const float (&factor)[2]) {
#pragma unroll
  for (int j = 0; j < kRegisters; ++j) accumulator[j] *= factor[j / 2 % 2];
}

// Masks the keys that a row does not see: columns from limit[] on, counted from the thread's first.
template <typename T>
__device__ __forceinline__ void mask(float (&s)[T::kBlockKv / 2], const int (&limit)[2]) {
#pragma unroll
  for (int j = 0; j < T::kBlockKv / 2; ++j) {
    if (j / 4 * 8 + j % 2 >= limit[j / 2 % 2]) s[j] = -INFINITY;
  }
}

// Raises m_i where a row of the warp has surpassed it by more than the slack, and says whether. As long as
// none has, no lane needs to know another's maximum: one vote, no shuffle.
template <typename T>
__device__ __forceinline__ bool raise_maximum(const float (&s)[T::kBlockKv / 2], RowState& rows,
                                              const Scale& scale) {
  float largest[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = fmaxf(s[2 * h], s[2 * h + 1]);
#pragma unroll
    for (int j = 4; j < T::kBlockKv / 2; j += 4) {
      largest[h] = fmaxf(largest[h], fmaxf(s[j + 2 * h], s[j + 2 * h + 1]));
    }
  }
  const bool passed = largest[0] - rows.m_i[0] > scale.slack || largest[1] - rows.m_i[1] > scale.slack;
  if (!__any_sync(kFullMask, passed)) return false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float m_new = fmaxf(rows.m_i[h], warp_reduce_max<4>(largest[h]));
    rows.correction[h] = ex2_approx((rows.m_i[h] - m_new) * scale.exponent);
    rows.l_i[h] *= rows.correction[h];
    rows.m_i[h] = m_new;
  }
  return true;
}

// Scores become exponentials.
template <typename T>
__device__ __forceinline__ void exponentials(float (&s)[T::kBlockKv / 2], RowState& rows,
                                             float exponent_scale) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float shift = rows.m_i[h] * exponent_scale;
#pragma unroll
    for (int j = 2 * h; j < T::kBlockKv / 2; j += 4) {
      s[j] = ex2_approx(fmaf(s[j], exponent_scale, -shift));
      s[j + 1] = ex2_approx(fmaf(s[j + 1], exponent_scale, -shift));
      rows.l_i[h] += s[j] + s[j + 1];
    }
  }
}

// The softmax of a tile: S becomes exponentials. Says whether O has to be multiplied by rows.correction.
template <typename T>
__device__ __forceinline__ bool softmax(float (&s)[T::kBlockKv / 2], int tile, RowState& rows,
                                        const Scale& scale) {
  if (scale.first) multiply(s, {scale.log2, scale.log2});
  if (tile >= rows.unmasked_tiles) {
    const int first_key = tile * T::kBlockKv + threadIdx.x % 4 * 2;
    mask<T>(s, {rows.keys[0] - first_key, rows.keys[1] - first_key});
  }
  const bool raised = raise_maximum<T>(s, rows, scale);
  exponentials<T>(s, rows, scale.exponent);
  return raised;
}
// [online_softmax]

}  // namespace attention::long_rows
