// Where the scores lie in global memory.
#pragma once

#include <cuda_runtime.h>

#include "attention/problem.hpp"

namespace attention::wmma {

constexpr int kFragment = 16;  // rows, columns and depth of a fragment

__host__ __device__ constexpr int round_up(int a, int b) {
  return (a + b - 1) / b * b;
}

// [workspace]
// Scores of a head: rows and columns rounded up to whole fragments, so that a fragment can be stored whole at
// the end of the matrix, and rows start on 64 bytes (WMMA needs 32). P overwrites S: a row of halves at the
// start of each row of floats.
__host__ __device__ inline int score_rows(const Problem& p) {
  return round_up(p.seq_q, kFragment);
}
__host__ __device__ inline int score_ld(const Problem& p) {
  return round_up(p.seq_kv, kFragment);
}
inline size_t score_workspace_bytes(const Problem& p) {
  return size_t(p.batch) * p.heads * score_rows(p) * score_ld(p) * sizeof(float);
}
// [workspace]

}  // namespace attention::wmma
