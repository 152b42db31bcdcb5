#pragma once

#include <cuda_runtime.h>

#include "attention/launch.hpp"

namespace attention::bench {

/// Enqueues a kernel that does nothing: what any launch of this grid costs, the floor under every kernel's
/// time.
cudaError_t empty_launch(dim3 grid, dim3 block, cudaStream_t stream);

}  // namespace attention::bench
