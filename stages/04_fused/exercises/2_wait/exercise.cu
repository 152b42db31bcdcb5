// Exercise 04.2: waiting for what is needed.
//
// O = P V with tiles of 32 keys of V, two in shared memory, copied by cp.async. The copy of the next tile is
// issued before this one is used. In the exercise the wait is missing: a tile is used while its copy is still
// in flight. On a GPU that gives a right answer on most days, on the emulated device a wrong one every time.
// Groups complete in the order in which they were committed; cp_async_wait_group<N>() waits until at most the
// latest N are outstanding. Wait for this tile, and not for the next one.
#include "attention/ptx.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kThreads = 128;
constexpr int kBlockQ = 16;  // four rows per warp
constexpr int kBlockKv = 32;

__global__ void output_kernel(Problem p, Tensors t, const float* p_gmem) {
  __shared__ __align__(16) half v_smem[2][kBlockKv][kHeadDim];
  const int lane_id = threadIdx.x % 32;
  const int first_row = blockIdx.x * kBlockQ + threadIdx.x / 32 * 4;
  const int head = blockIdx.y;
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const int tiles = (p.seq_kv + kBlockKv - 1) / kBlockKv;

  const auto copy = [&](int tile) {
    for (int i = threadIdx.x; tile < tiles && i < kBlockKv * kHeadDim / 8; i += kThreads) {
      const int key = tile * kBlockKv + i / 8, column = i % 8 * 8;
      const bool inside = key < p.seq_kv;
      cp_async_16(&v_smem[tile % 2][i / 8][column], inside ? v_gmem + key * kHeadDim + column : v_gmem,
                  inside ? 16 : 0);
    }
    cp_async_commit_group();  // an empty group counts, too, so that counting groups is counting tiles
  };

  float2 o[4] = {};
  // [loop]
  copy(0);
  for (int tile = 0; tile < tiles; ++tile) {
    copy(tile + 1);
    __syncthreads();
    for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
      const float* prob = p_gmem + (size_t(head) * p.seq_q + first_row + i) * p.seq_kv + tile * kBlockKv;
      for (int key = 0; key < min(kBlockKv, p.seq_kv - tile * kBlockKv); ++key) {
        const float2 pair =
            __half22float2(*reinterpret_cast<const half2*>(&v_smem[tile % 2][key][2 * lane_id]));
        o[i].x += prob[key] * pair.x;
        o[i].y += prob[key] * pair.y;
      }
    }
    __syncthreads();
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
