#pragma once

#include <cuda.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace attention {

/// Makes the map by which TMA copies tiles of a [heads, rows, head_dim] tensor (row-major, 16-byte aligned;
/// head_dim a multiple of 64, all 32-bit sizes): boxes of `box_rows` rows (1 to 256) of one head,
/// `box_columns` columns (a multiple of 64) in panels of 64 with the 128-byte swizzle that hopper.cuh
/// describes. Loads fill rows past the end with zeros, stores leave them out; a box never reaches into the
/// next head.
///
/// Host work only, no allocation and no call that a stream capture forbids; the driver's function comes
/// through the runtime, so programs do not link the driver's library. Returns cudaErrorNotSupported where the
/// driver has none, cudaErrorInvalidValue where it refuses the sizes.
cudaError_t make_tensor_map(CUtensorMap* map, const half* tensor, int heads, int rows, int head_dim,
                            int box_rows, int box_columns);

}  // namespace attention
