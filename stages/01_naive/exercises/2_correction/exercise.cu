// Exercise 01.2: the running maximum.
//
// One warp per query row, one pass over the keys, lane i with elements 2 i and 2 i + 1 of the row. The loop
// keeps a running maximum m_i, the sum l_i of exp(score - m_i), and the unnormalised output o. In the
// exercise a step is missing: what happens to l_i and o when a new score raises the maximum? Inputs whose
// largest score comes first do not notice; the checker has others.
#include "given.cuh"

namespace attention::exercise {

__global__ void one_pass_kernel(Problem p, Tensors t) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const half2* k = reinterpret_cast<const half2*>(t.k + kv_offset) + lane_id;
  const half2* v = reinterpret_cast<const half2*>(t.v + kv_offset) + lane_id;
  const size_t row_offset = (size_t(head) * p.seq_q + row) * kHeadDim;
  const float2 q = __half22float2(reinterpret_cast<const half2*>(t.q + row_offset)[lane_id]);

  float m_i = -INFINITY, l_i = 0.f;
  float2 o = make_float2(0.f, 0.f);
  const int keys = visible_keys(p, row);
  for (int key = 0; key < keys; ++key) {
    const float2 k_pair = __half22float2(k[key * (kHeadDim / 2)]);
    const float2 v_pair = __half22float2(v[key * (kHeadDim / 2)]);
    const float s = warp_reduce_sum(q.x * k_pair.x + q.y * k_pair.y) * p.scale;

    // [step]
    const float m_new = fmaxf(m_i, s);
    const float weight = __expf(s - m_new);  // what l_i and o hold was summed under another maximum ...
    l_i = l_i + weight;
    o.x = o.x + weight * v_pair.x;
    o.y = o.y + weight * v_pair.y;
    m_i = m_new;
    // [step]
  }

  const float inverse = keys > 0 ? 1.f / l_i : 0.f;
  reinterpret_cast<half2*>(t.o + row_offset)[lane_id] = __floats2half2_rn(o.x * inverse, o.y * inverse);
}

cudaError_t attend(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(one_pass_kernel, dim3(ceil_div(p.seq_q, 4), all_heads(p)), dim3(128), 0, stream, p, t);
}

}  // namespace attention::exercise
