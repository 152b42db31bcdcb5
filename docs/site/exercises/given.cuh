#pragma once

// What exercises take as given, so that their own files are about one thing.

#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"
#include "attention/warp.cuh"

namespace attention::exercise {

constexpr int kHeadDim = 64;

inline unsigned all_heads(const Problem& p) {
  return unsigned(p.batch * p.heads);
}

// P[head, row, key] = softmax(scale Q K^T): one warp a row, lanes on neighbouring elements.
static __global__ void probabilities_kernel(Problem p, Tensors t, float* p_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  const half* q = t.q + (size_t(head) * p.seq_q + row) * kHeadDim;
  const half* k = t.k + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  float* prob = p_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const int keys = visible_keys(p, row);

  float m = -INFINITY, l = 0.f;
  for (int key = 0; key < keys; ++key) {
    float s = 0.f;
    for (int d = lane_id; d < kHeadDim; d += 32)
      s += __half2float(q[d]) * __half2float(k[key * kHeadDim + d]);
    s = warp_reduce_sum(s) * p.scale;
    if (lane_id == 0) prob[key] = s;
    const float m_new = fmaxf(m, s);
    l = l * __expf(m - m_new) + __expf(s - m_new);
    m = m_new;
  }
  __syncwarp();
  for (int key = lane_id; key < p.seq_kv; key += 32) prob[key] = key < keys ? __expf(prob[key] - m) / l : 0.f;
}

inline cudaError_t launch_probabilities(const Problem& p, const Tensors& t, float* p_gmem,
                                        cudaStream_t stream) {
  return launch(probabilities_kernel, dim3(ceil_div(p.seq_q, 4), all_heads(p)), dim3(128), 0, stream, p, t,
                p_gmem);
}

// O = P V by the exercise's kernel, with P in memory; V comes by TMA in boxes of block_kv rows.
template <typename Kernel>
cudaError_t launch_output(Kernel output_kernel, int block_q, int block_kv, int threads,
                          std::size_t smem_bytes, const Problem& p, const Tensors& t, void* workspace,
                          cudaStream_t stream) {
  float* p_gmem = static_cast<float*>(workspace);
  CUtensorMap v_map;
  cudaError_t status =
      make_tensor_map(&v_map, t.v, p.batch * p.kv_heads, p.seq_kv, kHeadDim, block_kv, kHeadDim);
  if (status == cudaSuccess) status = launch_probabilities(p, t, p_gmem, stream);
  if (status != cudaSuccess) return status;
  return launch(output_kernel, dim3(ceil_div(p.seq_q, block_q), all_heads(p)), dim3(threads), smem_bytes,
                stream, p, v_map, static_cast<const float*>(p_gmem), t.o);
}

// O = softmax(S) V with S in memory, [head, row, key], masked keys not read: one warp a row, two columns a
// lane.
static __global__ void softmax_output_kernel(Problem p, Tensors t, const float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  const float* s = s_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const half2* v =
      reinterpret_cast<const half2*>(t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim) + lane_id;
  const int keys = visible_keys(p, row);

  float m = -INFINITY, l = 0.f;
  for (int key = lane_id; key < keys; key += 32) m = fmaxf(m, s[key]);
  m = warp_reduce_max(m);
  float2 o = make_float2(0.f, 0.f);
  for (int key = 0; key < keys; ++key) {
    const float weight = __expf(s[key] - m);
    const float2 pair = __half22float2(v[key * (kHeadDim / 2)]);
    l += weight;
    o.x += weight * pair.x;
    o.y += weight * pair.y;
  }
  const float inverse = keys > 0 ? 1.f / l : 0.f;
  reinterpret_cast<half2*>(t.o + (size_t(head) * p.seq_q + row) * kHeadDim)[lane_id] =
      __floats2half2_rn(o.x * inverse, o.y * inverse);
}

inline cudaError_t launch_softmax_output(const Problem& p, const Tensors& t, const float* s_gmem,
                                         cudaStream_t stream) {
  return launch(softmax_output_kernel, dim3(ceil_div(p.seq_q, 4), all_heads(p)), dim3(128), 0, stream, p, t,
                s_gmem);
}

}  // namespace attention::exercise
