// The instructions whose layouts the book draws, one warp each.
#include "test_layouts.hpp"

#include <cuda_fp16.h>

#include "attention/launch.hpp"
#include "attention/ptx.cuh"

namespace book {

static __global__ void multiply_kernel(const std::uint32_t* a, const std::uint32_t* b, float* d) {
  std::uint32_t a_frag[4], b_frag[2];
  float d_frag[4] = {};
  for (int i = 0; i < 4; ++i) a_frag[i] = a[4 * threadIdx.x + i];
  for (int i = 0; i < 2; ++i) b_frag[i] = b[2 * threadIdx.x + i];
  attention::mma_m16n8k16(d_frag, a_frag, b_frag);
  for (int i = 0; i < 4; ++i) d[4 * threadIdx.x + i] = d_frag[i];
}

// Lane i gives ldmatrix the 16 bytes at offsets[i] of shared memory.
static __global__ void ldmatrix_kernel(const int* offsets, std::uint32_t* out) {
  __shared__ __align__(16) unsigned char smem[4096];
  for (int i = threadIdx.x; i < 4096 / 4; i += 32) reinterpret_cast<std::uint32_t*>(smem)[i] = 0;
  __syncwarp();
  std::uint32_t frag[4];
  attention::ldmatrix_x4(frag, smem + offsets[threadIdx.x]);
  for (int i = 0; i < 4; ++i) out[4 * threadIdx.x + i] = frag[i];
}

// Lane i loads 2 bytes at offsets[i] of global memory.
static __global__ void load_kernel(const int* offsets, const unsigned char* from, half* out) {
  out[threadIdx.x] = *reinterpret_cast<const half*>(from + offsets[threadIdx.x]);
}

cudaError_t multiply(const std::uint32_t* a, const std::uint32_t* b, float* d) {
  return attention::launch(multiply_kernel, dim3(1), dim3(32), 0, nullptr, a, b, d);
}
cudaError_t read_matrices(const int* offsets, std::uint32_t* out) {
  return attention::launch(ldmatrix_kernel, dim3(1), dim3(32), 0, nullptr, offsets, out);
}
cudaError_t load_halves(const int* offsets, const unsigned char* from, half* out) {
  return attention::launch(load_kernel, dim3(1), dim3(32), 0, nullptr, offsets, from, out);
}

}  // namespace book
