// 05_tuned, the headline shape on Hopper. With one query row block of 64 rows (the m64 of wgmma) a warpgroup,
// up to 512 keys are one pass: no loop over tiles, the whole row of scores in registers. What is left is a
// chain of latencies, and each variant shortens one link of it:
//
//   wgmma        a block of four warpgroups has 64 rows, each warpgroup 128 keys of its own; TMA brings the
//                tiles, wgmma multiplies straight from them. Shared memory, which bounded the mma.sync
//                kernels, carries half of the bytes a row. But 64 blocks leave half of the SMs idle.
//   cluster      the keys of a row block are split once more, over the two blocks of a cluster: 128 blocks.
//                Each sends the other 4 KB, the half of its result that is not its own to write, from
//                registers to shared memory of the other SM.
//   exp_poly     one exponential in eight on the FMA units, the others on the special function unit, which
//                is what the softmax waits for
//   cluster_pdl  launched so that its blocks are ready while the kernel before it drains: an SM has room for
//                two, one of either, and none is left free
//
// How wgmma holds matrices, and what a tile is: attention/hopper.cuh. Of an accumulator, row 16 w + lane / 4
// of warp w has [4 j] and [4 j + 1], eight rows further down [4 j + 2] and [4 j + 3]; a row lies in a quad of
// lanes.
#include <cuda_fp16.h>

#include <algorithm>
#include <cfloat>
#include <cstdint>

#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "one_pass.cuh"

