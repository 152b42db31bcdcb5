// cluster: wgmma, with the keys of a row block split over the two blocks of a cluster.
//
// 64 row blocks leave half of 132 SMs idle; two blocks per row block, with 256 keys each, are 128. Each block
// merges its two warpgroups, keeps half of the rows, and sends the other half, 4 KB of FP16, from registers
// to the shared memory of the other SM. Maxima and sums go ahead, so that the weights are known by then.
//
// Bound by latency: loads, scores, exponentials and two merges wait for one another.
//
// The step before: diff -u stages/05_tuned/wgmma.cu stages/05_tuned/cluster.cu
#include <cuda_fp16.h>

#include <cfloat>
#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "merge.cuh"
#include "one_pass.cuh"

namespace attention::tuned {
namespace {

constexpr int kClusterSize = 2;
constexpr int kWarpgroups = 4 / kClusterSize;  // of a block
constexpr int kThreads = kWarpgroups * kGroupThreads;
constexpr int kKept = kTiles / kWarpgroups;  // tiles of O that a warpgroup merges, of all 64 rows

struct Smem {
  alignas(1024) half q[kBlockQ * kHeadDim];
  // Once a warpgroup has its scores, its partial results take the place of its keys: 16 bytes per thread for
  // each tile of O.
  union {
    half k[kGroupKeys * kHeadDim];
    float4 partials[kTiles][kGroupThreads];
  } keys[kWarpgroups];
  half v[kWarpgroups][kGroupKeys * kHeadDim];
  // From the other block: FP16 partial results of two warps of each warpgroup, and their statistics.
  float4 received[kWarpgroups][2][2][32];
  RowPairStats received_stats[2][8];
  RowPairStats stats[kWarpgroups][kBlockQ / 2];
  Mbarrier q_full, k_full[kWarpgroups][2], v_full[kWarpgroups];
  Mbarrier received_full, received_stats_full;
};

// kUnmasked: the fast path for problems without masks, is_unmasked().
template <bool kUnmasked>
__global__ void __launch_bounds__(kThreads, 1)
    headline_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, Problem p, half* o_gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  const int warpgroup = threadIdx.x / kGroupThreads, group_thread = threadIdx.x % kGroupThreads;
  const int warp_id = group_thread / 32, lane_id = threadIdx.x % 32, quad = lane_id / 4;
  const unsigned rank = cluster_ctarank();
  const int row_blocks = (p.seq_q + kBlockQ - 1) / kBlockQ, row_block = blockIdx.x / kClusterSize;
  const int first_row = row_block % row_blocks * kBlockQ;
  const int head = row_block / row_blocks;
  const int first_key = (rank * kWarpgroups + warpgroup) * kGroupKeys;
  half* k_smem = smem.keys[warpgroup].k;
  half* v_smem = smem.v[warpgroup];

  // [load]
  if (threadIdx.x == 0) {
    mbarrier_init(&smem.q_full, 1);
    for (int group = 0; group < kWarpgroups; ++group) {
      for (int half_tile = 0; half_tile < 2; ++half_tile) mbarrier_init(&smem.k_full[group][half_tile], 1);
      mbarrier_init(&smem.v_full[group], 1);
    }
    mbarrier_init(&smem.received_full, 1);
    mbarrier_init(&smem.received_stats_full, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(&smem.received_full, sizeof(smem.received));
    mbarrier_arrive_expect_tx(&smem.received_stats_full, sizeof(smem.received_stats));

    // In the order of need: Q, the first half of every warpgroup's keys, the second half, the values.
    const int kv_head = kv_head_of(p, head), block_key = rank * kWarpgroups * kGroupKeys;
    mbarrier_arrive_expect_tx(&smem.q_full, kQBytes);
    tma_load(smem.q, &q_map, 0, first_row, head, &smem.q_full);
    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      for (int group = 0; group < kWarpgroups; ++group) {
        mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
        const int key = block_key + group * kGroupKeys + half_tile * kHalfKeys;
        tma_load(smem.keys[group].k + half_tile * kHalfKeys * kHeadDim, &k_map, 0, key, kv_head,
                 &smem.k_full[group][half_tile]);
      }
    }
    for (int group = 0; group < kWarpgroups; ++group) {
      mbarrier_arrive_expect_tx(&smem.v_full[group], 2 * kHalfBytes);
      for (int half_tile = 0; half_tile < 2; ++half_tile) {
        const int key = block_key + group * kGroupKeys + half_tile * kHalfKeys;
        tma_load(smem.v[group] + half_tile * kHalfKeys * kHeadDim, &v_map, 0, key, kv_head,
                 &smem.v_full[group]);
      }
    }
  }
  __syncthreads();
  // Tells the other block that our barriers exist: it waits for this arrival before it sends anything.
  // Relaxed, because no data is published.
  cluster_arrive_relaxed();
  // [load]

