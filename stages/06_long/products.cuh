#pragma once

// The two matrix products of a warpgroup with a tile.
#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "tile.cuh"

namespace attention::long_rows {

// [products]
// S = Q K^T for 64 rows of Q and a tile of K. Starts it; wgmma_wait_group() ends it.
template <typename T>
__device__ __forceinline__ void start_scores(float (&s)[T::kBlockKv / 2], const unsigned char* q_smem,
                                             const unsigned char* k_smem) {
  const std::uint64_t q_tile = wgmma_descriptor(q_smem), k_tile = wgmma_descriptor(k_smem);
  wgmma_fence();
#pragma unroll
  for (int d = 0; d < T::kHeadDim; d += 16) {
    const int panel = d / kPanel, within_bytes = d % kPanel * int(sizeof(half));
    wgmma(s, wgmma_advance(q_tile, panel * T::kBlockQ * kPanelRowBytes + within_bytes),
          wgmma_advance(k_tile, panel * T::kBlockKv * kPanelRowBytes + within_bytes), d > 0);
  }
  wgmma_commit_group();
}

// O += P V for a tile of V, likewise.
template <typename T>
__device__ __forceinline__ void start_output(float (&o)[T::kHeadDim / 2],
                                             const std::uint32_t (&p_frag)[T::kBlockKv / 16][4],
                                             const unsigned char* v_smem) {
  const std::uint64_t v_tile = wgmma_descriptor(v_smem, T::kBlockKv * kPanelRowBytes);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < T::kBlockKv / 16; ++k) {
    wgmma<Major::mn>(o, p_frag[k], wgmma_advance(v_tile, k * 16 * kPanelRowBytes), true);
  }
  wgmma_commit_group();
}
// [products]

// The accumulators of two neighbouring 8-column blocks of S, packed to half, are an A operand of wgmma.
template <typename T>
__device__ __forceinline__ void to_half(std::uint32_t (&p_frag)[T::kBlockKv / 16][4],
                                        const float (&s)[T::kBlockKv / 2]) {
#pragma unroll
  for (int i = 0; i < T::kBlockKv / 4; ++i) p_frag[i / 4][i % 4] = pack(s[2 * i], s[2 * i + 1]);
}

}  // namespace attention::long_rows
