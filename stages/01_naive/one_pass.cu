// one_pass: one launch, one warp per query row, no matrix of scores.
//
// A running maximum and a running sum (online softmax, Milakov and Gimelshein 2018) make it unnecessary to
// store S: each key's score is used as soon as it is known. Neighbouring lanes read neighbouring elements, so
// loads are coalesced. But every row reads all of K and V again.
//
// Bound by latency: each key costs five shuffles that wait for one another. If they did not, issuing about 30
// instructions per key and row would be the limit.
//
// The step before: diff -u stages/01_naive/unfused.cu stages/01_naive/one_pass.cu
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"

namespace attention::naive {
namespace {

constexpr int kBlockThreads = 256;
constexpr int kWarpsPerBlock = kBlockThreads / 32;

// [one_pass]
// One warp per query row; lane i owns elements i, i + 32, ... of the row's q and o.
template <int kHeadDim>
__global__ void one_pass_kernel(Problem p, Tensors t) {
  constexpr int kPerLane = kHeadDim / 32;
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarpsPerBlock + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const size_t row_offset = (size_t(head) * p.seq_q + row) * kHeadDim + lane_id;
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim + lane_id;
  const half* k = t.k + kv_offset;
  const half* v = t.v + kv_offset;

  float q_rmem[kPerLane], o_rmem[kPerLane];
  for (int i = 0; i < kPerLane; ++i) {
    q_rmem[i] = __half2float(t.q[row_offset + 32 * i]) * p.scale;
    o_rmem[i] = 0.f;
  }

  float m_i = -INFINITY;  // largest score so far
  float l_i = 0.f;        // sum of exp(score - m_i) so far
  const int keys = visible_keys(p, row);
  for (int key = 0; key < keys; ++key, k += kHeadDim, v += kHeadDim) {
    float s = 0.f;
    for (int i = 0; i < kPerLane; ++i) s += q_rmem[i] * __half2float(k[32 * i]);
    s = warp_reduce_sum(s);

    // A new maximum scales down everything summed under the old one, by exp(old - new).
    const float m_new = fmaxf(m_i, s);
    const float correction = __expf(m_i - m_new);
    const float prob = __expf(s - m_new);
    l_i = l_i * correction + prob;
    for (int i = 0; i < kPerLane; ++i) o_rmem[i] = o_rmem[i] * correction + prob * __half2float(v[32 * i]);
    m_i = m_new;
  }

  // A row that sees no key must yield zero, not 0 / 0.
  const float inverse = keys > 0 ? 1.f / l_i : 0.f;
  for (int i = 0; i < kPerLane; ++i) t.o[row_offset + 32 * i] = __float2half(o_rmem[i] * inverse);
}
// [one_pass]

}  // namespace

cudaError_t one_pass(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.seq_q, kWarpsPerBlock), unsigned(p.batch * p.heads));
  return with_head_dim(p, [&](auto head_dim) {
    return launch(one_pass_kernel<head_dim>, grid, dim3(kBlockThreads), 0, stream, p, t);
  });
}

}  // namespace attention::naive