  // [scores]
  float s[2][kHalfKeys / 2];
  mbarrier_wait(&smem.q_full, 0);
#pragma unroll
  for (int half_tile = 0; half_tile < 2; ++half_tile) {
    mbarrier_wait(&smem.k_full[warpgroup][half_tile], 0);
    wgmma_fence();
    for (int k = 0; k < kHeadDim / 16; ++k) {
      wgmma(s[half_tile], wgmma_advance(wgmma_descriptor(smem.q), 32 * k),
            wgmma_advance(wgmma_descriptor(k_smem), half_tile * kHalfBytes + 32 * k), k > 0);
    }
    wgmma_commit_group();
  }
  // [scores]

  // [maximum]
  float m_i[2] = {-INFINITY, -INFINITY};
  float exponent_scale = p.scale * kLog2e;
  const auto take_maximum = [&](int half_tile) {
    if constexpr (!kUnmasked) {
#pragma unroll
      for (int i = 0; i < kHalfKeys / 2; ++i) {
        const int row = first_row + warp_id * 16 + quad + i / 2 % 2 * 8;
        const int key = first_key + half_tile * kHalfKeys + i / 4 * 8 + lane_id % 4 * 2 + i % 2;
        // A positive scale keeps the scores' order, so it waits for the exponent. Any other is applied here.
        if (!(p.scale > 0.f)) s[half_tile][i] *= exponent_scale;
        if (row >= p.seq_q || key >= visible_keys(p, row)) s[half_tile][i] = -INFINITY;
      }
    }
    // Two maxima per row, of even and of odd columns: chains of dependent instructions are half as long.
    float largest[4] = {s[half_tile][0], s[half_tile][1], s[half_tile][2], s[half_tile][3]};
#pragma unroll
    for (int i = 4; i < kHalfKeys / 2; ++i) largest[i % 4] = fmaxf(largest[i % 4], s[half_tile][i]);
    for (int i = 0; i < 4; ++i) m_i[i / 2] = fmaxf(m_i[i / 2], largest[i]);
  };
  wgmma_wait_group<1>(s[0]);
  take_maximum(0);
  wgmma_wait_group<0>(s[1]);
  take_maximum(1);
  if (!kUnmasked && !(p.scale > 0.f)) exponent_scale = 1.f;
  for (int r = 0; r < 2; ++r) {
    m_i[r] = warp_reduce_max<4>(m_i[r]) * exponent_scale;
    // A row that sees none of these keys: -inf - -inf would be NaN.
    if constexpr (!kUnmasked) m_i[r] = fmaxf(m_i[r], -FLT_MAX);
  }
  // [maximum]

  // [output]
  float o[kHeadDim / 2];
  float l_i[2] = {0.f, 0.f};
  std::uint32_t p_frag[2][kHalfKeys / 16][4];  // of both halves: wgmma still reads the first half's
#pragma unroll
  for (int half_tile = 0; half_tile < 2; ++half_tile) {
#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; i += 2) {
      const int r = i / 2 % 2;
      const float low = ex2_approx(fmaf(s[half_tile][i], exponent_scale, -m_i[r]));
      const float high = ex2_approx(fmaf(s[half_tile][i + 1], exponent_scale, -m_i[r]));
      l_i[r] += low + high;
      p_frag[half_tile][i / 8][i / 2 % 4] = pack(low, high);
    }
    if (half_tile == 0) mbarrier_wait(&smem.v_full[warpgroup], 0);
    wgmma_fence();
    for (int k = 0; k < kHalfKeys / 16; ++k) {
      wgmma<Major::mn>(o, p_frag[half_tile][k],
                       wgmma_advance(wgmma_descriptor(v_smem), half_tile * kHalfBytes + 2048 * k),
                       half_tile + k > 0);
    }
    wgmma_commit_group();
  }
  // [output]

  // [weights]
  // While the last products run, we compute each warpgroup's weight, and the sum of the block.
  const int row_pair = warp_id * 8 + quad;
  for (int r = 0; r < 2; ++r) l_i[r] = warp_reduce_sum<4>(l_i[r]);
  if (lane_id % 4 == 0) smem.stats[warpgroup][row_pair] = {{m_i[0], m_i[1]}, {l_i[0], l_i[1]}};
  cluster_wait();
  __syncthreads();
  RowPairStats block = {{m_i[0], m_i[1]}, {}};
  float weight[kWarpgroups][2];
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int group = 0; group < kWarpgroups; ++group) {
      block.m[r] = fmaxf(block.m[r], smem.stats[group][row_pair].m[r]);
    }
