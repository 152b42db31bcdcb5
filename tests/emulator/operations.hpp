#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Kernels of operations.cu, which test_operations.cpp holds against scalar models. All pointers are to device
// memory, every launch is one block on the default stream.
namespace operations {

enum class ShuffleKind { index, up, down, exclusive_or };
/// out[lane] = the shuffle of in[lane]; `argument` is the source, delta or lane mask.
cudaError_t shuffle(ShuffleKind kind, const float* in, float* out, int argument, int width);
/// Each lane of `mask` takes part: out[lane] = ballot, out[32 + lane] = any, out[64 + lane] = all,
/// out[96 + lane] = lanes with an equal value, out[128 + lane] = sum of the values; others are left alone.
cudaError_t votes(const unsigned* values, unsigned* out, unsigned mask);
/// out[lane] = sum, out[32 + lane] = maximum over groups of `lanes`.
cudaError_t reductions(const float* in, float* out, int lanes);
/// `matrices` is 32 rows of 8 halves; out[lane * 4 + i] = register i.
cudaError_t ldmatrix(const half* matrices, std::uint32_t* out, int count, bool transposed);
/// D = A B + D: a is [16][k], b is [k][8], d is [16][8], row-major halves or floats. `k` is 8 or 16.
cudaError_t mma(const half* a, const half* b, float* d, int k);
cudaError_t mma(const half* a, const half* b, half* d, int k);
/// D = A B + C with 16x16 matrices whose memory layout is row-major unless said otherwise.
cudaError_t wmma(const half* a, bool a_column_major, const half* b, bool b_column_major, float* d);
cudaError_t wmma(const half* a, bool a_column_major, const half* b, bool b_column_major, half* d);
/// 32 threads copy `bytes` each, of which `source_bytes` are from `in`, in three groups of which the first
/// two are waited for before out[0 .. 2 * 32 * bytes) is written, and then the third.
cudaError_t async_copies(const unsigned char* in, unsigned char* out, int bytes, int source_bytes);
/// A producer warp hands `tiles` tiles of 32 numbers to a consumer warp through one buffer and
/// two named barriers.
cudaError_t hand_over(const float* in, float* out, int tiles);
/// 256 threads reverse 256 numbers through static and through dynamic shared memory, and add the two.
cudaError_t reverse(const float* in, float* out);
/// out[0] = threads with in > 0, out[1] = any of them, out[2] = all of them; 96 threads.
cudaError_t counting_barriers(const int* in, int* out);
/// Blocks of 64 threads add to out[0], count to out[1], and keep the largest in out[2].
cudaError_t atomics(const unsigned* in, unsigned* out, int blocks);
/// out[i] = x + 2 y + 6 z of thread i, counted as the hardware does, for a block of 2 x 3 x 4.
cudaError_t thread_order(int* out);
/// Copies through float4, uint2 and half2, and 2^x of the first 64 floats.
cudaError_t wide_accesses(const float* in, float* out, float* powers);

}  // namespace operations
