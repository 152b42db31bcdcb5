// exchange: the four warpgroups of a row block merge at once, a quarter of the columns each.
//
// cluster_pdl merges twice, in the block, then in the cluster, with barriers between. A reduce-scatter does
// both in one step: each warpgroup keeps 16 columns of O and sends the other three their 16, as FP16, divided
// by its sum. A thread sends 16 bytes to each of three others and receives as much, from the threads with its
// rows. After the loads a warp waits for three warps, not for its block. And an elected thread issues the TMA
// loads, with coordinates computed before the previous kernel ends.
//
// Bound by latency: loads, scores, exponentials and one merge wait for one another.
//
// The step before: diff -u stages/05_tuned/cluster_pdl.cu stages/05_tuned/exchange.cu
#include <cuda_fp16.h>

#include <algorithm>
#include <cfloat>
#include <cstdint>

#include "attention/hopper.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "merge.cuh"
#include "one_pass.cuh"
#include "products.cuh"
#include "softmax.cuh"

namespace attention::tuned {
namespace {

constexpr int kClusterSize = 2;
constexpr int kWarpgroups = 2;                        // of a block
constexpr int kMembers = kClusterSize * kWarpgroups;  // the warpgroups that share a row block
constexpr int kGroupWarps = kGroupThreads / 32;
constexpr int kThreads = kWarpgroups * kGroupThreads;
constexpr int kKept = kTiles / kMembers;  // tiles of O that a member merges and writes
static_assert(kKept == 2, "16 bytes per thread, packed");

struct Smem {
  alignas(1024) half q[kBlockQ * kHeadDim];
  half k[kWarpgroups][kGroupKeys * kHeadDim];
  half v[kWarpgroups][kGroupKeys * kHeadDim];
  // For each warp of this block, what the warps with its rows in the other members send it.
  struct Received {
    float4 partials[kMembers][32];
    RowPairStats stats[kMembers][8];
  } received[kWarpgroups][kGroupWarps];
  Mbarrier q_full, k_full[kWarpgroups][2], v_full[kWarpgroups];
  Mbarrier partials_full[kWarpgroups][kGroupWarps], stats_full[kWarpgroups][kGroupWarps];
};

// Where a thread stands, and its row block. All but lane_id and quad are uniform in a warp.
struct Place {
  int lane_id, quad;       // four lanes of a quad have the same two rows
  int warp_id, warpgroup;  // numbered in the warpgroup, in the block
  unsigned rank;           // of the block in the cluster
  int member;              // of the warpgroup among those of the cluster
  int first_row, head;
};

// [load]
// One thread: the barriers, and the bytes that they wait for.
__device__ __forceinline__ void init_barriers(Smem& smem) {
  mbarrier_init(&smem.q_full, 1);
  for (int group = 0; group < kWarpgroups; ++group) {
    for (int half_tile = 0; half_tile < 2; ++half_tile) mbarrier_init(&smem.k_full[group][half_tile], 1);
    mbarrier_init(&smem.v_full[group], 1);
    for (int warp = 0; warp < kGroupWarps; ++warp) {
      mbarrier_init(&smem.partials_full[group][warp], 2);  // this thread, and a warp of this block
      mbarrier_init(&smem.stats_full[group][warp], 2);
    }
  }
  fence_mbarrier_init();
  mbarrier_arrive_expect_tx(&smem.q_full, kQBytes);
  for (int group = 0; group < kWarpgroups; ++group) {
    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
    }
    mbarrier_arrive_expect_tx(&smem.v_full[group], 2 * kHalfBytes);
    for (int warp = 0; warp < kGroupWarps; ++warp) {
      // From the other block's two members, whose stores count bytes.
      mbarrier_arrive_expect_tx(&smem.partials_full[group][warp],
                                kWarpgroups * sizeof(Smem::Received::partials[0]));
      mbarrier_arrive_expect_tx(&smem.stats_full[group][warp],
                                kWarpgroups * sizeof(Smem::Received::stats[0]));
    }
  }
}

// One thread: the tiles, in the order of need. The first warpgroup's keys arrive before the second's, so that
// the two do not need the same unit at the same time.
__device__ __forceinline__ void issue_loads(Smem& smem, const CUtensorMap& q_map, const CUtensorMap& k_map,
                                            const CUtensorMap& v_map, const Place& at, int kv_head) {
  const int block_key = int(at.rank) * kWarpgroups * kGroupKeys;
  tma_load(smem.q, &q_map, 0, at.first_row, at.head, &smem.q_full);
  for (int group = 0; group < kWarpgroups; ++group) {
    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      const int key = block_key + group * kGroupKeys + half_tile * kHalfKeys;
      tma_load(smem.k[group] + half_tile * kHalfKeys * kHeadDim, &k_map, 0, key, kv_head,
               &smem.k_full[group][half_tile]);
    }
  }
  for (int group = 0; group < kWarpgroups; ++group) {
    for (int half_tile = 0; half_tile < 2; ++half_tile) {
      const int key = block_key + group * kGroupKeys + half_tile * kHalfKeys;
      tma_load(smem.v[group] + half_tile * kHalfKeys * kHeadDim, &v_map, 0, key, kv_head,
               &smem.v_full[group]);
    }
  }
}
// [load]

