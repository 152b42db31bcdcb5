// A tile that is copied from global to shared memory through registers.
#pragma once

#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/problem.hpp"

namespace attention::wmma {

// 8 halves = 16 bytes of padding move each row by four banks, so that the 8 rows x 16 bytes of a matrix load
// lie in 32 different banks. 8 floats do the same for the 4 rows x 32 bytes of a fragment's 8-byte stores.
constexpr int kPadding = 8;

// [staged_tile]
// A tile of halves in the registers of kThreads threads, between load() from global and store() to shared
// memory: 16 bytes at a time, neighbouring threads on neighbouring chunks of a row. load() only issues the
// loads; store() is where a thread waits for them.
template <int kRows, int kColumns, int kThreads>
struct StagedTile {
  static constexpr int kLd = kColumns + kPadding;
  static constexpr int kElements = kRows * kLd;  // in shared memory
  static constexpr int kChunksPerRow = kColumns / 8;
  static constexpr int kPerThread = kRows * kChunksPerRow / kThreads;
  static_assert(kPerThread * kThreads == kRows * kChunksPerRow);
  uint4 chunk_rmem[kPerThread];

  // Rows of Q, K or V, of which `rows` exist. The others become zeros, which add nothing to a product.
  __device__ void load(const half* tile_gmem, int rows, int thread) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = (thread + i * kThreads) / kChunksPerRow;
      const int column = (thread + i * kThreads) % kChunksPerRow * 8;
      chunk_rmem[i] = make_uint4(0, 0, 0, 0);
      if (row < rows) {
        chunk_rmem[i] = *reinterpret_cast<const uint4*>(tile_gmem + row * size_t(kColumns) + column);
      }
    }
  }

  // Probabilities of the rows from q0 on and the keys from kv0 on, `ld` halves from row to row. Those of keys
  // that a row does not see become zeros.
  __device__ void load_probabilities(const Problem& p, const half* tile_gmem, size_t ld, int q0, int kv0,
                                     int thread) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = (thread + i * kThreads) / kChunksPerRow;
      const int column = (thread + i * kThreads) % kChunksPerRow * 8;
      chunk_rmem[i] = make_uint4(0, 0, 0, 0);
      if (q0 + row < p.seq_q && kv0 + column < visible_keys(p, q0 + row)) {
        chunk_rmem[i] = *reinterpret_cast<const uint4*>(tile_gmem + row * ld + column);
      }
    }
  }

  __device__ void store(half* tile_smem, int thread) const {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = (thread + i * kThreads) / kChunksPerRow;
      const int column = (thread + i * kThreads) % kChunksPerRow * 8;
      *reinterpret_cast<uint4*>(tile_smem + row * kLd + column) = chunk_rmem[i];
    }
  }
};
// [staged_tile]

}  // namespace attention::wmma
