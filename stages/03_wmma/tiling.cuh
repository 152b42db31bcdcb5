// How the work is divided among blocks and warps, the same in every variant.
#pragma once

#include "scores.cuh"

namespace attention::wmma {

constexpr int kMultiplyWarps = 8;

// Scores: 8 warps compute 64 query rows x 64 keys, each 32 x 16 of it, for up to 4 tiles of keys with one
// tile of Q. At the headline shape that is 128 blocks for 132 SMs.
constexpr int kBlockQ = 64;
constexpr int kBlockKv = 64;
constexpr int kWarpsQ = 2;
constexpr int kWarpsKv = 4;
constexpr int kFragsQ = kBlockQ / kWarpsQ / kFragment;  // fragments of scores per warp, one below the other
constexpr int kTilesPerBlock = 4;
static_assert(kWarpsQ * kWarpsKv == kMultiplyWarps && kBlockKv == kWarpsKv * kFragment);

// Output: 8 warps compute 32 query rows, 2 groups of rows x 4 groups of keys; 128 blocks again. Long rows of
// V come in half tiles, which fit in registers.
constexpr int kOutputBlockQ = 32;
constexpr int kRowGroups = 2;
constexpr int kKeyGroups = 4;
template <int kHeadDim>
constexpr int kOutputBlockKv = kHeadDim <= 64 ? 128 : 64;
static_assert(kRowGroups * kKeyGroups == kMultiplyWarps && kOutputBlockQ == kRowGroups * kFragment);

constexpr int kSoftmaxWarps = 4;  // rows per block of the softmax

}  // namespace attention::wmma