namespace attention::tuned {

namespace {

constexpr int kTiles = kHeadDim / 8;  // eight-column tiles of O

// [ideas]
// What each variant adds to the one before it.
struct Wgmma {
  static constexpr int kClusterSize = 1;
  static constexpr bool kPolynomial = false;
  static constexpr bool kDependent = false;
};
struct Cluster : Wgmma {
  static constexpr int kClusterSize = 2;
};
struct ExpPoly : Cluster {
  static constexpr bool kPolynomial = true;
};
struct ClusterPdl : ExpPoly {
  static constexpr bool kDependent = true;
};
// [ideas]

template <int kWarpgroups>
struct Smem {
  alignas(1024) half q[kBlockQ * kHeadDim];
  // Once a warpgroup has its scores, its keys make room for what it gives to the others: 16 bytes of each
  // thread for each tile of O.
  union {
    half k[kGroupKeys * kHeadDim];
    float4 given[kTiles][kGroupThreads];
  } keys[kWarpgroups];
  half v[kWarpgroups][kGroupKeys * kHeadDim];
  // From the other block of the cluster: results of two warps of each warpgroup, in FP16, and their
  // statistics.
  float4 received[kWarpgroups][2][2][32];
  RowPairStats received_stats[2][8];
  RowPairStats stats[kWarpgroups][kBlockQ / 2];
  Mbarrier q_full, k_full[kWarpgroups][2], v_full[kWarpgroups], received_full, received_stats_full;
};

// [polynomial]
// 2^x on the FMA units, x <= 0: 2^(whole part) is made of its exponent, 2^(rest), rest in [-1/2, 1/2], is a
// polynomial of third degree (relative error 7.5e-5, a sixth of what rounding to half costs; minimax, by
// Remez's algorithm). As in FlashAttention-4; the method is Cody and Waite's.
__device__ inline float exp2_polynomial(float x) {
  constexpr float kRound = 12582912.f;  // 1.5 * 2^23: added, it leaves the whole part in the lowest bits
  x = x < -126.f ? -126.f : x;          // not fmaxf: what is no number must stay none
  const float shifted = x + kRound;
  const float rest = x - (shifted - kRound);
  const float power = fmaf(fmaf(fmaf(0.05517167f, rest, 0.24261112f), rest, 0.69326099f), rest, 0.99992807f);
  return power * __int_as_float((__float_as_int(shifted) << 23) + (127 << 23));
}
// [polynomial]

// Two, of at most 128 registers a thread, so that blocks of the next call can be ready before those of this
// one end. Alone that costs more than it gains: they crowd onto the SMs that this call leaves free. So the
// launcher leaves none.
template <typename Idea>
constexpr int kBlocksOfAnSm = Idea::kDependent ? 2 : 1;

// kWhole: 512 keys for every row, rows in whole blocks, a positive scale; nothing to mask.
template <typename Idea, bool kWhole>
__global__ void __launch_bounds__(4 / Idea::kClusterSize * kGroupThreads, kBlocksOfAnSm<Idea>)
    headline_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, Problem p, half* o_gmem) {
  constexpr int kClusterSize = Idea::kClusterSize;
  constexpr int kWarpgroups = 4 / kClusterSize;
  constexpr int kKept = kTiles / kWarpgroups;  // tiles of O that a warpgroup has in the end, of all 64 rows

  Smem<kWarpgroups>& smem = *reinterpret_cast<Smem<kWarpgroups>*>(dynamic_smem);
  const int warpgroup = threadIdx.x / kGroupThreads, group_thread = threadIdx.x % kGroupThreads;
  const int warp = group_thread / 32, lane = threadIdx.x % 32, quad = lane / 4;
  const unsigned rank = kClusterSize > 1 ? cluster_ctarank() : 0;
  const int row_blocks = (p.seq_q + kBlockQ - 1) / kBlockQ, item = blockIdx.x / kClusterSize;
  const int first_row = item % row_blocks * kBlockQ;
  const int head = item / row_blocks;
  if (Idea::kDependent && head >= p.batch * p.heads) {
    // Nothing to do but to keep the SM from the next call's blocks, until the call before has left it.
    griddepcontrol_launch_dependents();
    griddepcontrol_wait();
    return;
  }
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
    if constexpr (kClusterSize > 1) {
      mbarrier_arrive_expect_tx(&smem.received_full, sizeof(smem.received));
      mbarrier_arrive_expect_tx(&smem.received_stats_full, sizeof(smem.received_stats));
    }
    if constexpr (Idea::kDependent) griddepcontrol_wait();

    // In the order of need: Q, the first half of everybody's keys, the second, the values.
    const int kv_head = kv_head_of(p, head), block_key = rank * kWarpgroups * kGroupKeys;
    mbarrier_arrive_expect_tx(&smem.q_full, kQBytes);
    tma_load(smem.q, &q_map, 0, first_row, head, &smem.q_full);
    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      for (int group = 0; group < kWarpgroups; ++group) {
        mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
        tma_load(smem.keys[group].k + half_tile * kHalfKeys * kHeadDim, &k_map, 0,
                 block_key + group * kGroupKeys + half_tile * kHalfKeys, kv_head,
                 &smem.k_full[group][half_tile]);
      }
    }
    for (int group = 0; group < kWarpgroups; ++group) {
      mbarrier_arrive_expect_tx(&smem.v_full[group], 2 * kHalfBytes);
      for (int half_tile = 0; half_tile < 2; ++half_tile) {
        tma_load(smem.v[group] + half_tile * kHalfKeys * kHeadDim, &v_map, 0,
                 block_key + group * kGroupKeys + half_tile * kHalfKeys, kv_head, &smem.v_full[group]);
      }
    }
  }
  if constexpr (Idea::kDependent) griddepcontrol_launch_dependents();
  __syncthreads();
  // The other block must not write here before the barriers are there; nobody waits for that until it does.
  if constexpr (kClusterSize > 1) cluster_arrive_relaxed();
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
    if constexpr (!kWhole) {
#pragma unroll
      for (int i = 0; i < kHalfKeys / 2; ++i) {
        const int row = first_row + warp * 16 + quad + i / 2 % 2 * 8;
        const int key = first_key + half_tile * kHalfKeys + i / 4 * 8 + lane % 4 * 2 + i % 2;
        // A score times a positive scale keeps its rank, so the scale waits for the exponent; any other goes
        // in here.
        if (!(p.scale > 0.f)) s[half_tile][i] *= exponent_scale;
        if (row >= p.seq_q || key >= visible_keys(p, row)) s[half_tile][i] = -INFINITY;
      }
    }
    // Of each row one of even and one of odd columns: chains of instructions that wait for one another are
    // half as long.
    float largest[4] = {s[half_tile][0], s[half_tile][1], s[half_tile][2], s[half_tile][3]};
#pragma unroll
    for (int i = 4; i < kHalfKeys / 2; ++i) largest[i % 4] = fmaxf(largest[i % 4], s[half_tile][i]);
    for (int i = 0; i < 4; ++i) m_i[i / 2] = fmaxf(m_i[i / 2], largest[i]);
  };
  wgmma_wait_group<1>(s[0]);
  take_maximum(0);
  wgmma_wait_group<0>(s[1]);
  take_maximum(1);
  if (!kWhole && !(p.scale > 0.f)) exponent_scale = 1.f;
  for (int r = 0; r < 2; ++r) {
    m_i[r] = warp_reduce_max<4>(m_i[r]) * exponent_scale;
    if constexpr (!kWhole)
      m_i[r] = fmaxf(m_i[r], -FLT_MAX);  // of a row that sees no key here: -inf - -inf is no number
  }
  // [maximum]

  // [output]
  float o[kHeadDim / 2];
  float l_i[2] = {0.f, 0.f};
  std::uint32_t p_frag[2][kHalfKeys / 16][4];  // both halves' at once: wgmma still reads the first's
