#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

// Kernels of hopper.cu, which test_hopper.cpp holds against scalar models. All pointers are to device memory.
namespace hopper {

/// A producer warp hands `tiles` tiles of 32 numbers to a consumer warp through two buffers and two mbarriers
/// each; out is each tile reversed. The producer arrives by one lane, the consumer by all.
cudaError_t hand_over(const float* in, float* out, int tiles);
/// 4096 bytes by one bulk copy, and 16 by another; `out` gets both.
cudaError_t bulk_lines(const unsigned char* in, unsigned char* out);

struct Box {
  int heads, rows, head_dim;  // of the tensor
  int box_rows, box_columns;  // of the box
  int panel, row, head;       // where it begins
  constexpr std::size_t elements() const { return std::size_t(box_rows) * std::size_t(box_columns); }
};
/// The box by TMA, as it lies in shared memory.
cudaError_t tile_load(const half* tensor, half* out, const Box& box);
/// `tile`, as it lies in shared memory, to the box by TMA.
cudaError_t tile_store(const half* tile, half* tensor, const Box& box);

enum class Operand { k_major, mn_major, registers };
/// d[64][columns] (+)= a b with 64 products of depth, FP32. `a` is [64][64]: rows of m, or with
/// mn_major of k. `b` is [columns][64], or with mn_major [64][columns rounded up to 64]. `d` is added
/// to where `accumulate`.
cudaError_t wgmma(const half* a, Operand a_kind, const half* b, Operand b_kind, float* d, int columns,
                  bool accumulate);
/// Two accumulators in flight: out = a b[0] of [64][64], then a b[1]; each waited for by its own group.
cudaError_t wgmma_groups(const half* a, const half* b, float* out);

/// Three warpgroups, of which one gives registers up and two take them; out[i] = i for 384 threads.
cudaError_t registers(int* out);

/// Four warps: out[thread] = how often of two times the thread was the one elected.
cudaError_t elect(int* out);

/// `blocks` blocks in clusters of `size`: out[256 * block + ...] gets 16 and 8 bytes a thread from the
/// block's left neighbour in the cluster, 32 threads each, and the block's rank.
cudaError_t neighbours(float* out, int blocks, int size);
/// A cluster of two: block 0 loads 64 rows of a [1, 64, 64] tensor into both; out is [2][64][64] as
/// it lies there.
cudaError_t multicast(const half* tensor, half* out);

}  // namespace hopper
