// Exercise 03.3: handing over.
//
// Warps 0 to 3 load tiles of V, warps 4 to 7 multiply. There is one buffer and two named barriers: kFull
// says that a tile is there, kEmpty that it has been used. bar_sync() arrives and waits, bar_arrive()
// arrives and goes on; a barrier opens when all 256 threads have arrived. In the exercise one arrival is
// missing. On a GPU the kernel hangs; the emulated device says which warps wait where. Add the line.
#include "attention/ptx.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kGroup = 128;  // threads that load, and threads that multiply
constexpr int kThreads = 2 * kGroup;
constexpr int kBlockQ = 16;
constexpr int kBlockKv = 32;
constexpr int kFull = 1, kEmpty = 2;

__global__ void output_kernel(Problem p, Tensors t, const float* p_gmem) {
  __shared__ __align__(16) half v_smem[kBlockKv][kHeadDim];
  const int head = blockIdx.y;
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const int tiles = (p.seq_kv + kBlockKv - 1) / kBlockKv;

  // [producers]
  if (threadIdx.x < kGroup) {
    for (int tile = 0; tile < tiles; ++tile) {
      if (tile > 0) bar_sync(kEmpty, kThreads);
      for (int i = threadIdx.x; i < kBlockKv * kHeadDim / 8; i += kGroup) {
        const int key = i / (kHeadDim / 8), column = i % (kHeadDim / 8) * 8;
        uint4 chunk = make_uint4(0, 0, 0, 0);
        if (tile * kBlockKv + key < p.seq_kv) {
          chunk = *reinterpret_cast<const uint4*>(v_gmem + (tile * kBlockKv + key) * kHeadDim + column);
        }
        *reinterpret_cast<uint4*>(&v_smem[key][column]) = chunk;
      }
      bar_arrive(kFull, kThreads);
    }
    return;
  }
  // [producers]

  const int lane_id = threadIdx.x % 32;
  const int first_row = blockIdx.x * kBlockQ + (threadIdx.x - kGroup) / 32 * 4;
  float2 o[4] = {};
  // [consumers]
  for (int tile = 0; tile < tiles; ++tile) {
    const int first_key = tile * kBlockKv;
    bar_sync(kFull, kThreads);
    for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
      const float* prob = p_gmem + (size_t(head) * p.seq_q + first_row + i) * p.seq_kv + first_key;
      for (int key = 0; key < min(kBlockKv, p.seq_kv - first_key); ++key) {
        const float2 pair = __half22float2(*reinterpret_cast<const half2*>(&v_smem[key][2 * lane_id]));
        o[i].x += prob[key] * pair.x;
        o[i].y += prob[key] * pair.y;
      }
    }
    if (tile + 1 < tiles) bar_arrive(kEmpty, kThreads);  // no loader waits after the last tile
  }
  // [consumers]
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