#pragma unroll
  for (int half_tile = 0; half_tile < 2; ++half_tile) {
#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; i += 2) {
      const int r = i / 2 % 2;
      const float low = ex2_approx(fmaf(s[half_tile][i], exponent_scale, -m_i[r]));
      const float high_exponent = fmaf(s[half_tile][i + 1], exponent_scale, -m_i[r]);
      const bool on_fma_units = Idea::kPolynomial && i / 4 % 4 == 0;
      const float high = on_fma_units ? exp2_polynomial(high_exponent) : ex2_approx(high_exponent);
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
  // While the last products run: what every warpgroup's result weighs, and the sum of the block.
  RowPairStats& own_stats = smem.stats[warpgroup][warp * 8 + quad];
  for (int r = 0; r < 2; ++r) l_i[r] = warp_reduce_sum<4>(l_i[r]);
  if (lane % 4 == 0) own_stats = {{m_i[0], m_i[1]}, {l_i[0], l_i[1]}};
  if constexpr (kClusterSize > 1) cluster_wait();
  __syncthreads();
  RowPairStats block = {{m_i[0], m_i[1]}, {}};
  float weight[kWarpgroups][2];
  for (int r = 0; r < 2; ++r) {
#pragma unroll
    for (int group = 0; group < kWarpgroups; ++group) {
      block.m[r] = fmaxf(block.m[r], smem.stats[group][warp * 8 + quad].m[r]);
    }
#pragma unroll
    for (int group = 0; group < kWarpgroups; ++group) {
      const RowPairStats& stats = smem.stats[group][warp * 8 + quad];
      weight[group][r] = ex2_approx(stats.m[r] - block.m[r]);
      block.l[r] += weight[group][r] * stats.l[r];
    }
  }
  // A cluster's block writes half of the rows, those of two warps of each warpgroup, and sends the other
  // half; what is sent is divided by its sum here, to lie within FP16, what is not, behind the last sum.
  const bool sends = kClusterSize > 1 && unsigned(warp / 2) != rank;
  if (sends || kClusterSize == 1) {
    for (int r = 0; r < 2; ++r) {
      const float inverse = kWhole || block.l[r] > 0.f ? __fdividef(1.f, block.l[r]) : 0.f;
#pragma unroll
      for (int group = 0; group < kWarpgroups; ++group) weight[group][r] *= inverse;
    }
  }
  if constexpr (kClusterSize > 1) {
    if (sends && warpgroup == 0 && lane % 4 == 0) {
      st_async(mapa(&smem.received_stats[warp % 2][quad], rank ^ 1),
                          make_float4(block.m[0], block.m[1], block.l[0], block.l[1]),
                          mapa(&smem.received_stats_full, rank ^ 1));
    }
  }
  wgmma_wait_group<0>(o);
  // [weights]

  // [block_merge]
  // Each warpgroup keeps some columns of O and gives the rest away; a thread finds in the others' gifts the
  // rows and columns that it has itself.
  float kept[kKept][4];
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile / kKept != warpgroup) {
      smem.keys[warpgroup].given[tile][group_thread] =
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
      const float4 part = smem.keys[group].given[warpgroup * kKept + tile][group_thread];
      kept[tile][0] = fmaf(part.x, weight[group][0], kept[tile][0]);
      kept[tile][1] = fmaf(part.y, weight[group][0], kept[tile][1]);
      kept[tile][2] = fmaf(part.z, weight[group][1], kept[tile][2]);
      kept[tile][3] = fmaf(part.w, weight[group][1], kept[tile][3]);
    }
  }
  // [block_merge]

  // [cluster_merge]
  if constexpr (kClusterSize > 1) {
    static_assert(kKept == 4, "two chunks of 16 bytes a thread");
    auto& mailbox = smem.received[warpgroup][warp % 2];
    if (sends) {
#pragma unroll
      for (int chunk = 0; chunk < 2; ++chunk) {
        const std::uint32_t pairs[4] = {pack(kept[2 * chunk][0], kept[2 * chunk][1]),
                                        pack(kept[2 * chunk][2], kept[2 * chunk][3]),
                                        pack(kept[2 * chunk + 1][0], kept[2 * chunk + 1][1]),
                                        pack(kept[2 * chunk + 1][2], kept[2 * chunk + 1][3])};
        st_async(mapa(&mailbox[chunk][lane], rank ^ 1),
                            make_float4(__uint_as_float(pairs[0]), __uint_as_float(pairs[1]),
                                        __uint_as_float(pairs[2]), __uint_as_float(pairs[3])),
                            mapa(&smem.received_full, rank ^ 1));
      }
      return;  // nothing comes here any more for these warps, and the others wait for what the other block
               // sends
    }
    mbarrier_wait(&smem.received_stats_full, 0);
    const RowPairStats other = smem.received_stats[warp % 2][quad];
    float own_weight[2], other_weight[2];
    for (int r = 0; r < 2; ++r) {
      const float m = fmaxf(block.m[r], other.m[r]);
      own_weight[r] = ex2_approx(block.m[r] - m);
      other_weight[r] = ex2_approx(other.m[r] - m) * other.l[r];
      const float l = fmaf(own_weight[r], block.l[r], other_weight[r]);
      const float inverse = kWhole || l > 0.f ? __fdividef(1.f, l) : 0.f;
      own_weight[r] *= inverse;
      other_weight[r] *= inverse;
    }
    mbarrier_wait(&smem.received_full, 0);
#pragma unroll
    for (int chunk = 0; chunk < 2; ++chunk) {
      const float4 pairs = mailbox[chunk][lane];
      const float2 part[4] = {unpack(pairs.x), unpack(pairs.y), unpack(pairs.z), unpack(pairs.w)};
      for (int i = 0; i < 4; ++i) {
        float* mine = &kept[2 * chunk + i / 2][2 * (i % 2)];
        mine[0] = fmaf(part[i].x, other_weight[i % 2], mine[0] * own_weight[i % 2]);
        mine[1] = fmaf(part[i].y, other_weight[i % 2], mine[1] * own_weight[i % 2]);
      }
    }
  }
  // [cluster_merge]

  for (int r = 0; r < 2; ++r) {
    const int row = first_row + warp * 16 + quad + 8 * r;
    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    for (int tile = 0; tile < kKept; ++tile) {
      *reinterpret_cast<std::uint32_t*>(row_gmem + (warpgroup * kKept + tile) * 8 + lane % 4 * 2) =
          pack(kept[tile][2 * r], kept[tile][2 * r + 1]);
    }
  }
}

