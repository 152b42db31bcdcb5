// Exercise 02.1: eight rows in eight places.
//
// A block computes the scores of 32 rows and 64 keys from tiles in shared memory, 16 bytes per lane and
// access. The kernel is right, but a read of K takes eight times as many wavefronts as it needs:
// neighbouring lanes read neighbouring *rows*, and all rows begin in the same bank. Change one number.
#include "given.cuh"

namespace attention::exercise {

constexpr int kThreads = 256;
constexpr int kBlockQ = 32;
constexpr int kBlockKv = 64;
// [stride]
// Halves from one row of a tile to the next: 144 bytes, so that each row begins 4 banks after the one before.
constexpr int kStride = kHeadDim + 8;
// [stride]

// Copies rows 0 .. rows-1 (at most kRows) of a matrix of 64 columns to shared memory; the rest become zeros.
template <int kRows>
__device__ void load_tile(half (*tile_smem)[kStride], const half* gmem, int rows) {
  constexpr int kChunksPerRow = kHeadDim / 8;  // of 16 bytes
  for (int i = threadIdx.x; i < kRows * kChunksPerRow; i += kThreads) {
    const int row = i / kChunksPerRow, column = i % kChunksPerRow * 8;
    uint4 chunk = make_uint4(0, 0, 0, 0);
    if (row < rows) chunk = *reinterpret_cast<const uint4*>(gmem + row * kHeadDim + column);
    *reinterpret_cast<uint4*>(&tile_smem[row][column]) = chunk;
  }
}

__device__ float dot8(const uint4& a, const uint4& b) {
  const half2* x = reinterpret_cast<const half2*>(&a);
  const half2* y = reinterpret_cast<const half2*>(&b);
  float sum = 0.f;
  for (int i = 0; i < 4; ++i) {
    const float2 u = __half22float2(x[i]), w = __half22float2(y[i]);
    sum += u.x * w.x + u.y * w.y;
  }
  return sum;
}

// A warp computes the scores of four rows, a lane those of two keys.
__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  __shared__ __align__(16) half q_smem[kBlockQ][kStride];
  __shared__ __align__(16) half k_smem[kBlockKv][kStride];
  const int first_key = blockIdx.x * kBlockKv, first_row = blockIdx.y * kBlockQ, head = blockIdx.z;
  load_tile<kBlockQ>(q_smem, t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim, p.seq_q - first_row);
  load_tile<kBlockKv>(k_smem, t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + first_key) * kHeadDim,
                      p.seq_kv - first_key);
  __syncthreads();

  const int lane_id = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 4;
  float s_rmem[4][2] = {};
  for (int d = 0; d < kHeadDim; d += 8) {
    for (int j = 0; j < 2; ++j) {
      const uint4 k = *reinterpret_cast<const uint4*>(&k_smem[lane_id + 32 * j][d]);
      for (int i = 0; i < 4; ++i)
        s_rmem[i][j] += dot8(*reinterpret_cast<const uint4*>(&q_smem[warp_row + i][d]), k);
    }
  }
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + warp_row + i;
    if (row >= p.seq_q) break;
    for (int j = 0; j < 2; ++j) {
      const int key = first_key + lane_id + 32 * j;
      if (key < p.seq_kv) s_gmem[(size_t(head) * p.seq_q + row) * p.seq_kv + key] = s_rmem[i][j] * p.scale;
    }
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const dim3 grid(ceil_div(p.seq_kv, kBlockKv), ceil_div(p.seq_q, kBlockQ), all_heads(p));
  const cudaError_t status = launch(scores_kernel, grid, dim3(kThreads), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch_softmax_output(p, t, s_gmem, stream);
}

}  // namespace attention::exercise
