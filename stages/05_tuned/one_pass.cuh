#pragma once

#include <cuda_fp16.h>

#include "attention/constants.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"

// What Hopper's two kernels for one pass over the keys have in common: the tiles, and what they are made of.
namespace attention::tuned {

inline constexpr int kHeadDim = 64;
inline constexpr int kBlockQ = 64;                // query rows of a cluster: the m64 of wgmma
inline constexpr int kHalfKeys = 64;              // what comes in one copy, and makes one product
inline constexpr int kGroupKeys = 2 * kHalfKeys;  // of a warpgroup
inline constexpr int kMostKeys = 4 * kGroupKeys;  // of the four warpgroups, in one block or in two
inline constexpr int kGroupThreads = 128;         // of a warpgroup
inline constexpr int kHalfBytes = kHalfKeys * kHeadDim * sizeof(half);
inline constexpr int kQBytes = kBlockQ * kHeadDim * sizeof(half);

/// Maxima (in units of log 2) and sums of exponentials of two rows: lane / 4 and eight further down.
struct alignas(16) RowPairStats {
  float m[2], l[2];
};

/// Maps of the tiles: 64 rows of Q, 64 of K and of V.
struct OnePassMaps {
  CUtensorMap q, k, v;
};
/// Makes the maps of tensors in global memory; the first error of make_tensor_map(), if any.
inline cudaError_t make_maps(OnePassMaps* maps, const Problem& p, const Tensors& t) {
  const int heads = p.batch * p.heads, kv_heads = p.batch * p.kv_heads;
  for (const cudaError_t status :
       {make_tensor_map(&maps->q, t.q, heads, p.seq_q, kHeadDim, kBlockQ, kHeadDim),
        make_tensor_map(&maps->k, t.k, kv_heads, p.seq_kv, kHeadDim, kHalfKeys, kHeadDim),
        make_tensor_map(&maps->v, t.v, kv_heads, p.seq_kv, kHeadDim, kHalfKeys, kHeadDim)}) {
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

/// 512 keys for every row, rows in whole blocks, a positive scale: nothing to mask.
inline bool is_whole(const Problem& p) {
  return p.seq_kv == kMostKeys && p.seq_q % kBlockQ == 0 && !p.causal && p.scale > 0.f;
}

}  // namespace attention::tuned
