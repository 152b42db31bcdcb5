// The end of the output kernel: the sums of the four groups of keys are added, and O is stored.
#pragma once

#include <cuda_fp16.h>

#include "staged_tile.cuh"
#include "tiling.cuh"
#include "vector4.cuh"

namespace attention::wmma {

// A group's sums in shared memory: kOutputBlockQ rows of kHeadDim, padded.
template <int kHeadDim>
constexpr int kSumsLd = kHeadDim + kPadding;
template <int kHeadDim>
constexpr int kSumsElements = kOutputBlockQ* kSumsLd<kHeadDim>;

// Adds up the groups' sums, in the same order on every run, and stores them to the rows of O, of which `rows`
// exist. kThreads threads take part.
template <int kHeadDim, int kThreads, typename Accumulator>
__device__ inline void store_output(half* o_gmem, const Accumulator* sums_smem, int rows) {
  for (int i = threadIdx.x; i < kOutputBlockQ * kHeadDim / 4; i += kThreads) {
    const int row = i / (kHeadDim / 4);
    const int column = i % (kHeadDim / 4) * 4;
    if (row >= rows) break;
    float4 o = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int group = 0; group < kKeyGroups; ++group) {
      const float4 sum =
          load4(sums_smem + group * kSumsElements<kHeadDim> + row * kSumsLd<kHeadDim> + column);
      o = make_float4(o.x + sum.x, o.y + sum.y, o.z + sum.z, o.w + sum.w);
    }
    store4(o_gmem + 4 * size_t(i), o);  // the rows follow one another
  }
}

}  // namespace attention::wmma
