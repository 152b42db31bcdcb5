// A tile in shared memory and the copy that fills it, as in pipelined.cu, for every variant after that.
#pragma once

#include <cuda_fp16.h>

#include <bit>
#include <cstdint>

#include "attention/ptx.cuh"

namespace attention::fused {

constexpr int kChunkHalves = 8;  // 16 bytes: what a lane copies at once, and a row of an 8 x 8 matrix

// Where 16-byte chunk `chunk` of row `row` lies in a tile, in halves. Rows of 64 or 192 bytes begin in two
// places alternately: there two neighbouring rows share one of four patterns.
template <int kHeadDim>
__device__ inline int tile_offset(int row, int chunk) {
  constexpr int kPatterns = kHeadDim % 64 == 0 ? 8 : 4;
  chunk ^= row / (8 / kPatterns) % kPatterns;
  return row * kHeadDim + chunk * kChunkHalves;
}

// Copies rows first_row .. first_row + kRows of a [rows, kHeadDim] matrix into a tile. Rows past the end
// become zeros: P is 0 there, but 0 times a NaN in memory that nobody wrote would not be.
template <int kHeadDim, int kRows, int kThreads>
__device__ inline void copy_tile(half* tile_smem, const half* gmem, int first_row, int rows) {
  constexpr int kChunksPerRow = kHeadDim / kChunkHalves;
  constexpr int kLanesPerRow = std::bit_ceil(unsigned(kChunksPerRow));  // 16 for the 12 chunks of head_dim 96
  constexpr int kRowsAtOnce = kThreads / kLanesPerRow;
  static_assert(kRowsAtOnce % 8 == 0);  // the swizzle's period: chunk is in the same place in all its rows
  const int thread_row = threadIdx.x / kLanesPerRow;
  const int chunk = threadIdx.x % kLanesPerRow;
  if (kChunksPerRow < kLanesPerRow && chunk >= kChunksPerRow) return;
  const half* source = gmem + size_t(first_row + thread_row) * kHeadDim + chunk * kChunkHalves;
  half* target = tile_smem + tile_offset<kHeadDim>(thread_row, chunk);
  const int rows_left = rows - first_row - thread_row;
#pragma unroll
  for (int row = 0; row < kRows; row += kRowsAtOnce) {
    if (kRows % kRowsAtOnce != 0 && thread_row + row >= kRows) break;
    const int bytes = row < rows_left ? 16 : 0;  // the rest of the 16 are zeros
    cp_async_16(target + row * kHeadDim, source + row * kHeadDim, bytes);
  }
}

// Changes the sign of every element of a tile, and ends with a barrier of the block.
template <int kHeadDim, int kRows, int kThreads>
__device__ inline void negate_tile(half* tile_smem) {
  constexpr int kPairs = kRows * kHeadDim / 2;
  static_assert(kPairs % kThreads == 0);
  uint32_t* pairs = reinterpret_cast<uint32_t*>(tile_smem) + threadIdx.x;
#pragma unroll 4
  for (int i = 0; i < kPairs; i += kThreads) pairs[i] ^= 0x80008000u;
  __syncthreads();
}

}  // namespace attention::fused
