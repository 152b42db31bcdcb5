// Exercise 01.1: which thread gets which element?
//
// P is there already (given.cuh). What is left is O = P V, with one thread per element. The kernel below
// is right, and each of its loads touches many sectors where two would do, because neighbouring threads work
// on neighbouring *rows*. Number the threads so that neighbours share what they can share. A few lines are
// enough.
#include "given.cuh"

namespace attention::exercise {

// [kernel]
__global__ void output_kernel(Problem p, Tensors t, const float* p_gmem) {
  const int element = blockIdx.x * blockDim.x + threadIdx.x;
  const int d = element % kHeadDim;
  const int row = element / kHeadDim;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const float* prob = p_gmem + (size_t(head) * p.seq_q + row) * p.seq_kv;
  const half* v = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim + d;
  float sum = 0.f;
  for (int key = 0; key < p.seq_kv; ++key) sum += prob[key] * __half2float(v[key * kHeadDim]);
  t.o[(size_t(head) * p.seq_q + row) * kHeadDim + d] = __float2half(sum);
}
// [kernel]

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* p_gmem = static_cast<float*>(workspace);
  const cudaError_t status = launch_probabilities(p, t, p_gmem, stream);
  if (status != cudaSuccess) return status;
  return launch(output_kernel, dim3(ceil_div(p.seq_q * kHeadDim, 128), all_heads(p)), dim3(128), 0, stream, p,
                t, static_cast<const float*>(p_gmem));
}

}  // namespace attention::exercise
