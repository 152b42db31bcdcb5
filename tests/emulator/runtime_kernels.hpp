#pragma once

#include <cuda_runtime.h>

#include <cstddef>

// Kernels that test_runtime.cpp launches in ways that are right and wrong.
namespace runtime_kernels {

/// out[i] = value for the threads of the grid; nothing where out is null. Opts in to its shared memory.
cudaError_t fill(dim3 grid, dim3 block, std::size_t smem_bytes, cudaStream_t stream, float* out, float value);
cudaError_t fill_without_opt_in(std::size_t smem_bytes);
/// With the attribute of a programmatic dependent launch.
cudaError_t fill_dependent(cudaStream_t stream, float* out);
/// A kernel with 1024 bytes of static shared memory.
cudaError_t with_static_smem(std::size_t smem_bytes);
cudaError_t attributes_of_static(cudaFuncAttributes* attributes);
/// out[i] += value, 64 threads.
cudaError_t add(cudaStream_t stream, float* out, float value);
/// 256 threads write their index to out[0], one after the other: the schedule decides which one is last.
cudaError_t last_writer(float* out);
/// One warp meets in __syncwarp `rounds` times.
cudaError_t meet(int rounds);

}  // namespace runtime_kernels
