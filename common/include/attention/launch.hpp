#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>

#include "attention/problem.hpp"

/// Dynamic shared memory of the running block. At global scope, because all `extern __shared__` arrays of a
/// kernel have the same address. Aligned to 1024 bytes, as the 128-byte swizzle of TMA and wgmma requires.
extern __shared__ __align__(1024) unsigned char dynamic_smem[];

namespace attention {

/// Bytes of dynamic shared memory that a block gets without opting in to more (CUDA C++ Programming Guide,
/// "Shared Memory" of each compute capability).
inline constexpr std::size_t kDefaultSmemBytes = 48 * 1024;

/// kernel<<<grid, block, smem_bytes, stream>>>(args...) in plain C++, with launch attributes. Opts in to more
/// than 48 KiB of dynamic shared memory where smem_bytes needs it. Returns the launch's error; does not wait.
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

/// Reads an attribute of the current device, such as
/// cudaDevAttrMultiProcessorCount. Returns the runtime's error.
inline cudaError_t device_attribute(int* value, cudaDeviceAttr attribute) {
  int device = 0;
  const cudaError_t status = cudaGetDevice(&device);
  return status == cudaSuccess ? cudaDeviceGetAttribute(value, attribute, device) : status;
}

/// Launch attribute: the grid consists of clusters of `blocks` (at most 8) neighbouring blocks in x. Needs
/// compute capability 9.0.
inline cudaLaunchAttribute clusters_of(unsigned blocks) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = blocks;
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  return attribute;
}

/// Launch attribute: the kernel may begin before the previous kernel in the stream has ended (programmatic
/// dependent launch). It must call griddepcontrol_wait() before it touches memory that the previous kernel
/// reads or writes. Needs compute capability 9.0.
inline cudaLaunchAttribute dependent_launch() {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  return attribute;
}

/// The same without attributes.
template <typename... Parameters, typename... Args>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t smem_bytes,
                   cudaStream_t stream, Args&&... args) {
  return launch_with({}, kernel, grid, block, smem_bytes, stream, std::forward<Args>(args)...);
}

/// Returns body(std::integral_constant<int, head_dim>()), so that the problem's head_dim can be a template
/// argument of a kernel; or cudaErrorInvalidValue where head_dim is none of 32, 64, 96 and 128.
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
