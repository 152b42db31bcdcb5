// Exercise 02.3: the barrier that is missing.
//
// O = P V, with one tile of 32 keys of V in shared memory at a time. The kernel is right on most days: on a
// GPU its warps run nearly in step. Under another order of warps, one is still reading a tile when another
// overwrites it. The emulated device finds this race on every run. Add one barrier, in the right place.
#include "given.cuh"

namespace attention::exercise {

constexpr int kThreads = 128;
constexpr int kBlockQ = 16;  // four rows per warp
constexpr int kBlockKv = 32;

__global__ void output_kernel(Problem p, Tensors t, const float* p_gmem) {
  __shared__ __align__(16) half v_smem[kBlockKv][kHeadDim];
  const int lane_id = threadIdx.x % 32, warp_id = threadIdx.x / 32;
  const int first_row = blockIdx.x * kBlockQ + warp_id * 4;
  const int head = blockIdx.y;
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;

  float2 o[4] = {};
  // [loop]
  for (int first_key = 0; first_key < p.seq_kv; first_key += kBlockKv) {
    for (int i = threadIdx.x; i < kBlockKv * kHeadDim / 8; i += kThreads) {
      const int key = i / (kHeadDim / 8), column = i % (kHeadDim / 8) * 8;
      uint4 chunk = make_uint4(0, 0, 0, 0);
      if (first_key + key < p.seq_kv)
        chunk = *reinterpret_cast<const uint4*>(v_gmem + (first_key + key) * kHeadDim + column);
      *reinterpret_cast<uint4*>(&v_smem[key][column]) = chunk;
    }
    __syncthreads();
    for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
      const float* prob = p_gmem + (size_t(head) * p.seq_q + first_row + i) * p.seq_kv + first_key;
      for (int key = 0; key < min(kBlockKv, p.seq_kv - first_key); ++key) {
        const float2 pair = __half22float2(*reinterpret_cast<const half2*>(&v_smem[key][2 * lane_id]));
        o[i].x += prob[key] * pair.x;
        o[i].y += prob[key] * pair.y;
      }
    }
  }
  // [loop]
  for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
    half2* row = reinterpret_cast<half2*>(t.o + (size_t(head) * p.seq_q + first_row + i) * kHeadDim);
    row[lane_id] = __floats2half2_rn(o[i].x, o[i].y);
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* p_gmem = static_cast<float*>(workspace);
  const cudaError_t status = launch_probabilities(p, t, p_gmem, stream);
  if (status != cudaSuccess) return status;
  return launch(output_kernel, dim3(ceil_div(p.seq_q, kBlockQ), all_heads(p)), dim3(kThreads), 0, stream, p,
                t, static_cast<const float*>(p_gmem));
}

}  // namespace attention::exercise
