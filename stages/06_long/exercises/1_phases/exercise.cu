// Exercise 06.1: phases and bytes.
//
// O = P V with a ring of two tiles of V. One thread issues the TMA loads; four warps multiply. Each slot of
// the ring has two mbarriers: `full` ends a phase when the tile's bytes have arrived, `empty` when all four
// warps are done with the tile. An mbarrier is used again and again, phase after phase. A wait names the phase
// by its parity: 0 for the first, 1 for the second, 0 for the third. A wait for the phase *before* the current
// one returns at once; and before the first phase there is one that counts as ended, of parity 1. In the
// exercise the three functions below are right for the first tiles of a problem that fills all of its tiles,
// and for nothing else. Tile number `tile` is the (tile / kStages)-th that its slot gets, counted from 0.
#include "attention/hopper.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kStages = 2;
constexpr int kConsumerWarps = 4;
constexpr int kThreads = 32 * (kConsumerWarps + 1);
constexpr int kBlockQ = 16;  // four rows per warp
constexpr int kBlockKv = 32;
constexpr int kRowBytes = kHeadDim * sizeof(half);

// [phases]
// The parity of the phase of `full` that ends when this tile is there.
__device__ unsigned full_parity(int /*tile*/) {
  return 0;
}
// The parity of the phase of `empty` that ends when the slot's tile before this one has been used.
__device__ unsigned empty_parity(int /*tile*/) {
  return 1;
}
// The bytes that `full` waits for, where V has `rows` rows for this tile.
__device__ unsigned tile_bytes(int rows) {
  return rows * kRowBytes;
}
// [phases]

struct Smem {
  alignas(1024) half v[kStages][kBlockKv * kHeadDim];
  Mbarrier full[kStages], empty[kStages];
};

__global__ void output_kernel(Problem p, const __grid_constant__ CUtensorMap v_map, const float* p_gmem,
                              half* o_gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const int head = blockIdx.y;
  const int tiles = (p.seq_kv + kBlockKv - 1) / kBlockKv;

  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kStages; ++slot) {
      mbarrier_init(&smem.full[slot], 1);
      mbarrier_init(&smem.empty[slot], kConsumerWarps);
    }
    fence_mbarrier_init();
  }
  __syncthreads();

  if (warp_id == kConsumerWarps) {
    for (int tile = 0; lane_id == 0 && tile < tiles; ++tile) {
      const int slot = tile % kStages, first_key = tile * kBlockKv;
      mbarrier_wait(&smem.empty[slot], empty_parity(tile));
      mbarrier_arrive_expect_tx(&smem.full[slot], tile_bytes(min(kBlockKv, p.seq_kv - first_key)));
      tma_load(smem.v[slot], &v_map, 0, first_key, kv_head_of(p, head), &smem.full[slot]);
    }
    return;
  }

  const int first_row = blockIdx.x * kBlockQ + warp_id * 4;
  float2 o[4] = {};
  for (int tile = 0; tile < tiles; ++tile) {
    const int slot = tile % kStages, first_key = tile * kBlockKv;
    mbarrier_wait(&smem.full[slot], full_parity(tile));
    for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
      const float* prob = p_gmem + (size_t(head) * p.seq_q + first_row + i) * p.seq_kv + first_key;
      for (int key = 0; key < min(kBlockKv, p.seq_kv - first_key); ++key) {
        // TMA stores chunk c of row r at place c ^ (r % 8); a chunk has the pairs of four lanes.
        const int place = lane_id / 4 ^ key % 8;
        const float2 pair = __half22float2(
            *reinterpret_cast<const half2*>(&smem.v[slot][key * kHeadDim + place * 8 + lane_id % 4 * 2]));
        o[i].x += prob[key] * pair.x;
        o[i].y += prob[key] * pair.y;
      }
    }
    __syncwarp();
    if (lane_id == 0) mbarrier_arrive(&smem.empty[slot]);
  }
  for (int i = 0; i < 4 && first_row + i < p.seq_q; ++i) {
    half2* row = reinterpret_cast<half2*>(o_gmem + (size_t(head) * p.seq_q + first_row + i) * kHeadDim);
    row[lane_id] = __floats2half2_rn(o[i].x, o[i].y);
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_output(output_kernel, kBlockQ, kBlockKv, kThreads, sizeof(Smem), p, t, workspace, stream);
}

}  // namespace attention::exercise
