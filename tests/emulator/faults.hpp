#pragma once

#include <cuda_runtime.h>

#include <span>
#include <string_view>

// Kernels with one planted fault each, and the same kernel without it: what the checkers must and
// must not report.
namespace faults {

struct Fault {
  std::string_view name;
  /// The text that a line of the kernel ends in, `// fault: <name>`, marks where the report belongs.
  cudaError_t (*faulty)(const float* in, float* out);
  cudaError_t (*clean)(const float* in, float* out);
};

/// `in` is 1024 floats, `out` 256, each an allocation of its own.
std::span<const Fault> all();
/// Those of Hopper's instructions, in faults_hopper.cu.
std::span<const Fault> hopper();

}  // namespace faults
