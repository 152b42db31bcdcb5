#pragma once

#include <cuda_fp16.h>

#include "attention/constants.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"

// What Hopper's one-pass variants have in common. Four warpgroups share 64 query rows, and all keys are one
// pass: a warpgroup holds the scores of 128 keys in registers, for each of the rows.
//
// An accumulator of wgmma has 64 rows, 16 for each warp. A thread of warp w holds two of them: registers
// [4 j] and [4 j + 1] belong to row 16 w + lane / 4, registers [4 j + 2] and [4 j + 3] to the row 8 below.
// Their columns are 8 j + lane % 4 * 2 and the next one. The four lanes of a quad share the two rows.
// How a tile lies in shared memory: attention/hopper.cuh.
namespace attention::tuned {

constexpr int kHeadDim = 64;
constexpr int kBlockQ = 64;                // query rows of a cluster: the m64 of wgmma
constexpr int kHalfKeys = 64;              // of one TMA load, and of one product
constexpr int kGroupKeys = 2 * kHalfKeys;  // of a warpgroup
constexpr int kMaxKeys = 4 * kGroupKeys;   // of the four warpgroups, in one block or in two
constexpr int kGroupThreads = 128;         // of a warpgroup
constexpr int kHalfBytes = kHalfKeys * kHeadDim * sizeof(half);
constexpr int kQBytes = kBlockQ * kHeadDim * sizeof(half);
constexpr int kTiles = kHeadDim / 8;  // eight-column tiles of O

/// Maxima (in units of log 2) and sums of exponentials of a thread's two rows.
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

/// Every row sees 512 keys, rows come in whole blocks, the scale is positive. Such problems, the headline
/// shape among them, take each kernel's fast path, its instantiation kUnmasked, which has no mask.
inline bool is_unmasked(const Problem& p) {
  return p.seq_kv == kMaxKeys && p.seq_q % kBlockQ == 0 && !p.causal && p.scale > 0.f;
}

}  // namespace attention::tuned
