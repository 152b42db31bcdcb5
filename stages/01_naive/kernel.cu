// 01_naive: attention as the formula says it, before any thought for the machine.
//
//   unfused   S = scale Q K^T into a workspace, P = softmax(S) a row at a time, O = P V: three launches, one
//             thread an element (a row for the softmax). Threads are numbered as a CPU programmer would write
//             the loops, row first, so neighbouring threads read and write a whole row apart: each warp
//             request touches 32 sectors where 2 would do. Bound by the L1 cache's request rate.
//   one_pass  one launch, one warp a query row: a running maximum and sum (online softmax, Milakov and
//             Gimelshein 2018) make the S x S matrix unnecessary. Neighbouring lanes read neighbouring
//             elements, but every row reads all of K and V again, and each key costs five shuffles that wait
//             for one another. Bound by instruction issue: about 30 instructions a key and row.
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"

namespace attention::naive {

constexpr int kBlockThreads = 256;
constexpr int kWarpsPerBlock = kBlockThreads / 32;

// [scores]
// S[head, row, key] = scale * dot(Q[head, row], K[head, key]); a key that the row does not see gets -inf.
__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  const size_t element = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int row = element % p.seq_q;  // neighbouring threads: neighbouring rows, head_dim elements apart
  const int key = element / p.seq_q;
  const int head = blockIdx.y;
  if (key >= p.seq_kv) return;

  const half* q = t.q + (size_t(head) * p.seq_q + row) * p.head_dim;
  const half* k = t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + key) * p.head_dim;
  float dot = 0.f;
  for (int d = 0; d < p.head_dim; ++d) dot += __half2float(q[d]) * __half2float(k[d]);

  const bool visible = key < visible_keys(p, row);
  s_gmem[(size_t(head) * p.seq_q + row) * p.seq_kv + key] = visible ? dot * p.scale : -INFINITY;
}
// [scores]

// [softmax]
// P = softmax(S) in place, one thread a row. The maximum is subtracted so that exp cannot overflow.
__global__ void softmax_kernel(Problem p, float* s_gmem) {
  const int row = blockIdx.x * blockDim.x + threadIdx.x;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  float* s = s_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const int keys = visible_keys(p, row);
  float m = -INFINITY;
  for (int key = 0; key < keys; ++key) m = fmaxf(m, s[key]);
  float l = 0.f;
  for (int key = 0; key < keys; ++key) l += __expf(s[key] - m);
  for (int key = 0; key < p.seq_kv; ++key) s[key] = key < keys ? __expf(s[key] - m) / l : 0.f;
}
// [softmax]

// [output]
// O[head, row, d] = sum over keys of P[head, row, key] * V[head, key, d].
__global__ void output_kernel(Problem p, Tensors t, const float* p_gmem) {
  const size_t element = size_t(blockIdx.x) * blockDim.x + threadIdx.x;
  const int row = element % p.seq_q;
  const int d = element / p.seq_q;
  const int head = blockIdx.y;
  if (d >= p.head_dim) return;

  const float* prob = p_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const half* v = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * p.head_dim + d;
  float sum = 0.f;
  for (int key = 0; key < p.seq_kv; ++key) sum += prob[key] * __half2float(v[size_t(key) * p.head_dim]);
  t.o[(size_t(head) * p.seq_q + row) * p.head_dim + d] = __float2half(sum);
}
// [output]

// [one_pass]
// One warp a query row; lane i owns elements i, i + 32, ... of the row's q and o.
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

    // What was summed under the old maximum is worth exp(old - new) of what it was.
    const float m_new = fmaxf(m_i, s);
    const float correction = __expf(m_i - m_new);
    const float prob = __expf(s - m_new);
    l_i = l_i * correction + prob;
    for (int i = 0; i < kPerLane; ++i) o_rmem[i] = o_rmem[i] * correction + prob * __half2float(v[32 * i]);
    m_i = m_new;
  }

  // A row that sees no key is zero, not 0 / 0.
  const float inverse = keys > 0 ? 1.f / l_i : 0.f;
  for (int i = 0; i < kPerLane; ++i) t.o[row_offset + 32 * i] = __float2half(o_rmem[i] * inverse);
}
// [one_pass]

size_t unfused_workspace_bytes(const Problem& p) {
  return p.score_elements() * sizeof(float);
}

cudaError_t unfused(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const size_t score_elements = size_t(p.seq_q) * p.seq_kv;
  const size_t output_elements = size_t(p.seq_q) * p.head_dim;

  cudaError_t status = launch(scores_kernel, dim3(ceil_div(score_elements, kBlockThreads), heads),
                              dim3(kBlockThreads), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  // Blocks of 64: a row a thread makes few threads, and more blocks spread them over more SMs.
  status = launch(softmax_kernel, dim3(ceil_div(p.seq_q, 64), heads), dim3(64), 0, stream, p, s_gmem);
  if (status != cudaSuccess) return status;
  return launch(output_kernel, dim3(ceil_div(output_elements, kBlockThreads), heads), dim3(kBlockThreads), 0,
                stream, p, t, static_cast<const float*>(s_gmem));
}

cudaError_t one_pass(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.seq_q, kWarpsPerBlock), unsigned(p.batch * p.heads));
  const auto launch_for = [&](auto* kernel) {
    return launch(kernel, grid, dim3(kBlockThreads), 0, stream, p, t);
  };
  switch (p.head_dim) {
    case 32:
      return launch_for(one_pass_kernel<32>);
    case 64:
      return launch_for(one_pass_kernel<64>);
    case 96:
      return launch_for(one_pass_kernel<96>);
    case 128:
      return launch_for(one_pass_kernel<128>);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace attention::naive
