// Exercise 03.2: two buffers.
//
// A block computes the scores of 16 rows, a tile of 64 keys at a time. In the exercise it loads a tile into
// registers, stores it to shared memory, and multiplies, one after the other: no load is in flight while
// the tensor cores work. Make k_smem two buffers, and load the next tile before you multiply this one. One
// barrier per tile is then enough.
#include <mma.h>

#include "given.cuh"

namespace attention::exercise {

namespace mma = nvcuda::wmma;

constexpr int kThreads = 128;
constexpr int kBlockQ = 16;
constexpr int kBlockKv = 64;
constexpr int kStride = kHeadDim + 8;
constexpr int kChunks = kBlockKv * kHeadDim / 8 / kThreads;  // of 16 bytes, per thread

struct Staged {
  uint4 chunk_rmem[kChunks];
  __device__ void load(const half* gmem, int rows) {
    for (int i = 0; i < kChunks; ++i) {
      const int at = threadIdx.x + i * kThreads, row = at / (kHeadDim / 8), column = at % (kHeadDim / 8) * 8;
      chunk_rmem[i] = make_uint4(0, 0, 0, 0);
      if (row < rows) chunk_rmem[i] = *reinterpret_cast<const uint4*>(gmem + row * kHeadDim + column);
    }
  }
  __device__ void store(half (*tile_smem)[kStride]) const {
    for (int i = 0; i < kChunks; ++i) {
      const int at = threadIdx.x + i * kThreads, row = at / (kHeadDim / 8), column = at % (kHeadDim / 8) * 8;
      *reinterpret_cast<uint4*>(&tile_smem[row][column]) = chunk_rmem[i];
    }
  }
};

// Computes the scores of the warp's 16 keys and stores them to global memory, whose rows hold whole tiles.
__device__ void multiply(const half (*q_smem)[kStride], const half (*k_smem)[kStride], float* s_gmem, int ld,
                         float scale) {
  const int warp_id = threadIdx.x / 32;
  mma::fragment<mma::accumulator, 16, 16, 16, float> s_frag;
  mma::fill_fragment(s_frag, 0.f);
  for (int d = 0; d < kHeadDim; d += 16) {
    mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> q_frag;
    mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::col_major> k_frag;
    mma::load_matrix_sync(q_frag, &q_smem[0][d], kStride);
    mma::load_matrix_sync(k_frag, &k_smem[16 * warp_id][d], kStride);
    mma::mma_sync(s_frag, q_frag, k_frag, s_frag);
  }
  for (int i = 0; i < s_frag.num_elements; ++i) s_frag.x[i] *= scale;
  mma::store_matrix_sync(s_gmem + 16 * warp_id, s_frag, ld, mma::mem_row_major);
}

__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  // [buffers]
  __shared__ __align__(32) half q_smem[kBlockQ][kStride];
  __shared__ __align__(32) half k_smem[kBlockKv][kStride];
  // [buffers]
  const int first_row = blockIdx.x * kBlockQ, head = blockIdx.y;
  const half* k_gmem = t.k + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  float* s_rows_gmem = s_gmem + (size_t(head) * p.seq_q + first_row) * p.seq_kv;

  const half* q_gmem = t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim;
  const int row = threadIdx.x / 8, column = threadIdx.x % 8 * 8;
  *reinterpret_cast<uint4*>(&q_smem[row][column]) =
      *reinterpret_cast<const uint4*>(q_gmem + row * kHeadDim + column);

  // [loop]
  const int tiles = p.seq_kv / kBlockKv;
  Staged next;
  for (int tile = 0; tile < tiles; ++tile) {
    const int first_key = tile * kBlockKv;
    next.load(k_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key);
    next.store(k_smem);  // waits for the load
    __syncthreads();
    multiply(q_smem, k_smem, s_rows_gmem + first_key, p.seq_kv, p.scale);
    __syncthreads();
  }
  // [loop]
}

// The checker's problems have whole tiles: a multiple of 16 queries and of 64 keys.
cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const cudaError_t status =
      launch(scores_kernel, dim3(p.seq_q / kBlockQ, all_heads(p)), dim3(kThreads), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch_softmax_output(p, t, s_gmem, stream);
}

}  // namespace attention::exercise
