#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <utility>

/// Dynamic shared memory of the running block, at global scope because CUDA gives every `extern __shared__`
/// array of a kernel the same address. 1024-byte aligned, as the 128-byte swizzle of TMA and wgmma needs.
extern __shared__ __align__(1024) unsigned char dynamic_smem[];

namespace attention {

/// Dynamic shared memory that a block gets without opting in, in bytes (CUDA C++ Programming Guide,
/// "Shared Memory" of each compute capability).
inline constexpr std::size_t kDefaultSmemBytes = 48 * 1024;

/// kernel<<<grid, block, smem_bytes, stream>>>(args...) in plain C++, with launch attributes. Opts in to
/// more than 48 KB of dynamic shared memory where asked to. Returns the launch's error, and does not wait.
template <typename... Parameters, typename... Args>
cudaError_t launch_with(std::span<const cudaLaunchAttribute> attributes, void (*kernel)(Parameters...),
                        dim3 grid, dim3 block, std::size_t smem_bytes, cudaStream_t stream, Args&&... args) {
  if (smem_bytes > kDefaultSmemBytes) {
    const cudaError_t status =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(smem_bytes));
    if (status != cudaSuccess) return status;
  }
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = smem_bytes;
  config.stream = stream;
  config.attrs = const_cast<cudaLaunchAttribute*>(attributes.data());
  config.numAttrs = unsigned(attributes.size());
  return cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...);
}

/// launch_with() without attributes.
template <typename... Parameters, typename... Args>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t smem_bytes,
                   cudaStream_t stream, Args&&... args) {
  return launch_with({}, kernel, grid, block, smem_bytes, stream, std::forward<Args>(args)...);
}

}  // namespace attention