#pragma unroll
    for (int group = 0; group < kWarpgroups; ++group) {
      const RowPairStats& stats = smem.stats[group][row_pair];
      weight[group][r] = ex2_approx(stats.m[r] - block.m[r]);
      block.l[r] += weight[group][r] * stats.l[r];
    }
  }
  // A block writes half of the rows, those of two warps of each warpgroup, and sends the other half. What
  // it sends is divided by the block's sum here, to lie within FP16; what it writes is divided by the sum
  // of both blocks.
  const bool sends = unsigned(warp_id / 2) != rank;
  if (sends) {
    for (int r = 0; r < 2; ++r) {
      const float inverse = inverse_of<kUnmasked>(block.l[r]);
#pragma unroll
      for (int group = 0; group < kWarpgroups; ++group) weight[group][r] *= inverse;
    }
  }
  if (sends && warpgroup == 0 && lane_id % 4 == 0) {
    st_async(mapa(&smem.received_stats[warp_id % 2][quad], rank ^ 1),
             make_float4(block.m[0], block.m[1], block.l[0], block.l[1]),
             mapa(&smem.received_stats_full, rank ^ 1));
  }
  wgmma_wait_group<0>(o);
  // [weights]

  // [block_merge]
  // Each warpgroup keeps some columns of O and leaves the rest in shared memory. Threads of one number in
  // their warpgroups have the same rows and columns, so a thread finds what it needs at its own number.
  float kept[kKept][4];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile / kKept != warpgroup) {
      smem.keys[warpgroup].partials[tile][group_thread] =
          make_float4(o[4 * tile], o[4 * tile + 1], o[4 * tile + 2], o[4 * tile + 3]);
    }
  }
#pragma unroll
  for (int group = 0; group < kWarpgroups; ++group) {
    if (group == warpgroup) {
      for (int tile = 0; tile < kKept; ++tile) {
        for (int i = 0; i < 4; ++i) kept[tile][i] = o[4 * (group * kKept + tile) + i] * weight[group][i / 2];
      }
    }
  }
  __syncthreads();
#pragma unroll
  for (int group = 0; group < kWarpgroups; ++group) {
    if (group == warpgroup) continue;
    for (int tile = 0; tile < kKept; ++tile) {
      const float4 partial = smem.keys[group].partials[warpgroup * kKept + tile][group_thread];
      kept[tile][0] = fmaf(partial.x, weight[group][0], kept[tile][0]);
      kept[tile][1] = fmaf(partial.y, weight[group][0], kept[tile][1]);
      kept[tile][2] = fmaf(partial.z, weight[group][1], kept[tile][2]);
      kept[tile][3] = fmaf(partial.w, weight[group][1], kept[tile][3]);
    }
  }
  // [block_merge]

  // [cluster_merge]
  static_assert(kKept == 4, "two chunks of 16 bytes per thread");
  float4(&received)[2][32] = smem.received[warpgroup][warp_id % 2];
  if (sends) {
#pragma unroll
    for (int chunk = 0; chunk < 2; ++chunk) {
      const float4 packed = pack_tiles(&kept[2 * chunk]);
      st_async(mapa(&received[chunk][lane_id], rank ^ 1), packed, mapa(&smem.received_full, rank ^ 1));
    }
    return;  // these warps receive nothing; the block's other warps wait for the other block's results
  }
  mbarrier_wait(&smem.received_stats_full, 0);
  const RowPairStats other[1] = {smem.received_stats[warp_id % 2][quad]};
  float own_weight[2], other_weight[1][2];
  weigh<kUnmasked>(block.m, block.l, other, own_weight, other_weight);
  mbarrier_wait(&smem.received_full, 0);
#pragma unroll
  for (int chunk = 0; chunk < 2; ++chunk) {
    merge_tiles(&kept[2 * chunk], own_weight, received[chunk][lane_id], other_weight[0]);
  }
  // [cluster_merge]

  for (int r = 0; r < 2; ++r) {
    const int row = first_row + warp_id * 16 + quad + 8 * r;
    if (!kUnmasked && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    for (int tile = 0; tile < kKept; ++tile) {
      *reinterpret_cast<std::uint32_t*>(row_gmem + (warpgroup * kKept + tile) * 8 + lane_id % 4 * 2) =
          pack(kept[tile][2 * r], kept[tile][2 * r + 1]);
    }
  }
}

}  // namespace

cudaError_t cluster(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  OnePassMaps maps;
  if (const cudaError_t status = make_maps(&maps, p, t); status != cudaSuccess) return status;
  const unsigned row_blocks = unsigned(ceil_div(p.seq_q, kBlockQ)) * unsigned(p.batch * p.heads);
  const cudaLaunchAttribute attributes[] = {clusters_of(kClusterSize)};
  const auto kernel = is_unmasked(p) ? headline_kernel<true> : headline_kernel<false>;
  return launch_with(attributes, kernel, dim3(row_blocks * kClusterSize), dim3(kThreads), sizeof(Smem),
                     stream, maps.q, maps.k, maps.v, p, t.o);
}

}  // namespace attention::tuned
