#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Defined in test_layouts.cu. All pointers are to device memory.
namespace book {

/// One mma.m16n8k16: four registers of A, two of B and four of D a lane.
cudaError_t multiply(const std::uint32_t* a, const std::uint32_t* b, float* d);
/// One ldmatrix.x4 of rows at 32 offsets in shared memory.
cudaError_t read_matrices(const int* offsets, std::uint32_t* out);
/// One load of 2 bytes per lane.
cudaError_t load_halves(const int* offsets, const unsigned char* from, half* out);

}  // namespace book
