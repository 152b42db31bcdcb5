#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

// Kernels whose counts follow from their text, for test_counters.cpp.
namespace counted {

/// One warp: out[lane] = in[stride * lane].
cudaError_t strided_load(const float* in, float* out, int stride);
/// One warp: out[i] = in[i] through 16 bytes per lane.
cudaError_t wide_copy(const float* in, float* out);
/// One warp reads column by column from a tile of 32 x 32 floats whose rows are 32 + padding floats.
cudaError_t transpose(const float* in, float* out, bool padded);
/// One warp reads 16 bytes per lane of shared memory, lane i those at 16 * (i / sharing): groups of
/// `sharing` lanes agree.
cudaError_t shared_wide_load(const float* in, float* out, int sharing);
/// Two producer warps load, two consumer warps multiply: `tiles` tiles, two buffers, cp.async.
cudaError_t specialized(const half* in, float* out, int tiles);
/// Lanes diverge: odd ones make one more load.
cudaError_t diverging(const float* in, float* out);
/// 4 groups of cp.async, at most 3 of them outstanding.
cudaError_t three_in_flight(const float* in, float* out);
/// 2 blocks of 2 warps; nothing makes lanes meet. Lanes from 16 on make 3 copies and wait for each;
/// all wait last.
cudaError_t waits_alone(const float* in, float* out);
/// More accesses a lane than a log holds, and no barrier: 2000 loads and a store.
cudaError_t long_loop(const float* in, float* out);
/// `blocks` blocks of one warp, a load and a store each.
cudaError_t many_blocks(const float* in, float* out, int blocks);

}  // namespace counted
