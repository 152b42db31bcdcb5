// Exercise 05.1: V as an operand of wgmma.
//
// O = P V with wgmma: a warpgroup has 64 rows, P comes in registers, and V straight from the tile of 64
// keys by 64 columns that TMA brought. A wgmma sums over 16 keys, so a tile takes four of them, each with
// the next 16 columns of P and the next 16 *rows* of V. In the exercise V is given as K is in Q K^T. There
// the 16 elements that are summed over lie side by side in a row (Major::k), and the next 16 are 32 bytes
// further on. What is summed over here, which of V's two indices is contiguous, and how many bytes further
// on do the next 16 begin?
#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kThreads = 128;  // a warpgroup
constexpr int kBlockQ = 64;
constexpr int kBlockKv = 64;

struct Smem {
  alignas(1024) half v[kBlockKv * kHeadDim];
  Mbarrier full;
};

__global__ void output_kernel(Problem p, const __grid_constant__ CUtensorMap v_map, const float* p_gmem,
                              half* o_gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  const int lane_id = threadIdx.x % 32, head = blockIdx.y;
  const int first_row =
      blockIdx.x * kBlockQ + threadIdx.x / 32 * 16 + lane_id / 4;  // the other is 8 further down
  const int tiles = (p.seq_kv + kBlockKv - 1) / kBlockKv;

  if (threadIdx.x == 0) {
    mbarrier_init(&smem.full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();

  const auto probability = [&](int row, int key) {
    if (row >= p.seq_q || key >= p.seq_kv) return 0.f;
    return p_gmem[(size_t(head) * p.seq_q + row) * p.seq_kv + key];
  };

  float o[kHeadDim / 2] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    const int first_key = tile * kBlockKv;
    if (threadIdx.x == 0) {
      mbarrier_arrive_expect_tx(&smem.full, sizeof(smem.v));
      tma_load(smem.v, &v_map, 0, first_key, kv_head_of(p, head), &smem.full);
    }
    std::uint32_t p_frag[kBlockKv / 16][4];
    for (int k = 0; k < kBlockKv / 16; ++k) {
      for (int i = 0; i < 4; ++i) {
        const int row = first_row + i % 2 * 8, key = first_key + 16 * k + i / 2 * 8 + lane_id % 4 * 2;
        p_frag[k][i] = pack(probability(row, key), probability(row, key + 1));
      }
    }
    mbarrier_wait(&smem.full, tile % 2);

    // [product]
    wgmma_fence();
    for (int k = 0; k < kBlockKv / 16; ++k) {
      // Keys are rows of the tile, 128 bytes each; the columns within a row are not what is summed over.
      wgmma<Major::mn>(o, p_frag[k], wgmma_advance(wgmma_descriptor(smem.v), 16 * 128 * k), true);
    }
    wgmma_commit_group();
    wgmma_wait_group<0>(o);
    // [product]
    __syncthreads();  // all warps have read the tile: the next one may come
  }

  for (int i = 0; i < kHeadDim / 2; i += 2) {
    const int row = first_row + i / 2 % 2 * 8, column = i / 4 * 8 + lane_id % 4 * 2;
    if (row < p.seq_q) {
      *reinterpret_cast<half2*>(o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim + column) =
          __floats2half2_rn(o[i], o[i + 1]);
    }
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_output(output_kernel, kBlockQ, kBlockKv, kThreads, sizeof(Smem), p, t, workspace, stream);
}

}  // namespace attention::exercise
