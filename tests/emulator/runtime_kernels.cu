#include "runtime_kernels.hpp"

#include "attention/launch.hpp"

namespace runtime_kernels {
namespace {

using attention::launch;

__global__ void fill_kernel(float* out, float value) {
  if (out) out[blockIdx.x * blockDim.x + threadIdx.x] = value;
}

__global__ void fill_kernel_without_opt_in(float* out) {
  if (out) out[threadIdx.x] = 0.0f;
}

__global__ void static_kernel(float* out) {
  __shared__ float tile[256];
  tile[threadIdx.x] = 1.0f;
  if (out) out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void add_kernel(float* out, float value) {
  out[threadIdx.x] += value;
}

__global__ void last_writer_kernel(float* out) {
  out[0] = float(threadIdx.x);
}

__global__ void meet_kernel(int rounds) {
  for (int i = 0; i < rounds; ++i) __syncwarp();
}

}  // namespace

cudaError_t fill(dim3 grid, dim3 block, std::size_t smem_bytes, cudaStream_t stream, float* out,
                 float value) {
  return launch(fill_kernel, grid, block, smem_bytes, stream, out, value);
}

cudaError_t fill_without_opt_in(std::size_t smem_bytes) {
  cudaLaunchConfig_t config = {};
  config.gridDim = 1;
  config.blockDim = 32;
  config.dynamicSmemBytes = smem_bytes;
  return cudaLaunchKernelEx(&config, fill_kernel_without_opt_in, static_cast<float*>(nullptr));
}

cudaError_t fill_dependent(cudaStream_t stream, float* out) {
  const cudaLaunchAttribute attribute = attention::dependent_launch();
  return attention::launch_with({&attribute, 1}, fill_kernel, 1, 64, 0, stream, out, 1.0f);
}

cudaError_t with_static_smem(std::size_t smem_bytes) {
  return launch(static_kernel, 1, 256, smem_bytes, nullptr, static_cast<float*>(nullptr));
}

cudaError_t attributes_of_static(cudaFuncAttributes* attributes) {
  return cudaFuncGetAttributes(attributes, static_kernel);
}

cudaError_t add(cudaStream_t stream, float* out, float value) {
  return launch(add_kernel, 1, 64, 0, stream, out, value);
}

cudaError_t last_writer(float* out) {
  return launch(last_writer_kernel, 1, 256, 0, nullptr, out);
}

cudaError_t meet(int rounds) {
  return launch(meet_kernel, 1, 32, 0, nullptr, rounds);
}

}  // namespace runtime_kernels
