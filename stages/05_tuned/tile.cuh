#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/indexing.cuh"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "key_groups.hpp"

// Rows of tensors, the last of which may lie past the end, and tiles of them in shared memory.
namespace attention::tuned {

/// Keys that query row `row` sees; none for a row past the end.
__device__ inline int keys_of(const Problem& p, int row) {
  return row < p.seq_q ? visible_keys(p, row) : 0;
}

/// Two neighbouring halves of a row of Q, or zeros for a row past the end.
__device__ inline std::uint32_t load_pair(const half* source, bool inside) {
  return inside ? *reinterpret_cast<const std::uint32_t*>(source) : 0u;
}

/// Offset, in halves, of 16-byte chunk `chunk` of row `row`. The same chunk of eight neighbouring rows lies
/// in eight different groups of banks, so ldmatrix reads it without conflicts.
template <int kHeadDim>
__device__ inline int swizzled(int row, int chunk) {
  return row * kHeadDim + (chunk ^ (row % 8)) * 8;
}

/// One group's threads start the copy of kRows rows to shared memory; rows from `rows` on become zero.
template <int kHeadDim, int kRows>
__device__ inline void copy_rows_async(half* smem, const half* gmem, int rows, int group_thread) {
  constexpr int kChunks = kHeadDim / 8;
#pragma unroll 4
  for (int i = group_thread; i < kRows * kChunks; i += kGroupThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool inside = row < rows;
    cp_async_16(smem + swizzled<kHeadDim>(row, chunk), inside ? gmem + i * 8 : gmem, inside ? 16 : 0);
  }
  cp_async_commit_group();
}

}  // namespace attention::tuned