// [send]
// The address of the other block's counterpart of `place`.
__device__ __forceinline__ std::uint32_t in_other_block(Smem& smem, std::uint32_t other_smem,
                                                        const void* place) {
  return other_smem + std::uint32_t(static_cast<const char*>(place) - reinterpret_cast<const char*>(&smem));
}

// Sends a warp's maxima and sums to the three warps that have its rows: to the other block by asynchronous
// stores, which count bytes on the receiver's mbarrier; within the block by ordinary stores and an arrival.
__device__ __forceinline__ void send_stats(Smem& smem, std::uint32_t other_smem, const Place& at,
                                           const float (&m_i)[2], const float (&l_i)[2]) {
  const int sibling = at.warpgroup ^ 1;
  if (at.lane_id % 4 == 0) {
    smem.received[sibling][at.warp_id].stats[at.member][at.quad] = {{m_i[0], m_i[1]}, {l_i[0], l_i[1]}};
  }
  if (at.lane_id % 4 < kWarpgroups) {
    const int to = at.lane_id % 4;
    st_async(in_other_block(smem, other_smem, &smem.received[to][at.warp_id].stats[at.member][at.quad]),
             make_float4(m_i[0], m_i[1], l_i[0], l_i[1]),
             in_other_block(smem, other_smem, &smem.stats_full[to][at.warp_id]));
  }
  __syncwarp();
  if (at.lane_id == 0) mbarrier_arrive(&smem.stats_full[sibling][at.warp_id]);
}

// Sends a warp's partial results in the same way, but leaves the arrival to the caller; copies those that its
// member keeps. A register cannot be indexed at run time, so the member's number is a template argument.
template <int kMember>
__device__ __forceinline__ void send_partials(Smem& smem, std::uint32_t other_smem, const Place& at,
                                              const float (&o)[kHeadDim / 2], const float (&inverse)[2],
                                              float (&kept)[kKept][4]) {
  // What member `to` keeps, divided by this member's sum, to lie within FP16.
  const auto partial_for = [&](int to) {
    float scaled[kKept][4];
    for (int i = 0; i < 4 * kKept; ++i) scaled[i / 4][i % 4] = o[4 * kKept * to + i] * inverse[i / 2 % 2];
    return pack_tiles(scaled);
  };
#pragma unroll
  for (int to = 0; to < kMembers; ++to) {
    if (to / kWarpgroups == kMember / kWarpgroups) continue;
    auto& received = smem.received[to % kWarpgroups][at.warp_id];
    st_async(in_other_block(smem, other_smem, &received.partials[kMember][at.lane_id]), partial_for(to),
             in_other_block(smem, other_smem, &smem.partials_full[to % kWarpgroups][at.warp_id]));
  }
  smem.received[at.warpgroup ^ 1][at.warp_id].partials[kMember][at.lane_id] = partial_for(kMember ^ 1);
#pragma unroll
  for (int i = 0; i < 4 * kKept; ++i) kept[i / 4][i % 4] = o[4 * kKept * kMember + i];
}
// [send]

