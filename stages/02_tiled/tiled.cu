// tiled: tiles of Q, K, P and V in shared memory, and a small block of results in each thread's registers.
//
// A block copies a tile once and all its threads use it: K is read once for 64 rows of Q, V once for 32 rows
// of P. Each thread computes 4 x 4 scores or 4 x 8 elements of O, so that every value it reads from shared
// memory serves four or eight products. A thread sums its own dot products, so it needs no shuffles.
//
// Bound by shared memory: every operand is a load of 2 or 4 bytes, and the reads of K meet bank conflicts.
//
// The step before: diff -u stages/02_tiled/coalesced.cu stages/02_tiled/tiled.cu
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "scores.cuh"

namespace attention::tiled {
namespace {

constexpr int kBlockThreads = 256;  // of the scores and the softmax
constexpr int kWarpsPerBlock = kBlockThreads / 32;

constexpr int kBlockQ = 64;        // query rows of a tile of scores
constexpr int kBlockKv = 64;       // keys of a tile, in both products
constexpr int kRowsPerThread = 4;  // a thread computes 4 rows x 4 keys of S
constexpr int kKeysPerThread = 4;
static_assert(kBlockThreads == (kBlockQ / kRowsPerThread) * (kBlockKv / kKeysPerThread));

constexpr int kOutputBlockQ = 32;  // query rows of a tile of O: 128 blocks at the headline shape, for 132 SMs
constexpr int kColumnsPerThread = 8;  // a thread computes 4 rows x 8 columns of O
constexpr int kKeyGroups = 4;  // groups of threads that share a tile's keys: 128 blocks make 1024 warps
template <int kHeadDim>
constexpr int kOutputThreads = (kOutputBlockQ / kRowsPerThread) * (kHeadDim / kColumnsPerThread) * kKeyGroups;

// Copies a tile of kRows x kHeadDim halves from global to shared memory; rows from `rows` on become zero.
template <int kRows, int kHeadDim>
__device__ inline void load_tile(half (*tile_smem)[kHeadDim], const half* gmem, int rows) {
  for (int i = threadIdx.x; i < kRows * kHeadDim; i += blockDim.x) {
    const int row = i / kHeadDim, d = i % kHeadDim;
    tile_smem[row][d] = row < rows ? gmem[i] : __float2half(0.f);
  }
}

// [tiled_scores]
// S = scale Q K^T, a tile of 64 x 64 scores per block. Thread (ty, tx) of 16 x 16 owns rows ty + 16 i and
// keys tx + 16 j. A warp is 4 x 8 of them: it stores whole sectors of 8 scores.
template <int kHeadDim>
__global__ void __launch_bounds__(kBlockThreads) scores_kernel(Problem p, Tensors t, float* s_gmem) {
  __shared__ __align__(16) half q_smem[kBlockQ][kHeadDim];
  __shared__ __align__(16) half k_smem[kBlockKv][kHeadDim];

  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const int tx = warp_id % 2 * 8 + lane_id % 8;
  const int ty = warp_id / 2 * 4 + lane_id / 8;
  const int first_key = blockIdx.x * kBlockKv;
  const int first_row = blockIdx.y * kBlockQ;
  const int head = blockIdx.z;
  const int last_row = min(first_row + kBlockQ, p.seq_q) - 1;
  if (first_key >= visible_keys(p, last_row)) return;  // the whole tile is masked

  const half* q_gmem = t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim;
  load_tile<kBlockQ, kHeadDim>(q_smem, q_gmem, p.seq_q - first_row);
  const half* k_gmem = t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + first_key) * kHeadDim;
  load_tile<kBlockKv, kHeadDim>(k_smem, k_gmem, p.seq_kv - first_key);
  __syncthreads();

  float s_rmem[kRowsPerThread][kKeysPerThread] = {};
  for (int d = 0; d < kHeadDim; ++d) {
    float q[kRowsPerThread], k[kKeysPerThread];
    for (int i = 0; i < kRowsPerThread; ++i) q[i] = __half2float(q_smem[ty + 16 * i][d]);
    for (int j = 0; j < kKeysPerThread; ++j) k[j] = __half2float(k_smem[tx + 16 * j][d]);
    for (int i = 0; i < kRowsPerThread; ++i) {
      for (int j = 0; j < kKeysPerThread; ++j) s_rmem[i][j] += q[i] * k[j];
    }
  }

  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = first_row + ty + 16 * i;
    if (row >= p.seq_q) break;
    float* s = score_row(p, s_gmem, head, row) + first_key;
    const int keys = visible_keys(p, row) - first_key;  // masked scores are neither stored nor read again
    for (int j = 0; j < kKeysPerThread; ++j) {
      if (tx + 16 * j < keys) s[tx + 16 * j] = s_rmem[i][j] * p.scale;
    }
  }
}
// [tiled_scores]

