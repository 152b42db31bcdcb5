// Techniques that no stage may have yet, or none may have any more: so that their checkers always have
// something to prove. None computes attention.
#include <cuda_fp16.h>

#include "attention/launch.hpp"
#include "attention/stage.hpp"

namespace attention::examples {

constexpr int kRowHalves = 64;
constexpr int kSplits = 4;

// A block sums V over a quarter of the keys ...
__global__ void part_kernel(Problem p, Tensors t, float* parts_gmem) {
  const int keys = p.seq_kv / kSplits;
  float sum = 0.f;
  for (int key = blockIdx.y * keys; key < int(blockIdx.y + 1) * keys; ++key) {
    sum += __half2float(t.v[key * kRowHalves + threadIdx.x]);
  }
  parts_gmem[(blockIdx.y * p.seq_q + blockIdx.x) * kRowHalves + threadIdx.x] = sum;
}
// ... and a second launch adds up the four sums of a row.
__global__ void combine_kernel(Problem p, Tensors t, const float* parts_gmem) {
  float sum = 0.f;
  for (int part = 0; part < kSplits; ++part) {
    sum += parts_gmem[(part * p.seq_q + blockIdx.x) * kRowHalves + threadIdx.x];
  }
  t.o[blockIdx.x * kRowHalves + threadIdx.x] = __float2half(sum);
}

std::size_t part_bytes(const Problem& p) {
  return kSplits * p.q_elements() * sizeof(float);
}

cudaError_t split_keys(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* parts_gmem = static_cast<float*>(workspace);
  const cudaError_t status =
      launch(part_kernel, dim3(p.seq_q, kSplits), dim3(kRowHalves), 0, stream, p, t, parts_gmem);
  if (status != cudaSuccess) return status;
  return launch(combine_kernel, dim3(p.seq_q), dim3(kRowHalves), 0, stream, p, t,
                static_cast<const float*>(parts_gmem));
}

}  // namespace attention::examples
