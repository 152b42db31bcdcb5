// Where the scores lie in global memory: a matrix of floats per query head. P overwrites S in place.
#pragma once

#include <cuda_runtime.h>

#include "attention/problem.hpp"

namespace attention::tiled {

// Floats from one row of scores to the next: a multiple of 4, so that every row begins on 16 bytes.
__host__ __device__ inline int score_stride(const Problem& p) {
  return (p.seq_kv + 3) / 4 * 4;
}

__device__ inline float* score_row(const Problem& p, float* s_gmem, int head, int row) {
  return s_gmem + (size_t(head) * p.seq_q + row) * score_stride(p);
}

inline size_t workspace_bytes(const Problem& p) {
  return size_t(p.batch) * p.heads * p.seq_q * score_stride(p) * sizeof(float);
}

}  // namespace attention::tiled