// [softmax]
// P = softmax(S) in place, one warp per row, lanes on neighbouring keys.
__global__ void softmax_kernel(Problem p, float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarpsPerBlock + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  float* s = score_row(p, s_gmem, head, row);
  const int keys = visible_keys(p, row);
  float m = -INFINITY, l = 0.f;
  for (int key = lane_id; key < keys; key += 32) m = fmaxf(m, s[key]);
  m = warp_reduce_max(m);
  for (int key = lane_id; key < keys; key += 32) l += __expf(s[key] - m);
  const float inverse = 1.f / warp_reduce_sum(l);
  for (int key = lane_id; key < keys; key += 32) s[key] = __expf(s[key] - m) * inverse;
}
// [softmax]

// [tiled_output]
// O = P V, a tile of 32 rows x head_dim per block. Four groups of threads share each tile's 64 keys, 16 per
// group, and add up their sums at the end, always in the same order. In a group, thread (ty, tx) owns rows
// ty + 8 i and eight columns.
template <int kHeadDim>
__global__ void __launch_bounds__(kOutputThreads<kHeadDim>)
    output_kernel(Problem p, Tensors t, float* p_gmem) {
  constexpr int kGroupThreads = kOutputThreads<kHeadDim> / kKeyGroups;
  constexpr int kGroupKeys = kBlockKv / kKeyGroups;
  constexpr int kThreadsX = kHeadDim / kColumnsPerThread;
  constexpr int kThreadsY = kOutputBlockQ / kRowsPerThread;
  __shared__ __align__(16) float p_smem[kOutputBlockQ][kBlockKv];
  __shared__ __align__(16) half v_smem[kBlockKv][kHeadDim];
  __shared__ float o_smem[kRowsPerThread][kColumnsPerThread][kGroupThreads];

  const int group = threadIdx.x / kGroupThreads;
  const int group_thread = threadIdx.x % kGroupThreads;
  const int tx = threadIdx.x % kThreadsX;
  const int ty = group_thread / kThreadsX;
  const int first_row = blockIdx.x * kOutputBlockQ;
  const int head = blockIdx.y;
  const int rows = min(kOutputBlockQ, p.seq_q - first_row);
  const int keys = visible_keys(p, first_row + rows - 1);  // the last row sees most keys
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;

  float o_rmem[kRowsPerThread][kColumnsPerThread] = {};
  for (int first_key = 0; first_key < keys; first_key += kBlockKv) {
    for (int i = threadIdx.x; i < kOutputBlockQ * kBlockKv; i += blockDim.x) {
      const int row = i / kBlockKv, key = i % kBlockKv;
      const int row_keys = row < rows ? visible_keys(p, first_row + row) - first_key : 0;
      const float* prob = score_row(p, p_gmem, head, first_row + row) + first_key + key;
      p_smem[row][key] = key < row_keys ? *prob : 0.f;
    }
    load_tile<kBlockKv, kHeadDim>(v_smem, v_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key);
    __syncthreads();

    const int group_key = group * kGroupKeys;
    for (int key = group_key; key < group_key + kGroupKeys; ++key) {
      for (int j = 0; j < kColumnsPerThread; ++j) {
        const float v = __half2float(v_smem[key][tx + kThreadsX * j]);
        for (int i = 0; i < kRowsPerThread; ++i) o_rmem[i][j] += p_smem[ty + kThreadsY * i][key] * v;
      }
    }
    __syncthreads();  // WAR: another warp may still be reading this tile
  }

  // Group 0 adds the other groups' sums to its own, one group after the other. Each thread has a column of
  // o_smem to itself, so that neighbouring threads use neighbouring banks.
  for (int other = 1; other < kKeyGroups; ++other) {
    if (group == other) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kColumnsPerThread; ++j) o_smem[i][j][group_thread] = o_rmem[i][j];
      }
    }
    __syncthreads();
    if (group == 0) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kColumnsPerThread; ++j) o_rmem[i][j] += o_smem[i][j][group_thread];
      }
    }
    __syncthreads();
  }
  if (group != 0) return;

  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = ty + kThreadsY * i;
    if (row >= rows) break;
    half* o = t.o + (size_t(head) * p.seq_q + first_row + row) * kHeadDim;
    for (int j = 0; j < kColumnsPerThread; ++j) o[tx + kThreadsX * j] = __float2half(o_rmem[i][j]);
  }
}
// [tiled_output]

}  // namespace

cudaError_t tiled(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const dim3 scores_grid(ceil_div(p.seq_kv, kBlockKv), ceil_div(p.seq_q, kBlockQ), heads);
  const dim3 row_grid(ceil_div(p.seq_q, kWarpsPerBlock), heads);
  const dim3 output_grid(ceil_div(p.seq_q, kOutputBlockQ), heads);

  return with_head_dim(p, [&](auto head_dim) {
    const dim3 output_block(kOutputThreads<head_dim>);
    cudaError_t status =
        launch(scores_kernel<head_dim>, scores_grid, dim3(kBlockThreads), 0, stream, p, t, s_gmem);
    if (status != cudaSuccess) return status;
    status = launch(softmax_kernel, row_grid, dim3(kBlockThreads), 0, stream, p, s_gmem);
    if (status != cudaSuccess) return status;
    return launch(output_kernel<head_dim>, output_grid, output_block, 0, stream, p, t, s_gmem);
  });
}

}  // namespace attention::tiled
