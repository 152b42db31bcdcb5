// lazy_rescale: O is rescaled only when a maximum has grown by more than a slack.
//
// Any m_i near the maximum gives the same quotient: P and its sum grow by the same factor. While m_i lags by
// at most 8, P is at most 2^8, far below the 65504 that a half can hold, so most tiles skip two exponentials
// and 34 multiplications per lane (head_dim 64). At the headline shape that does not pay for the vote and the
// branch (README.md). Bound by the chain of one block.
//
// The step before: diff -u stages/04_fused/exp2.cu stages/04_fused/lazy_rescale.cu
//
// How lanes hold matrices: attention/ptx.cuh. In a 16 x 8 accumulator, [0] and [1] are neighbours in row
// lane_id / 4, [2] and [3] in row lane_id / 4 + 8; a row lies in the four lanes of a quad.
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "softmax.cuh"
#include "tile.cuh"

namespace attention::fused {
namespace {

constexpr int kThreads = 128;
constexpr int kWarpQ = 16;                       // query rows per warp
constexpr int kBlockQ = kThreads / 32 * kWarpQ;  // query rows per block
constexpr int kBlockKv = 64;                     // keys per tile
constexpr int kStages = 2;                       // tiles of K and V in shared memory
template <int kHeadDim>
constexpr int kBlocksPerSm = kHeadDim <= 64 ? 3 : 2;  // what the registers must leave room for

// For a scale of 0: any finite score times this counts as 0, while a masked one, -inf times it, stays -inf.
constexpr float kLeastScale = 1e-30f;
// A maximum may grow by 8, a factor 2^8 of P, before O is rescaled.
constexpr float kRescaleSlack = 8.f;

// [online_softmax]
// Sets m_new to the largest score so far. Has either row of the lane outgrown its m_i by more than the slack?
template <int kSTiles>
__device__ inline bool new_maximum(const float (&s)[kSTiles][4], const float (&m_i)[2], float (&m_new)[2],
                                   float scale) {
  bool moved = false;
  for (int h = 0; h < 2; ++h) {
    float m = fmaxf(s[0][2 * h], s[0][2 * h + 1]);
#pragma unroll
    for (int n = 1; n < kSTiles; ++n) m = fmaxf(m, fmaxf(s[n][2 * h], s[n][2 * h + 1]));
    m_new[h] = fmaxf(m_i[h], warp_reduce_max<4>(m) * scale);
    moved |= m_new[h] - m_i[h] > kRescaleSlack;
  }
  return moved;
}

// Raises m_i to m_new. What o and l_i were summed under an older maximum is worth
// 2^(old - new) of what it was (Milakov and Gimelshein 2018, algorithm 3).
template <int kOTiles>
__device__ inline void rescale(float (&o)[kOTiles][4], float (&l_i)[2], float (&m_i)[2],
                               const float (&m_new)[2]) {
  for (int h = 0; h < 2; ++h) {
    const float correction = ex2_approx(m_i[h] - m_new[h]);
    m_i[h] = m_new[h];
#pragma unroll
    for (int n = 0; n < kOTiles; ++n) o[n][2 * h] *= correction, o[n][2 * h + 1] *= correction;
    l_i[h] *= correction;
  }
}
// [online_softmax]

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<kHeadDim>) fused_kernel(Problem p, Tensors t) {
  constexpr int kTileHalves = kBlockKv * kHeadDim;
  constexpr int kKSteps = kHeadDim / 16;  // steps of Q K^T along head_dim
  constexpr int kSTiles = kBlockKv / 8;   // 16 x 8 accumulators of S
  constexpr int kOTiles = kHeadDim / 8;   // 16 x 8 accumulators of O

  const int lane_id = threadIdx.x % 32;
  // Broadcast from lane 0, so that the compiler knows it to be the same in the whole warp.
  const int warp_id = __shfl_sync(kFullMask, threadIdx.x / 32, 0);
  const int warp_q = warp_id * kWarpQ;  // first row of the warp in the block's tile
  // Last rows first: under a causal mask they see most keys, and long blocks must not start last.
  const int block_q = (gridDim.x - 1 - blockIdx.x) * kBlockQ;
  // Heads are numbered through the batch; y counts those that share a key/value head.
  const int kv_head = blockIdx.z, head = kv_head * gridDim.y + blockIdx.y;

  const half* k_gmem = t.k + size_t(kv_head) * p.seq_kv * kHeadDim;
  const half* v_gmem = t.v + size_t(kv_head) * p.seq_kv * kHeadDim;
  half* o_gmem = t.o + size_t(head) * p.seq_q * kHeadDim;
  half* kv_smem = reinterpret_cast<half*>(dynamic_smem);     // [kStages][K, V][kBlockKv][kHeadDim]
  half* q_smem = kv_smem + 2 * (kStages - 1) * kTileHalves;  // [kBlockQ][kHeadDim], in the last stage
  const auto copy = [&](const half* gmem, int tile, int place) {
    copy_tile<kHeadDim, kBlockKv, kThreads>(kv_smem + place * kTileHalves, gmem, tile * kBlockKv, p.seq_kv);
  };

  // No row of the block sees a key of the tiles after these.
  const int tiles = (visible_keys(p, min(block_q + kBlockQ, p.seq_q) - 1) + kBlockKv - 1) / kBlockKv;
  const int first_row = block_q + warp_q;
  const int visible_by_any = first_row < p.seq_q ? visible_keys(p, min(first_row + kWarpQ, p.seq_q) - 1) : 0;
  const int visible_by_all = visible_keys(p, first_row);

  copy_tile<kHeadDim, kBlockQ, kThreads>(q_smem, t.q + size_t(head) * p.seq_q * kHeadDim, block_q, p.seq_q);
  cp_async_commit_group();
#pragma unroll
  for (int tile = 0; tile < kStages - 1; ++tile) {
    if (tile < tiles) copy(k_gmem, tile, 2 * tile);
    cp_async_commit_group();
    if (tile < tiles) copy(v_gmem, tile, 2 * tile + 1);
    cp_async_commit_group();
  }

  // Where a lane points ldmatrix, in halves. Lane i gives row i % 16, chunk i / 16 of a 16 x 16 piece of Q or
  // V. K's rows are columns of the operand: there the middle two groups of eight lanes trade places.
  int qv_offset[kKSteps], k_offset[kKSteps];
#pragma unroll
  for (int k = 0; k < kKSteps; ++k) {
    qv_offset[k] = tile_offset<kHeadDim>(lane_id % 16, 2 * k + lane_id / 16);
    k_offset[k] = tile_offset<kHeadDim>(lane_id % 8 + lane_id / 16 * 8, 2 * k + lane_id / 8 % 2);
  }

  uint32_t q_frag[kKSteps][4];
  cp_async_wait_group<2 * (kStages - 1)>();  // all but the groups of K and V: Q is here
  __syncthreads();
  // A negative scale gives its sign to Q, so that the largest score is the one with the largest product.
  if (p.scale < 0.f) negate_tile<kHeadDim, kBlockQ, kThreads>(q_smem);
  const float scale = fmaxf(fabsf(p.scale) * kLog2e, kLeastScale);
#pragma unroll
  for (int k = 0; k < kKSteps; ++k) ldmatrix_x4(q_frag[k], q_smem + warp_q * kHeadDim + qv_offset[k]);

  float o_frag[kOTiles][4] = {};
  float l_i[2] = {0.f, 0.f};          // sum of P so far, over the lane's own columns
  float m_i[2] = {kLowest, kLowest};  // largest score so far, scaled

  for (int stage = 0, tile = 0; tile < tiles; ++tile) {
    // [pipeline]
    // Groups were committed in the order K, V, tile after tile: all but the last so many are complete.
    cp_async_wait_group<2 * (kStages - 1) - 1>();
    __syncthreads();  // every thread's part of K is here, and no warp reads the tile before any more
    const int next = tile + kStages - 1;
    const int next_stage = stage == 0 ? kStages - 1 : stage - 1;
    if (next < tiles) copy(k_gmem, next, 2 * next_stage);
    cp_async_commit_group();
    if (next < tiles) copy(v_gmem, next, 2 * next_stage + 1);
    cp_async_commit_group();
    const half* k_smem = kv_smem + 2 * stage * kTileHalves;
    const half* v_smem = k_smem + kTileHalves;
    stage = stage + 1 == kStages ? 0 : stage + 1;
    // [pipeline]

    // [scores]
    // S = Q K^T, in warps with a row that sees a key of the tile.
    const int first_key = tile * kBlockKv;
    const bool any_visible = first_key < visible_by_any;
    float s_frag[kSTiles][4];
    if (any_visible) {
      for (auto& s : s_frag) s[0] = s[1] = s[2] = s[3] = 0.f;
#pragma unroll
      for (int k = 0; k < kKSteps; ++k) {
#pragma unroll
        for (int n = 0; n < kSTiles / 2; ++n) {
          uint32_t k_frag[4];  // 16 keys x 16 columns
          ldmatrix_x4(k_frag, k_smem + 16 * n * kHeadDim + k_offset[k]);
          mma_m16n8k16(s_frag[2 * n], q_frag[k], {k_frag[0], k_frag[1]});
          mma_m16n8k16(s_frag[2 * n + 1], q_frag[k], {k_frag[2], k_frag[3]});
        }
      }
    }
    // [scores]

    cp_async_wait_group<2 * (kStages - 1)>();
    __syncthreads();  // every thread's part of V is here
    if (!any_visible) continue;
    // Only tiles at the end of a row's keys have anything to mask.
    if (first_key + kBlockKv > visible_by_all) mask_scores(p, s_frag, first_row, first_key);
    float m_new[2];
    const bool moved = new_maximum(s_frag, m_i, m_new, scale);
    if (__any_sync(kFullMask, moved)) {
      rescale(o_frag, l_i, m_i, m_new);
    }

    // [output]
    // P = 2^(scale S - m_i). Two neighbouring accumulators of S have the layout of one 16 x 16 operand, so P
    // goes on to O += P V without leaving the lane (FlashAttention-2).
#pragma unroll
    for (int k = 0; k < kBlockKv / 16; ++k) {
      uint32_t p_frag[4];
      for (int i = 0; i < 4; ++i) {
        const int h = i % 2;
        const float* s = &s_frag[2 * k + i / 2][2 * h];
        const float p0 = ex2_approx(fmaf(s[0], scale, -m_i[h])), p1 = ex2_approx(fmaf(s[1], scale, -m_i[h]));
        p_frag[i] = pack(p0, p1);
        l_i[h] += p0 + p1;
      }
#pragma unroll
      for (int n = 0; n < kOTiles / 2; ++n) {
        uint32_t v_frag[4];  // 16 keys x 16 columns
        ldmatrix_x4_trans(v_frag, v_smem + 16 * k * kHeadDim + qv_offset[n]);
        mma_m16n8k16(o_frag[2 * n], p_frag, {v_frag[0], v_frag[1]});
        mma_m16n8k16(o_frag[2 * n + 1], p_frag, {v_frag[2], v_frag[3]});
      }
    }
    // [output]
  }

  for (int h = 0; h < 2; ++h) {
    const int row = first_row + lane_id / 4 + 8 * h;
    const float sum = warp_reduce_sum<4>(l_i[h]);
    // A row that sees no key must yield zero, not 0 / 0.
    const float inverse = visible_keys(p, row) > 0 ? 1.f / sum : 0.f;
#pragma unroll
    for (int n = 0; n < kOTiles; ++n) {
      const uint32_t pair = pack(o_frag[n][2 * h] * inverse, o_frag[n][2 * h + 1] * inverse);
      if (row < p.seq_q) {
        *reinterpret_cast<uint32_t*>(o_gmem + size_t(row) * kHeadDim + 8 * n + lane_id % 4 * 2) = pair;
      }
    }
  }
}

}  // namespace

cudaError_t lazy_rescale(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.seq_q, kBlockQ), unsigned(p.heads / p.kv_heads), unsigned(p.batch * p.kv_heads));
  return with_head_dim(p, [&](auto head_dim) {
    constexpr size_t kSmemBytes = 2 * kStages * kBlockKv * head_dim * sizeof(half);
    return launch(fused_kernel<head_dim>, grid, dim3(kThreads), kSmemBytes, stream, p, t);
  });
}

}  // namespace attention::fused
