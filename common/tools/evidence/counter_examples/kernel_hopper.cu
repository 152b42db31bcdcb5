// Hopper's instructions put to no use. Compiled and looked at; it would wait for ever.
#include <cuda_fp16.h>

#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/stage.hpp"

namespace attention::counter_examples {

// The copy engine copies and the tensor cores multiply, all for one kind of warpgroup, which takes registers
// that nobody has given up.
__global__ void __launch_bounds__(256, 1) warpgroups_alike_kernel(Tensors t) {
  half* tile_smem = reinterpret_cast<half*>(dynamic_smem);
  __shared__ Mbarrier full;
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(&full, 64 * 64 * sizeof(half));
    cp_async_bulk(tile_smem, t.q, 64 * 64 * sizeof(half), &full);
  }
  __syncthreads();
  setmaxnreg_inc<232>();
  float d[32] = {};
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma(d, wgmma_descriptor(tile_smem), wgmma_descriptor(tile_smem), false);
  wgmma_commit_group();
  wgmma_wait_group<0>(d);
  float sum = 0.f;
  for (const float x : d) sum += x;
  t.o[threadIdx.x] = __float2half(sum);
}

cudaError_t warpgroups_alike(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(warpgroups_alike_kernel, dim3(1), dim3(256), 64 * 64 * sizeof(half), stream, t);
}

}  // namespace attention::counter_examples
