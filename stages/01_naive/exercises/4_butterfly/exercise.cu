// Exercise 01.4: a sum over a warp.
//
// Every lane has a part of a dot product, and every lane needs the sum. Write warp_sum() with
// __shfl_xor_sync: after a step in which each lane adds the value of the lane whose number differs in one
// bit, pairs of lanes agree; after five steps, all 32 do. The checker counts the shuffles.
#include "given.cuh"

namespace attention::exercise {

// [sum]
// The sum of `value` over all lanes of the warp, in every lane.
__device__ float warp_sum(float value) {
  return value;  // so far, the lane's own part only
}
// [sum]

__global__ void scores_kernel(Problem p, Tensors t, float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * 4 + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  const half2* k =
      reinterpret_cast<const half2*>(t.k + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim) + lane_id;
  const float2 q = __half22float2(
      reinterpret_cast<const half2*>(t.q + (size_t(head) * p.seq_q + row) * kHeadDim)[lane_id]);
  float* s = s_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const int keys = visible_keys(p, row);
  for (int key = 0; key < keys; ++key) {
    const float2 pair = __half22float2(k[key * (kHeadDim / 2)]);
    const float score = warp_sum(q.x * pair.x + q.y * pair.y) * p.scale;
    if (key % 32 == lane_id) s[key] = score;
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const cudaError_t status =
      launch(scores_kernel, dim3(ceil_div(p.seq_q, 4), all_heads(p)), dim3(128), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch_softmax_output(p, t, s_gmem, stream);
}

}  // namespace attention::exercise
