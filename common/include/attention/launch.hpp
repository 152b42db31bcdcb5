#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "attention/problem.hpp"

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

/// What the current device says of itself: its number of multiprocessors, say.
inline cudaError_t device_attribute(int* value, cudaDeviceAttr attribute) {
  int device = 0;
  const cudaError_t status = cudaGetDevice(&device);
  return status == cudaSuccess ? cudaDeviceGetAttribute(value, attribute, device) : status;
}

/// A launch whose grid is made of clusters of `blocks` neighbouring blocks, at most 8. Compute
/// capability 9.0.
inline cudaLaunchAttribute clusters_of(unsigned blocks) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = blocks;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  return attribute;
}

/// A launch that may begin before the one in front of it in the stream has ended: programmatic dependent
/// launch. Its kernel calls griddepcontrol_wait() before it touches what that one may write. Compute
/// capability 9.0.
inline cudaLaunchAttribute dependent_launch() {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return attribute;
}

/// launch_with() without attributes.
template <typename... Parameters, typename... Args>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t smem_bytes,
                   cudaStream_t stream, Args&&... args) {
  return launch_with({}, kernel, grid, block, smem_bytes, stream, std::forward<Args>(args)...);
}

/// Calls body(std::integral_constant<int, head_dim>()), so that the problem's head_dim can be a template
/// argument of a kernel, and returns what it returns; cudaErrorInvalidValue where it is none of 32, 64, 96, 128.
template <typename Body>
cudaError_t with_head_dim(const Problem& problem, const Body& body) {
  switch (problem.head_dim) {
    case 32:
      return body(std::integral_constant<int, 32>());
    case 64:
      return body(std::integral_constant<int, 64>());
    case 96:
      return body(std::integral_constant<int, 96>());
    case 128:
      return body(std::integral_constant<int, 128>());
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace attention
