// Exercise 07.1: putting parts together.
//
// With few rows and many keys there are too few blocks for all SMs, so the keys of a row are split into
// four parts, each for a block of its own. A part knows its own keys only: it leaves its output divided by
// *its* sum, and the logarithm of that sum, lse = log(sum of exp(score)), or -inf where the row sees none
// of its keys. A second kernel puts the parts together. In the exercise every part has the same weight.
// What should its weight be? Scores may be large: lse fits in a float where exp(lse) does not.
#include "given.cuh"

namespace attention::exercise {

constexpr int kParts = 4;  // check.cpp's workspace is made for so many
constexpr int kWarps = 4;

// Online softmax over the keys of part blockIdx.z: one warp per row, two columns per lane.
__global__ void part_kernel(Problem p, Tensors t, float* o_part, float* lse_part) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  const int head = blockIdx.y, part = blockIdx.z;
  if (row >= p.seq_q) return;
  const auto pair_of = [&](const half* tensor, int tensor_row) {
    return __half22float2(
        *reinterpret_cast<const half2*>(tensor + size_t(tensor_row) * kHeadDim + 2 * lane_id));
  };
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const float2 q = pair_of(t.q, head * p.seq_q + row);
  const int part_keys = (p.seq_kv + kParts - 1) / kParts;
  const int end = min(visible_keys(p, row), (part + 1) * part_keys);

  float m_i = -INFINITY, l_i = 0.f;
  float2 o = make_float2(0.f, 0.f);
  for (int key = part * part_keys; key < end; ++key) {
    const float2 k = pair_of(t.k + kv_offset, key), v = pair_of(t.v + kv_offset, key);
    const float s = warp_reduce_sum(q.x * k.x + q.y * k.y) * p.scale;
    const float m_new = fmaxf(m_i, s);
    const float correction = __expf(m_i - m_new), weight = __expf(s - m_new);
    l_i = l_i * correction + weight;
    o.x = o.x * correction + weight * v.x;
    o.y = o.y * correction + weight * v.y;
    m_i = m_new;
  }
  const size_t slot = (size_t(part) * gridDim.y + head) * p.seq_q + row;
  const float inverse = l_i > 0.f ? 1.f / l_i : 0.f;
  reinterpret_cast<float2*>(o_part + slot * kHeadDim)[lane_id] = make_float2(o.x * inverse, o.y * inverse);
  if (lane_id == 0) lse_part[slot] = l_i > 0.f ? m_i + logf(l_i) : -INFINITY;
}

// One warp per row; `rows` of all heads.
__global__ void combine_kernel(const float* o_part, const float* lse_part, int rows, half* o_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kWarps + threadIdx.x / 32;
  if (row >= rows) return;
  const auto lse_of = [&](int part) { return lse_part[size_t(part) * rows + row]; };

  // [combine]
  float weights = 0.f;
  float2 o = make_float2(0.f, 0.f);
  for (int part = 0; part < kParts; ++part) {
    const float weight = lse_of(part) == -INFINITY ? 0.f : 1.f;
    const float2 pair =
        reinterpret_cast<const float2*>(o_part + (size_t(part) * rows + row) * kHeadDim)[lane_id];
    weights += weight;
    o.x += weight * pair.x;
    o.y += weight * pair.y;
  }
  const float inverse = weights > 0.f ? 1.f / weights : 0.f;
  // [combine]

  reinterpret_cast<half2*>(o_gmem + size_t(row) * kHeadDim)[lane_id] =
      __floats2half2_rn(o.x * inverse, o.y * inverse);
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  const int rows = p.batch * p.heads * p.seq_q;
  float* o_part = static_cast<float*>(workspace);
  float* lse_part = o_part + size_t(kParts) * rows * kHeadDim;
  const cudaError_t status = launch(part_kernel, dim3(ceil_div(p.seq_q, kWarps), all_heads(p), kParts),
                                    dim3(32 * kWarps), 0, stream, p, t, o_part, lse_part);
  if (status != cudaSuccess) return status;
  return launch(combine_kernel, dim3(ceil_div(rows, kWarps)), dim3(32 * kWarps), 0, stream,
                static_cast<const float*>(o_part), static_cast<const float*>(lse_part), rows, t.o);
}

}  // namespace attention::exercise
