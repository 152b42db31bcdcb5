#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/hopper.cuh"
#include "one_pass.cuh"

// Starts the products of one half (0 or 1) of a warpgroup's keys, as wgmma.cu does: one wgmma group each.
namespace attention::tuned {

/// S = Q K^T.
__device__ __forceinline__ void start_scores(const half* q_smem, const half* k_smem, int half_tile,
                                             float (&s)[kHalfKeys / 2]) {
  wgmma_fence();
  for (int k = 0; k < kHeadDim / 16; ++k) {
    wgmma(s, wgmma_advance(wgmma_descriptor(q_smem), 32 * k),
          wgmma_advance(wgmma_descriptor(k_smem), half_tile * kHalfBytes + 32 * k), k > 0);
  }
  wgmma_commit_group();
}

/// O = P V for the first half, O += P V for the second.
__device__ __forceinline__ void start_output(const std::uint32_t (&p_frag)[kHalfKeys / 16][4],
                                             const half* v_smem, int half_tile, float (&o)[kHeadDim / 2]) {
  wgmma_fence();
  for (int k = 0; k < kHalfKeys / 16; ++k) {
    wgmma<Major::mn>(o, p_frag[k], wgmma_advance(wgmma_descriptor(v_smem), half_tile * kHalfBytes + 2048 * k),
                     half_tile + k > 0);
  }
  wgmma_commit_group();
}

}  // namespace attention::tuned
