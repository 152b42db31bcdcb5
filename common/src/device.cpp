#include "attention/device.hpp"

#include <cuda_runtime.h>
#include <fmt/format.h>

#include "attention/cuda_check.hpp"
#include "device_control.hpp"

namespace attention {

void cuda_check(cudaError_t status, const char* expression, const char* file, int line) {
  if (status == cudaSuccess) return;
  throw CudaError(fmt::format("{}:{}: {}: {}", file, line, expression, cudaGetErrorString(status)));
}

Device current_device() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    throw NoDevice(fmt::format("no CUDA device answers: {}", cudaGetErrorString(status)));
  }
  if (count == 0) throw NoDevice("no CUDA device answers: the driver lists none");

  int index = 0;
  CUDA_CHECK(cudaGetDevice(&index));
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
  return {.name = properties.name,
          .emulated = device_is_emulated(),
          .compute_capability = 10 * properties.major + properties.minor,
          .sm_count = properties.multiProcessorCount,
          .smem_per_block_bytes = properties.sharedMemPerBlockOptin,
          .l2_bytes = std::size_t(properties.l2CacheSize),
          .persisting_l2_bytes = std::size_t(properties.persistingL2CacheMaxSize),
          .memory_bytes = properties.totalGlobalMem};
}

std::size_t free_memory_bytes() {
  std::size_t free_bytes = 0, total_bytes = 0;
  CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return free_bytes;
}

}  // namespace attention
