// Exercise 04.1: the swizzle.
//
// A block of four warps computes 64 x 64 scores with ldmatrix and mma.sync. Tiles lie in shared memory
// without padding, rows of 128 bytes, so the eight rows that ldmatrix reads at once all begin in the same
// bank. tile_offset() says where a chunk of 16 bytes of a row is stored; everything that writes or reads a
// tile asks it. Change it so that the same chunk of eight rows lies in eight different groups of banks. No
// padding: the tile stays as large as it is.
#include "attention/ptx.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kThreads = 128;
constexpr int kTile = 64;  // rows of Q, and keys

// [swizzle]
// Offset, in halves, of chunk `chunk` (8 halves) of row `row` in a tile of 64 columns.
__device__ int tile_offset(int row, int chunk) {
  return row * kHeadDim + chunk * 8;
}
// [swizzle]

__device__ void load_tile(half* tile_smem, const half* gmem, int rows) {
  for (int i = threadIdx.x; i < kTile * kHeadDim / 8; i += kThreads) {
    const int row = i / 8, chunk = i % 8;
    uint4 values = make_uint4(0, 0, 0, 0);
    if (row < rows) values = *reinterpret_cast<const uint4*>(gmem + row * kHeadDim + chunk * 8);
    *reinterpret_cast<uint4*>(tile_smem + tile_offset(row, chunk)) = values;
  }
}

__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  __shared__ __align__(128) half q_smem[kTile * kHeadDim];
  __shared__ __align__(128) half k_smem[kTile * kHeadDim];
  const int first_key = blockIdx.x * kTile, first_row = blockIdx.y * kTile, head = blockIdx.z;
  load_tile(q_smem, t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim, p.seq_q - first_row);
  load_tile(k_smem, t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + first_key) * kHeadDim,
            p.seq_kv - first_key);
  __syncthreads();

  const int lane_id = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;
  float s_frag[kTile / 8][4] = {};
  for (int k = 0; k < kHeadDim / 16; ++k) {
    // Lane i points to row i % 16 of Q, first or second chunk of the 16 columns.
    std::uint32_t q_frag[4];
    ldmatrix_x4(q_frag, q_smem + tile_offset(warp_row + lane_id % 16, 2 * k + lane_id / 16));
    for (int n = 0; n < kTile / 8; n += 2) {
      std::uint32_t k_frag[4];
      ldmatrix_x4(k_frag,
                  k_smem + tile_offset(8 * n + lane_id % 8 + lane_id / 16 * 8, 2 * k + lane_id / 8 % 2));
      mma_m16n8k16(s_frag[n], q_frag, {k_frag[0], k_frag[1]});
      mma_m16n8k16(s_frag[n + 1], q_frag, {k_frag[2], k_frag[3]});
    }
  }
  for (int n = 0; n < kTile / 8; ++n) {
    for (int i = 0; i < 4; ++i) {
      const int row = first_row + warp_row + lane_id / 4 + i / 2 * 8;
      const int key = first_key + 8 * n + lane_id % 4 * 2 + i % 2;
      if (row < p.seq_q && key < p.seq_kv)
        s_gmem[(size_t(head) * p.seq_q + row) * p.seq_kv + key] = s_frag[n][i] * p.scale;
    }
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const dim3 grid(ceil_div(p.seq_kv, kTile), ceil_div(p.seq_q, kTile), all_heads(p));
  const cudaError_t status = launch(scores_kernel, grid, dim3(kThreads), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch_softmax_output(p, t, s_gmem, stream);
}

}  // namespace attention::exercise