template <typename Idea>
cudaError_t launch_headline(const Problem& p, const Tensors& t, cudaStream_t stream) {
  OnePassMaps maps;
  if (const cudaError_t status = make_maps(&maps, p, t); status != cudaSuccess) return status;
  cudaLaunchAttribute attributes[2];
  unsigned count = 0;
  if (Idea::kClusterSize > 1) attributes[count++] = clusters_of(Idea::kClusterSize);
  if (Idea::kDependent) attributes[count++] = dependent_launch();
  unsigned blocks = unsigned(ceil_div(p.seq_q, kBlockQ)) * unsigned(p.batch * p.heads) * Idea::kClusterSize;
  if (Idea::kDependent) {
    // A block for every SM, at least: the next call's shall find none that is free.
    int sms = 0;
    const cudaError_t status = device_attribute(&sms, cudaDevAttrMultiProcessorCount);
    if (status != cudaSuccess) return status;
    blocks = std::max(blocks, unsigned(sms) / Idea::kClusterSize * Idea::kClusterSize);
  }
  const bool whole = is_whole(p);
  constexpr int kWarpgroups = 4 / Idea::kClusterSize;
  return launch_with(std::span(attributes, count),
                     whole ? headline_kernel<Idea, true> : headline_kernel<Idea, false>, dim3(blocks),
                     dim3(kWarpgroups * kGroupThreads), sizeof(Smem<kWarpgroups>), stream, maps.q, maps.k,
                     maps.v, p, t.o);
}

}  // namespace

cudaError_t wgmma(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_headline<Wgmma>(p, t, stream);
}
cudaError_t cluster(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_headline<Cluster>(p, t, stream);
}
cudaError_t exp_poly(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_headline<ExpPoly>(p, t, stream);
}
cudaError_t cluster_pdl(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_headline<ClusterPdl>(p, t, stream);
}

}  // namespace attention::tuned
