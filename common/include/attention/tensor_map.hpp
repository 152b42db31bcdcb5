#pragma once

#include <cuda.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace attention {

/// Makes the tensor map by which TMA copies tiles of `tensor`, [heads, rows, head_dim] in global memory:
/// row-major, 16-byte aligned, head_dim a multiple of 64. A box is `box_rows` rows (1 to 256) of one head and
/// `box_columns` columns (a multiple of 64), which land in shared memory as panels of 64 columns, one after
/// the other, with the 128-byte swizzle that hopper.cuh describes. Loads fill rows past the end of a head
/// with zeros and stores leave them out, so a box never reaches into the next head.
///
/// Works on the host alone: it neither allocates nor makes a call that is forbidden
/// during stream capture. It gets cuTensorMapEncodeTiled from the runtime, so
/// programs do not link the driver's library. Returns cudaErrorNotSupported where
/// the driver lacks that function, cudaErrorInvalidValue where it refuses the sizes.
cudaError_t make_tensor_map(CUtensorMap* map, const half* tensor, int heads, int rows, int head_dim,
                            int box_rows, int box_columns);

}  // namespace attention
