// coalesced: the three launches of 01_naive/unfused, with the lanes of a warp on neighbouring elements.
//
// A load or store of a warp then touches 2 to 4 whole sectors of 32 bytes, where `unfused` touched 32 of them
// and used 2 or 4 bytes of each. The lanes lie along head_dim for the scores, along keys for the softmax, and
// along the columns of O for the output.
//
// Bound by latency: every score costs five shuffles that wait for one another, and every row reads all of K
// and V again.
//
// The step before: diff -u stages/01_naive/unfused.cu stages/02_tiled/coalesced.cu
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "scores.cuh"

namespace attention::tiled {
namespace {

constexpr int kBlockThreads = 256;
constexpr int kWarpsPerBlock = kBlockThreads / 32;

// [coalesced_scores]
// S[head, row, key] = scale * dot(Q[head, row], K[head, key]), one warp per query row. Both factors of a
// score lie along head_dim, so that is where the lanes go: lane i reads elements i, i + 32, ... and the warp
// sums. Lane `key % 32` keeps the score until the warp has 32 of them to store side by side.
template <int kHeadDim>
__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  constexpr int kPerLane = kHeadDim / 32;
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarpsPerBlock + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const half* q = t.q + (size_t(head) * p.seq_q + row) * kHeadDim + lane_id;
  const half* k = t.k + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim + lane_id;
  float* s = score_row(p, s_gmem, head, row);
  float q_rmem[kPerLane];
  for (int i = 0; i < kPerLane; ++i) q_rmem[i] = __half2float(q[32 * i]) * p.scale;

  const int keys = visible_keys(p, row);
  float kept = 0.f;
  for (int key = 0; key < keys; ++key, k += kHeadDim) {
    float dot = 0.f;
    for (int i = 0; i < kPerLane; ++i) dot += q_rmem[i] * __half2float(k[32 * i]);
    dot = warp_reduce_sum(dot);
    if (key % 32 == lane_id) kept = dot;
    if (key % 32 == 31) s[key - 31 + lane_id] = kept;
  }
  if (lane_id < keys % 32) s[keys / 32 * 32 + lane_id] = kept;
}
// [coalesced_scores]

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

// [coalesced_output]
// O[head, row, d] = sum over keys of P[head, row, key] * V[head, key, d]. One thread per element of O;
// neighbouring threads on neighbouring columns of V and O.
__global__ void output_kernel(Problem p, Tensors t, float* p_gmem) {
  const size_t element = size_t(blockIdx.x) * kBlockThreads + threadIdx.x;
  const int d = element % p.head_dim;
  const int row = element / p.head_dim;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const float* prob = score_row(p, p_gmem, head, row);
  const half* v = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * p.head_dim + d;
  const int keys = visible_keys(p, row);
  float sum = 0.f;
  for (int key = 0; key < keys; ++key) sum += prob[key] * __half2float(v[size_t(key) * p.head_dim]);
  t.o[(size_t(head) * p.seq_q + row) * p.head_dim + d] = __float2half(sum);
}
// [coalesced_output]

}  // namespace

cudaError_t coalesced(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const dim3 row_grid(ceil_div(p.seq_q, kWarpsPerBlock), heads);
  const dim3 output_grid(ceil_div(size_t(p.seq_q) * p.head_dim, kBlockThreads), heads);

  return with_head_dim(p, [&](auto head_dim) {
    cudaError_t status =
        launch(scores_kernel<head_dim>, row_grid, dim3(kBlockThreads), 0, stream, p, t, s_gmem);
    if (status != cudaSuccess) return status;
    status = launch(softmax_kernel, row_grid, dim3(kBlockThreads), 0, stream, p, s_gmem);
    if (status != cudaSuccess) return status;
    return launch(output_kernel, output_grid, dim3(kBlockThreads), 0, stream, p, t, s_gmem);
  });
}

}  // namespace attention::tiled
