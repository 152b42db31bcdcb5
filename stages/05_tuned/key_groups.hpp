#pragma once

#include <cuda_fp16.h>

#include <cstddef>

// How the warps of a block share rows and keys in key_split and the variants made from it, and the shared
// memory that it takes.
namespace attention::tuned {

constexpr int kRowGroups = 2;  // warps side by side in rows, 16 rows each: the m16 of an mma
constexpr int kKeyGroups = 4;  // groups of such warps side by side in keys
constexpr int kBlockQ = 16 * kRowGroups;
constexpr int kGroupThreads = 32 * kRowGroups;
constexpr int kThreads = kKeyGroups * kGroupThreads;
constexpr int kPartialPad = 8;  // floats: moves each row of partial results by eight banks

/// Keys that one group holds at a time. 128 keys of scores are 64 registers per thread; with head_dim 128 the
/// outputs take 64 more, and 64 keys keep the block's K and V within the 128 KB that sm_80 can give.
constexpr int group_keys(int head_dim) {
  return head_dim <= 64 ? 128 : 64;
}
/// Keys that a block holds at a time.
constexpr int pass_keys(int head_dim) {
  return kKeyGroups * group_keys(head_dim);
}
/// K and V of so many keys. The partial results reuse their memory.
constexpr std::size_t tile_bytes(int head_dim) {
  return std::size_t(2) * pass_keys(head_dim) * head_dim * sizeof(half);
}
static_assert(kKeyGroups * kBlockQ * (128 + kPartialPad) * sizeof(float) <= tile_bytes(128));

/// After the tiles come the running maximum and sum of each key group and row.
constexpr std::size_t smem_bytes(int head_dim) {
  return tile_bytes(head_dim) + kKeyGroups * kBlockQ * sizeof(float2);
}

}  // namespace attention::tuned
