#pragma once

// The sizes of a block's work, and how an accumulator lies in registers.
//
// An accumulator of wgmma has 64 rows, 16 for each warp. A thread of warp w holds two of them: registers
// [4 j] and [4 j + 1] belong to row 16 w + lane / 4, registers [4 j + 2] and [4 j + 3] to the row 8 below.
// The four lanes of a quad share the two rows. How a tile lies in shared memory: attention/hopper.cuh.
#include <cuda_fp16.h>

#include <type_traits>

namespace attention::long_rows {

inline constexpr int kGroupThreads = 128;  // a warpgroup: four warps that issue one wgmma together
inline constexpr int kGroupQ = 64;         // query rows of a warpgroup: the m64 of wgmma
inline constexpr int kPanel = 64;          // columns of a panel of a tile
inline constexpr int kPanelRowBytes = kPanel * sizeof(half);

template <int head_dim, int groups, int block_kv, int stages>
struct Tile {
  static constexpr int kHeadDim = head_dim;
  static constexpr int kGroups = groups;  // consumer warpgroups
  static constexpr int kConsumerThreads = groups * kGroupThreads;
  static constexpr int kBlockQ = groups * kGroupQ;
  static constexpr int kBlockKv = block_kv;
  static constexpr int kStages = stages;  // tiles of K, and of V, that shared memory holds
  static constexpr int kKvBytes = block_kv * head_dim * int(sizeof(half));
  static constexpr int kQBytes = kBlockQ * head_dim * int(sizeof(half));
  static_assert(head_dim % kPanel == 0 && block_kv % 16 == 0);
};
// A consumer thread has 160 registers. Scores of 128 keys take 64 of them and P 32 more. O takes 32, or 64 at
// head_dim 128, which leaves room for 80 keys. At head_dim 64 shared memory has room for a third stage.
template <int head_dim>
using LongTile = std::conditional_t<head_dim == 64, Tile<64, 3, 128, 3>, Tile<128, 3, 80, 2>>;

}  // namespace attention::long_rows