// Room for two blocks on an SM, of at most 128 registers per thread: this call's and the next one's.
// kUnmasked: the fast path for problems without masks, is_unmasked().
template <bool kUnmasked>
__global__ void __launch_bounds__(kThreads, 2)
    exchange_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, Problem p, half* o_gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  // Broadcast from lane 0, so that the compiler can prove it warp-uniform: TMA takes its operands from
  // registers of the whole warp.
  const auto uniform = [](int value) { return __shfl_sync(kFullMask, value, 0); };
  Place at;
  at.lane_id = threadIdx.x % 32;
  at.quad = at.lane_id / 4;
  at.rank = cluster_ctarank();
  const int row_blocks = (p.seq_q + kBlockQ - 1) / kBlockQ, row_block = blockIdx.x / kClusterSize;
  at.head = uniform(row_block / row_blocks);
  at.first_row = uniform((row_block - at.head * row_blocks) * kBlockQ);
  const int kv_head = uniform(kv_head_of(p, at.head));
  const int block_warp = uniform(threadIdx.x / 32);
  at.warpgroup = block_warp / kGroupWarps;
  at.warp_id = block_warp % kGroupWarps;
  at.member = int(at.rank) * kWarpgroups + at.warpgroup;
  const int first_key = at.member * kGroupKeys;
  if (at.head >= p.batch * p.heads) {
    // Padding cluster: occupies its SMs until the previous kernel drains.
    griddepcontrol_launch_dependents();
    griddepcontrol_wait();
    return;
  }

  // [start]
  if (block_warp == 0 && elect_sync()) init_barriers(smem);
  __syncthreads();
  // The barriers must exist before the other block sends anything. In a chain of calls this wait is free:
  // the previous call still runs.
  cluster_arrive_relaxed();
  cluster_wait();
  if (block_warp == kThreads / 32 - 1) {  // the last warp, by search: the first has initialised the barriers
    if (elect_sync()) {
      griddepcontrol_wait();
      issue_loads(smem, q_map, k_map, v_map, at, kv_head);
    }
    __syncwarp();  // wgmma needs the warp converged
  }
  griddepcontrol_launch_dependents();
  __syncthreads();  // cheaper to wait at than an mbarrier, while the previous kernel runs on the same SM
  // [start]

  const half* k_smem = smem.k[at.warpgroup];
  const half* v_smem = smem.v[at.warpgroup];

  // [scores]
  float s[2][kHalfKeys / 2];
  mbarrier_wait(&smem.q_full, 0);
  mbarrier_wait(&smem.k_full[at.warpgroup][0], 0);
  start_scores(smem.q, k_smem, 0, s[0]);
  mbarrier_wait(&smem.k_full[at.warpgroup][1], 0);
  start_scores(smem.q, k_smem, 1, s[1]);
  // [scores]

  // [maximum]
  const float exponent_scale = kUnmasked || p.scale > 0.f ? p.scale * kLog2e : 1.f;
  float m_i[2], l_i[2] = {0.f, 0.f};
  wgmma_wait_group<1>(s[0]);
  if constexpr (!kUnmasked) mask(p, at.first_row, first_key, at.warp_id, at.lane_id, s[0]);
  take_maximum<kHalfKeys>(s[0], m_i);
  wgmma_wait_group<0>(s[1]);
  if constexpr (!kUnmasked) mask(p, at.first_row, first_key + kHalfKeys, at.warp_id, at.lane_id, s[1]);
  float m_second[2];
  take_maximum<kHalfKeys>(s[1], m_second);
  for (int r = 0; r < 2; ++r) m_i[r] = fmaxf(m_i[r], m_second[r]);
  for (int r = 0; r < 2; ++r) {
    m_i[r] = warp_reduce_max<4>(m_i[r]) * exponent_scale;
    // A row that sees none of these keys: -inf - -inf would be NaN.
    if constexpr (!kUnmasked) m_i[r] = fmaxf(m_i[r], -FLT_MAX);
  }
  // [maximum]

  // [output]
  float o[kHeadDim / 2];
  std::uint32_t p_frag[2][kHalfKeys / 16][4];  // of both halves: wgmma still reads the first half's
  exponentials(s[0], exponent_scale, m_i, l_i, p_frag[0]);
  mbarrier_wait(&smem.v_full[at.warpgroup], 0);
  start_output(p_frag[0], v_smem, 0, o);
  exponentials(s[1], exponent_scale, m_i, l_i, p_frag[1]);
  start_output(p_frag[1], v_smem, 1, o);
  // [output]

  // [exchange]
  // Maxima and sums go ahead, while the last products run: the receivers compute the weights with them.
  const std::uint32_t other_smem = mapa(&smem, at.rank ^ 1);
  for (int r = 0; r < 2; ++r) l_i[r] = warp_reduce_sum<4>(l_i[r]);
  send_stats(smem, other_smem, at, m_i, l_i);
  wgmma_wait_group<0>(o);
  float inverse[2], kept[kKept][4];
  for (int r = 0; r < 2; ++r) inverse[r] = inverse_of<kUnmasked>(l_i[r]);
  switch (at.member) {
    case 0:
      send_partials<0>(smem, other_smem, at, o, inverse, kept);
      break;
    case 1:
      send_partials<1>(smem, other_smem, at, o, inverse, kept);
      break;
    case 2:
      send_partials<2>(smem, other_smem, at, o, inverse, kept);
      break;
    default:
      send_partials<3>(smem, other_smem, at, o, inverse, kept);
      break;
  }
  __syncwarp();
  if (at.lane_id == 0) mbarrier_arrive(&smem.partials_full[at.warpgroup ^ 1][at.warp_id]);
  // [exchange]

  // [merge]
  const Smem::Received& received = smem.received[at.warpgroup][at.warp_id];
  mbarrier_wait(&smem.stats_full[at.warpgroup][at.warp_id], 0);
  RowPairStats other[kMembers - 1];
  for (int i = 0; i < kMembers - 1; ++i) other[i] = received.stats[at.member ^ (i + 1)][at.quad];
  float own_weight[2], weight[kMembers - 1][2];
  weigh<kUnmasked>(m_i, l_i, other, own_weight, weight);
  for (int tile = 0; tile < kKept; ++tile) {
    for (int i = 0; i < 4; ++i) kept[tile][i] *= own_weight[i / 2];
  }
  mbarrier_wait(&smem.partials_full[at.warpgroup][at.warp_id], 0);
