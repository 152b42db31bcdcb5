#pragma once

// How a block of 32 query rows is laid out over its warps and its shared memory.
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/indexing.cuh"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"

namespace attention::decode {

inline constexpr int kRowGroups = 2;  // warps side by side in rows, 16 rows each: the m16 of an mma
inline constexpr int kKeyGroups = 4;  // groups of warps side by side in keys
inline constexpr int kBlockQ = 16 * kRowGroups;
inline constexpr int kThreads = 32 * kRowGroups * kKeyGroups;
inline constexpr int kGroupThreads = 32 * kRowGroups;
inline constexpr int kCombineThreads = 128;  // of the kernel that merges parts
inline constexpr int kPartialPad = 8;        // floats: moves each row of partial results by eight banks

// Keys that one group holds at a time. 128 keys of scores are 64 registers per thread. With head_dim 128 the
// outputs take 64 more, and 64 keys keep the block's K and V within 128 KB.
template <int kHeadDim>
inline constexpr int kGroupKeys = kHeadDim <= 64 ? 128 : 64;

// Keys that a block holds at a time: those of one pass.
template <int kHeadDim>
inline constexpr int kPassKeys = kKeyGroups* kGroupKeys<kHeadDim>;

template <int kHeadDim>
inline constexpr std::size_t kTileBytes = std::size_t(2) * kPassKeys<kHeadDim>* kHeadDim * sizeof(half);

// After the tiles: running maximum and sum of each key group and row.
template <int kHeadDim>
inline constexpr std::size_t kSmemBytes = kTileBytes<kHeadDim> + kKeyGroups* kBlockQ * sizeof(float2);

static_assert(kKeyGroups * kBlockQ * (128 + kPartialPad) * sizeof(float) <= kTileBytes<128>,
              "the partial results reuse the tiles' memory");

// [swizzle]
// Offset, in halves, of 16-byte chunk `chunk` of row `row`: the same chunk of eight neighbouring rows lies in
// eight different groups of banks, so ldmatrix has no bank conflict.
template <int kHeadDim>
__device__ inline int swizzled(int row, int chunk) {
  return row * kHeadDim + (chunk ^ (row % 8)) * 8;
}
// [swizzle]

// Starts the copy of kRows rows to shared memory by one group's threads; rows from `rows` on become zero.
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

// Keys that query row `row` of a head sees; none for a row past the end.
__device__ inline int keys_of(const Problem& p, int row) {
  return row < p.seq_q ? visible_keys(p, row) : 0;
}

// Q as fragments, 16 rows of a warp: this thread's are fragment_row[0] and fragment_row[1], lane_id / 4 and 8
// more. Rows from `rows` on are zero.
template <int kHeadDim>
__device__ __forceinline__ void load_q(std::uint32_t (&q_frag)[kHeadDim / 16][4], const half* q_gmem,
                                       const int (&fragment_row)[2], int rows) {
  for (int k = 0; k < kHeadDim / 16; ++k) {
    for (int i = 0; i < 4; ++i) {
      const int row = fragment_row[i % 2], column = k * 16 + i / 2 * 8 + threadIdx.x % 4 * 2;
      const half* pair = q_gmem + row * kHeadDim + column;
      q_frag[k][i] = row < rows ? *reinterpret_cast<const std::uint32_t*>(pair) : 0u;
    }
  }
}

}  // namespace attention::decode
