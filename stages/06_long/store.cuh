#pragma once

// The way of O from registers to global memory.
#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "attention/warp.cuh"
#include "order.cuh"

namespace attention::long_rows {

// Named barriers 5, 6 and 7: the rows of O of warpgroup 0, 1 or 2 are staged.
inline constexpr int kStoreBarrier = 5;

// Divides a warpgroup's rows of O by their sums, puts them to o_smem as TMA expects a tile, and lets TMA
// store them.
template <typename T>
__device__ __forceinline__ void store(const float (&o)[T::kHeadDim / 2], const float (&l_i)[2],
                                      unsigned char* o_smem, const CUtensorMap& o_map, const Item& item,
                                      int group, int thread_row) {
  const int group_thread = threadIdx.x % kGroupThreads, lane_id = group_thread % 32;
  float inverse[2];
  for (int h = 0; h < 2; ++h) {
    const float sum = warp_reduce_sum<4>(l_i[h]);
    inverse[h] = sum == 0.f ? 0.f : 1.f / sum;  // 0: a row that sees no key
  }
  o_smem += group * kGroupQ * kPanelRowBytes;
#pragma unroll
  for (int j = 0; j < T::kHeadDim / 2; j += 2) {
    const int row = thread_row + j / 2 % 2 * 8, chunk = j / 4;
    unsigned char* panel = o_smem + chunk / 8 * T::kBlockQ * kPanelRowBytes;
    *reinterpret_cast<std::uint32_t*>(panel + row * kPanelRowBytes + (chunk % 8 ^ row % 8) * 16 +
                                      lane_id % 4 * 4) =
        pack(o[j] * inverse[j / 2 % 2], o[j + 1] * inverse[j / 2 % 2]);
  }
  fence_proxy_async();
  bar_sync(kStoreBarrier + group, kGroupThreads);
  if (group_thread == 0) {
    for (int panel = 0; panel < T::kHeadDim / kPanel; ++panel) {
      tma_store(o_smem + panel * T::kBlockQ * kPanelRowBytes, &o_map, panel, item.first_row + group * kGroupQ,
                item.head);
    }
    cp_async_bulk_commit_group();
  }
}

}  // namespace attention::long_rows
