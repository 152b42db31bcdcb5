// What the softmax of every variant of this stage shares: where its maximum starts, and the mask.
#pragma once

#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/problem.hpp"

namespace attention::fused {

// Start of a running maximum: below any score of finite halves (65504^2 * 128 < 1e12), and finite, so that a
// masked score, -inf, minus it is -inf and not NaN.
constexpr float kLowest = -1e30f;

// Gives the score -inf to keys that a row does not see. s holds the scores of 16 rows from first_row on with
// kSTiles x 8 keys from first_key on, as mma's accumulators.
template <int kSTiles>
__device__ inline void mask_scores(const Problem& p, float (&s)[kSTiles][4], int first_row, int first_key) {
  const int lane_id = threadIdx.x % 32;
  for (int h = 0; h < 2; ++h) {
    const int row = first_row + lane_id / 4 + 8 * h;
    const int visible = visible_keys(p, row) - first_key - lane_id % 4 * 2;  // from the lane's first key on
#pragma unroll
    for (int n = 0; n < kSTiles; ++n) {
      if (8 * n >= visible) s[n][2 * h] = -INFINITY;
      if (8 * n + 1 >= visible) s[n][2 * h + 1] = -INFINITY;
    }
  }
}

}  // namespace attention::fused
