// unfused: attention as the formula says it, before any thought for the machine.
//
// Three launches: S = scale Q K^T into a workspace, P = softmax(S) in place, O = P V. One thread computes one
// element (or one row of the softmax). Threads are numbered as a CPU programmer would write the loops, row
// first, so neighbouring threads read and write addresses a whole row apart: a warp's load touches 32 sectors
// of 32 bytes where 2 would hold the same data.
//
// Bound by L1: it serves those sectors one after the other.
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"

namespace attention::naive {
namespace {

constexpr int kBlockThreads = 256;
constexpr int kSoftmaxBlockThreads =
    64;  // one thread per row makes few threads: small blocks spread over more SMs

// [scores]
// S[head, row, key] = scale * dot(Q[head, row], K[head, key]). A key that the row must not see gets -inf.
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
// P = softmax(S) in place, one thread per row. Subtracting the row's maximum keeps exp from overflowing.
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

}  // namespace

size_t unfused_workspace_bytes(const Problem& p) {
  return p.score_elements() * sizeof(float);
}

cudaError_t unfused(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const dim3 score_grid(ceil_div(size_t(p.seq_q) * p.seq_kv, kBlockThreads), heads);
  const dim3 row_grid(ceil_div(p.seq_q, kSoftmaxBlockThreads), heads);
  const dim3 output_grid(ceil_div(size_t(p.seq_q) * p.head_dim, kBlockThreads), heads);

  cudaError_t status = launch(scores_kernel, score_grid, dim3(kBlockThreads), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  status = launch(softmax_kernel, row_grid, dim3(kSoftmaxBlockThreads), 0, stream, p, s_gmem);
  if (status != cudaSuccess) return status;
  return launch(output_kernel, output_grid, dim3(kBlockThreads), 0, stream, p, t,
                static_cast<const float*>(s_gmem));
}

}  // namespace attention::naive
