#pragma once

#include <functional>
#include <tuple>
#include <utility>

#include "emulator/runtime_types.hpp"

namespace emulator {

/// A kernel bound to its arguments: calling it runs the kernel for the CUDA thread that is current.
using KernelBody = std::function<void()>;

/// Runs the kernel now, or records it where its stream is being captured into a graph.
cudaError_t launch_kernel(const cudaLaunchConfig_t& config, const void* kernel, KernelBody body);

}  // namespace emulator

/// As the CUDA runtime's: arguments are converted to the kernel's parameter types, and copied, at the call.
template <typename... Parameters, typename... Args>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Args&&... args) {
  std::tuple<Parameters...> values(std::forward<Args>(args)...);
  return ::emulator::launch_kernel(*config, reinterpret_cast<const void*>(kernel),
                                   [kernel, values] { std::apply(kernel, values); });
}

namespace emulator {

template <typename... Parameters, std::size_t... Index>
KernelBody body_from_pointers(void (*kernel)(Parameters...), void** args, std::index_sequence<Index...>) {
  std::tuple<Parameters...> values(*static_cast<std::remove_reference_t<Parameters>*>(args[Index])...);
  return [kernel, values] { std::apply(kernel, values); };
}

}  // namespace emulator

template <typename... Parameters>
cudaError_t cudaLaunchKernel(void (*kernel)(Parameters...), dim3 grid, dim3 block, void** args,
                             std::size_t smem_bytes = 0, cudaStream_t stream = nullptr) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = smem_bytes;
  config.stream = stream;
  return ::emulator::launch_kernel(
      config, reinterpret_cast<const void*>(kernel),
      ::emulator::body_from_pointers(kernel, args, std::index_sequence_for<Parameters...>()));
}
