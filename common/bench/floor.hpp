#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "attention/launch.hpp"

namespace attention::bench {

/// Enqueues a kernel that does nothing: what any launch of this grid costs, the floor under every kernel's
/// time.
cudaError_t empty_launch(dim3 grid, dim3 block, cudaStream_t stream);

/// Enqueues a copy of `bytes`, a multiple of 16, by all SMs, 16 bytes an access: what device memory gives a
/// kernel that does nothing else.
cudaError_t copy_launch(const void* from, void* to, std::size_t bytes, cudaStream_t stream);

}  // namespace attention::bench
