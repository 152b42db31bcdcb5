// wide_softmax: the softmax too reads and writes 16 bytes per lane.
//
// Its three passes over a row need a quarter of the load and store instructions. Scores past the last visible
// key were never written; they are loaded with their neighbours and must count as -infinity.
//
// Bound by bank conflicts in the products, as `wide` is.
//
// The step before: diff -u stages/02_tiled/wide.cu stages/02_tiled/wide_softmax.cu
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "scores.cuh"
#include "unpack.cuh"

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
  for (int i = 8 * threadIdx.x; i < kRows * kHeadDim; i += 8 * blockDim.x) {
    const int row = i / kHeadDim, d = i % kHeadDim;
    const uint4 bits = row < rows ? *reinterpret_cast<const uint4*>(gmem + i) : make_uint4(0, 0, 0, 0);
    *reinterpret_cast<uint4*>(&tile_smem[row][d]) = bits;
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
#pragma unroll 2
  for (int d = 0; d < kHeadDim; d += 8) {
    float q[kRowsPerThread][8], k[8];
    for (int i = 0; i < kRowsPerThread; ++i) {
      unpack(*reinterpret_cast<const uint4*>(&q_smem[ty + 16 * i][d]), q[i]);
    }
    for (int j = 0; j < kKeysPerThread; ++j) {
      unpack(*reinterpret_cast<const uint4*>(&k_smem[tx + 16 * j][d]), k);
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int e = 0; e < 8; ++e) s_rmem[i][j] += q[i][e] * k[e];
      }
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
// Scores 4 i .. 4 i + 3 of a row. Those past its last visible key were never written and count as -infinity.
__device__ inline float4 load_scores(const float4* s, int i, int keys) {
  float4 x = s[i];
  if (4 * i + 1 >= keys) x.y = -INFINITY;
  if (4 * i + 2 >= keys) x.z = -INFINITY;
  if (4 * i + 3 >= keys) x.w = -INFINITY;
  return x;
}

// P = softmax(S) in place, one warp per row, lanes on neighbouring groups of four keys.
__global__ void softmax_kernel(Problem p, float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarpsPerBlock + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  float4* s = reinterpret_cast<float4*>(score_row(p, s_gmem, head, row));
  const int keys = visible_keys(p, row);
  float m = -INFINITY, l = 0.f;
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load_scores(s, i, keys);
    m = fmaxf(m, fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)));
  }
  m = warp_reduce_max(m);
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load_scores(s, i, keys);
    l += __expf(x.x - m) + __expf(x.y - m) + __expf(x.z - m) + __expf(x.w - m);
  }
  const float inverse = 1.f / warp_reduce_sum(l);
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load_scores(s, i, keys);
    s[i] = make_float4(__expf(x.x - m) * inverse, __expf(x.y - m) * inverse, __expf(x.z - m) * inverse,
                       __expf(x.w - m) * inverse);
  }
}
// [softmax]

// [tiled_output]
// O = P V, a tile of 32 rows x head_dim per block. Four groups of threads share each tile's 64 keys, 16 per
// group, and add up their sums at the end, always in the same order. In a group, thread (ty, tx) owns rows
// ty + 8 i and eight columns from 8 tx on.
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
    for (int i = 4 * threadIdx.x; i < kOutputBlockQ * kBlockKv; i += 4 * blockDim.x) {
      const int row = i / kBlockKv, key = i % kBlockKv;
      const int row_keys = row < rows ? visible_keys(p, first_row + row) - first_key : 0;
      const float* prob = score_row(p, p_gmem, head, first_row + row) + first_key + key;
      float4 x = key < row_keys ? *reinterpret_cast<const float4*>(prob) : make_float4(0.f, 0.f, 0.f, 0.f);
      if (key + 1 >= row_keys) x.y = 0.f;
      if (key + 2 >= row_keys) x.z = 0.f;
      if (key + 3 >= row_keys) x.w = 0.f;
      *reinterpret_cast<float4*>(&p_smem[row][key]) = x;
    }
    load_tile<kBlockKv, kHeadDim>(v_smem, v_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key);
    __syncthreads();

    const int group_key = group * kGroupKeys;
    for (int key = group_key; key < group_key + kGroupKeys; key += 4) {
      float4 prob[kRowsPerThread];
      for (int i = 0; i < kRowsPerThread; ++i) {
        prob[i] = *reinterpret_cast<const float4*>(&p_smem[ty + kThreadsY * i][key]);
      }
      for (int e = 0; e < 4; ++e) {
        float v[8];
        unpack(*reinterpret_cast<const uint4*>(&v_smem[key + e][8 * tx]), v);
        for (int i = 0; i < kRowsPerThread; ++i) {
          const float weight = e == 0 ? prob[i].x : e == 1 ? prob[i].y : e == 2 ? prob[i].z : prob[i].w;
          for (int j = 0; j < kColumnsPerThread; ++j) o_rmem[i][j] += weight * v[j];
        }
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
    uint4 bits;
    half2* pairs = reinterpret_cast<half2*>(&bits);
    for (int j = 0; j < 4; ++j) pairs[j] = __floats2half2_rn(o_rmem[i][2 * j], o_rmem[i][2 * j + 1]);
    *reinterpret_cast<uint4*>(o + 8 * tx) = bits;
  }
}
// [tiled_output]

}  // namespace

cudaError_t wide_softmax(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
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
