// Exercise 03.1: one tile with WMMA.
//
// A warp computes 16 x 16 scores. 16 rows of Q and 16 of K are in shared memory already, with zeros for rows
// that do not exist, and the kernel's end stores to global memory what the warp leaves in s_smem. The
// exercise leaves zeros there. Multiply with nvcuda::wmma: for every 16 elements of a row, load a fragment
// of Q and one of K, and add their product to the accumulator. Is K row_major or col_major, if Q is to be
// multiplied by K transposed?
#include <mma.h>

#include "given.cuh"

namespace attention::exercise {

namespace mma = nvcuda::wmma;

constexpr int kTile = 16;
constexpr int kStride = kHeadDim + 8;

__device__ void load_rows(half (*tile_smem)[kStride], const half* gmem, int rows) {
  for (int i = threadIdx.x; i < kTile * kHeadDim / 8; i += 32) {
    const int row = i / (kHeadDim / 8), column = i % (kHeadDim / 8) * 8;
    uint4 chunk = make_uint4(0, 0, 0, 0);
    if (row < rows) chunk = *reinterpret_cast<const uint4*>(gmem + row * kHeadDim + column);
    *reinterpret_cast<uint4*>(&tile_smem[row][column]) = chunk;
  }
}

__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  __shared__ __align__(32) half q_smem[kTile][kStride];
  __shared__ __align__(32) half k_smem[kTile][kStride];
  __shared__ __align__(32) float s_smem[kTile][kTile];
  const int first_key = blockIdx.x * kTile, first_row = blockIdx.y * kTile, head = blockIdx.z;
  load_rows(q_smem, t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim, p.seq_q - first_row);
  load_rows(k_smem, t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + first_key) * kHeadDim,
            p.seq_kv - first_key);
  __syncwarp();

  // [product]
  mma::fragment<mma::accumulator, 16, 16, 16, float> s_frag;
  mma::fill_fragment(s_frag, 0.f);
  for (int d = 0; d < kHeadDim; d += 16) {
    mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> q_frag;
    mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::col_major> k_frag;  // a row of K is a column of K^T
    mma::load_matrix_sync(q_frag, &q_smem[0][d], kStride);
    mma::load_matrix_sync(k_frag, &k_smem[0][d], kStride);
    mma::mma_sync(s_frag, q_frag, k_frag, s_frag);
  }
  mma::store_matrix_sync(&s_smem[0][0], s_frag, kTile, mma::mem_row_major);
  // [product]

  __syncwarp();
  for (int i = threadIdx.x; i < kTile * kTile; i += 32) {
    const int row = first_row + i / kTile, key = first_key + i % kTile;
    if (row < p.seq_q && key < p.seq_kv) {
      s_gmem[(size_t(head) * p.seq_q + row) * p.seq_kv + key] = s_smem[i / kTile][i % kTile] * p.scale;
    }
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const dim3 grid(ceil_div(p.seq_kv, kTile), ceil_div(p.seq_q, kTile), all_heads(p));
  const cudaError_t status = launch(scores_kernel, grid, dim3(32), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch_softmax_output(p, t, s_gmem, stream);
}

}  // namespace attention::exercise