#pragma unroll
  for (int i = 0; i < kMembers - 1; ++i) {
    constexpr float kUnchanged[2] = {1.f, 1.f};
    merge_tiles(kept, kUnchanged, received.partials[at.member ^ (i + 1)][at.lane_id], weight[i]);
  }
  // [merge]

  store_tiles<kUnmasked>(p, o_gmem, at.head, at.first_row, at.warp_id, at.lane_id, at.member * kKept, kept);
}

}  // namespace

cudaError_t exchange(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  OnePassMaps maps;
  int sms = 0;
  for (const cudaError_t status :
       {make_maps(&maps, p, t), device_attribute(&sms, cudaDevAttrMultiProcessorCount)}) {
    if (status != cudaSuccess) return status;
  }
  // At least a block for every SM: the next call's blocks must not find one free.
  const unsigned row_blocks = unsigned(ceil_div(p.seq_q, kBlockQ)) * unsigned(p.batch * p.heads);
  const unsigned clusters = std::max(row_blocks, unsigned(sms) / kClusterSize);
  const cudaLaunchAttribute attributes[] = {clusters_of(kClusterSize), dependent_launch()};
  const auto kernel = is_unmasked(p) ? exchange_kernel<true> : exchange_kernel<false>;
  return launch_with(attributes, kernel, dim3(clusters * kClusterSize), dim3(kThreads), sizeof(Smem), stream,
                     maps.q, maps.k, maps.v, p, t.o);
}

}  // namespace attention::tuned
