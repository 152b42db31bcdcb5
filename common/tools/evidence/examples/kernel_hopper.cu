// Hopper's instructions, as few as show each.
#include <cuda_fp16.h>

#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"

namespace attention::examples {

constexpr int kRows = 64, kColumns = 64, kTileBytes = kRows * kColumns * int(sizeof(half));

// One warpgroup gives its registers to two others, which multiply what the first has the copy engine bring.
__global__ void __launch_bounds__(384, 1)
    warpgroups_kernel(const __grid_constant__ CUtensorMap q_map, Tensors t) {
  half* tile_smem = reinterpret_cast<half*>(dynamic_smem);
  __shared__ Mbarrier full;
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  if (threadIdx.x / 128 == 0) {
    setmaxnreg_dec<40>();
    if (threadIdx.x == 0) {
      mbarrier_arrive_expect_tx(&full, kTileBytes);
      tma_load(tile_smem, &q_map, 0, 0, 0, &full);
    }
    return;
  }
  setmaxnreg_inc<232>();
  float d[32] = {};
  mbarrier_wait(&full, 0);
  wgmma_fence();
  wgmma(d, wgmma_descriptor(tile_smem), wgmma_descriptor(tile_smem), false);
  wgmma_commit_group();
  wgmma_wait_group<0>(d);
  float sum = 0.f;
  for (const float x : d) sum += x;
  t.o[threadIdx.x - 128] = __float2half(sum);
}

cudaError_t warpgroups(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  CUtensorMap map;
  const cudaError_t status =
      make_tensor_map(&map, t.q, p.batch * p.heads, p.seq_q, p.head_dim, kRows, kColumns);
  if (status != cudaSuccess) return status;
  return launch(warpgroups_kernel, dim3(1), dim3(384), kTileBytes, stream, map, t);
}

// Two blocks of a cluster: one writes its sum into the other's shared memory.
__global__ void cluster_sum_kernel(Tensors t) {
  __shared__ float2 sums_smem[32];
  __shared__ Mbarrier full;
  if (threadIdx.x == 0) {
    mbarrier_init(&full, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(&full, sizeof sums_smem);
  }
  cluster_arrive();
  cluster_wait();
  const half mine = t.v[blockIdx.x * 32 + threadIdx.x];
  if (cluster_ctarank() == 1) {
    st_async(mapa(&sums_smem[threadIdx.x], 0), make_float2(__half2float(mine), 0.f), mapa(&full, 0));
    return;
  }
  mbarrier_wait(&full, 0);
  t.o[threadIdx.x] = __float2half(__half2float(mine) + sums_smem[threadIdx.x].x);
}

cudaError_t cluster_sum(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  const cudaLaunchAttribute attribute = clusters_of(2);
  return launch_with(std::span(&attribute, 1), cluster_sum_kernel, dim3(2), dim3(32), 0, stream, t);
}

}  // namespace attention::examples
