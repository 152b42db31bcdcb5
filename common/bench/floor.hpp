#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "attention/launch.hpp"

namespace attention::bench {

/// Enqueues a kernel that does nothing. Its time is the cost of a launch with this grid: the floor under the
/// time of any kernel. Returns the launch's error; does not wait.
cudaError_t empty_launch(dim3 grid, dim3 block, cudaStream_t stream);

/// Enqueues a kernel that copies `bytes` (a multiple of 16) from device memory to device memory with accesses
/// of 16 bytes; both pointers are 16-byte aligned. Its rate is the ceiling for any kernel that reads and
/// writes device memory. Returns the launch's error; does not wait.
cudaError_t copy_launch(const void* from, void* to, std::size_t bytes, cudaStream_t stream);

}  // namespace attention::bench
