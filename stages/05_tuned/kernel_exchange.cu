// 05_tuned, the headline shape on Hopper, from where cluster_pdl (kernel_wgmma.cu) ends. There too 64 rows
// belong to four warpgroups, two in each block of a cluster, with 128 keys each. A third of the time between
// its release by the call before and its last store comes after the exponentials: warpgroups of a block
// merge through shared memory, then blocks through each other's, with barriers between.
//
//   exchange  all four merge at once, a reduce-scatter: each warpgroup keeps 16 columns of O and sends each
//             of the other three their 16, as FP16, divided by its sum. A thread has 16 bytes for each of
//             three others and gets as much, from the threads with its rows. No barrier of the block is left
//             behind the loads; a warp waits for the three warps it hears from.
//   lazy_max  exponentials begin with the maximum of a warpgroup's first keys, before the second half's
//             scores are there. Others are not taken, unless a sum shows that exponentials became too large.
//
// In both an elected thread asks for tiles, with coordinates worked out before the launch before has ended.
//
// How wgmma holds matrices, and what a tile is: attention/hopper.cuh. Of an accumulator, row 16 w + lane / 4
// of warp w has [4 j] and [4 j + 1], eight rows further down [4 j + 2] and [4 j + 3]; a row lies in a quad of
// lanes.
#include <cuda_fp16.h>

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <type_traits>

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

// [ideas]
struct Exchange {
  static constexpr bool kLazy = false;
};
struct LazyMax : Exchange {
  static constexpr bool kLazy = true;
};
// [ideas]

constexpr int kClusterSize = 2;
constexpr int kWarpgroups = 2;                        // of a block
constexpr int kMembers = kClusterSize * kWarpgroups;  // warpgroups that share the rows
constexpr int kGroupWarps = 4;
constexpr int kThreads = kWarpgroups * kGroupThreads;
constexpr int kKept = kHeadDim / 8 / kMembers;  // eight-column tiles of O that a warpgroup keeps
// lazy_max: exponentials begin with the maximum of so many keys of a warpgroup. Others may surpass it as long
// as no lane's sum of exponentials surpasses kMostSum, half of what FP16 goes to.
constexpr int kFirstKeys = 16;
constexpr float kMostSum = 32768.f;

struct Smem {
  alignas(1024) half q[kBlockQ * kHeadDim];
  half k[kWarpgroups][kGroupKeys * kHeadDim];
  half v[kWarpgroups][kGroupKeys * kHeadDim];
  // What a warp of this block gets from the warps with its rows in the other members; its own member's place
  // stays empty.
  struct Mail {
    float4 parts[kMembers][32];  // eight numbers of each lane, FP16
    RowPairStats stats[kMembers][8];
  } mail[kWarpgroups][kGroupWarps];
  Mbarrier q_full, k_full[kWarpgroups][2], v_full[kWarpgroups];
  Mbarrier parts_full[kWarpgroups][kGroupWarps], stats_full[kWarpgroups][kGroupWarps];
};

// Room for two blocks on an SM, of at most 128 registers a thread: this call's and the next one's.
// kWhole: 512 keys for every row, rows in whole blocks, a positive scale; nothing to mask.
template <typename Idea, bool kWhole>
__global__ void __launch_bounds__(kThreads, 2)
    exchange_kernel(const __grid_constant__ CUtensorMap q_map, const __grid_constant__ CUtensorMap k_map,
                    const __grid_constant__ CUtensorMap v_map, Problem p, half* o_gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  const int lane = threadIdx.x % 32, quad = lane / 4;

  // The same in all lanes, and by the shuffle the compiler knows it: the copy engine takes its operands from
  // registers of the whole warp.
  const auto uniform = [](int value) { return __shfl_sync(kFullMask, value, 0); };
  const unsigned rank = cluster_ctarank();
  const int row_blocks = (p.seq_q + kBlockQ - 1) / kBlockQ, item = blockIdx.x / kClusterSize;
  const int head = uniform(item / row_blocks);
  const int first_row = uniform((item - head * row_blocks) * kBlockQ);
  const int kv_head = uniform(kv_head_of(p, head));
  const int block_warp = uniform(threadIdx.x / 32);
  const int warpgroup = block_warp / kGroupWarps, warp = block_warp % kGroupWarps;
  const int member = int(rank) * kWarpgroups + warpgroup;
  const int first_key = member * kGroupKeys;
  if (head >= p.batch * p.heads) {
    // Nothing to do but to keep the SM from the next call's blocks, until the call before has left it.
    griddepcontrol_launch_dependents();
    griddepcontrol_wait();
    return;
  }

  // [load]
  if (block_warp == 0 && elect_sync()) {
    mbarrier_init(&smem.q_full, 1);
    for (int group = 0; group < kWarpgroups; ++group) {
      for (int half_tile = 0; half_tile < 2; ++half_tile) mbarrier_init(&smem.k_full[group][half_tile], 1);
      mbarrier_init(&smem.v_full[group], 1);
      for (int w = 0; w < kGroupWarps; ++w) {
        mbarrier_init(&smem.parts_full[group][w], 2);  // this thread, and the warp of the same block
        mbarrier_init(&smem.stats_full[group][w], 2);
      }
    }
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(&smem.q_full, kQBytes);
    for (int group = 0; group < kWarpgroups; ++group) {
      for (int half_tile = 0; half_tile < 2; ++half_tile) {
        mbarrier_arrive_expect_tx(&smem.k_full[group][half_tile], kHalfBytes);
      }
      mbarrier_arrive_expect_tx(&smem.v_full[group], 2 * kHalfBytes);
      for (int w = 0; w < kGroupWarps; ++w) {
        // From the other block, whose stores count bytes.
        mbarrier_arrive_expect_tx(&smem.parts_full[group][w], kWarpgroups * sizeof(Smem::Mail::parts[0]));
        mbarrier_arrive_expect_tx(&smem.stats_full[group][w], kWarpgroups * sizeof(Smem::Mail::stats[0]));
      }
    }
  }
  __syncthreads();
  // Barriers must be there before the other block sends anything. In a chain of calls the wait costs nothing
  // here: the one before still runs.
  cluster_arrive_relaxed();
  cluster_wait();
  if (block_warp == kThreads / 32 - 1) {  // by search; the first warp has made the barriers
    if (elect_sync()) {
      griddepcontrol_wait();
      // In the order of need. The first warpgroup has all its keys before the second has any: the two then do
      // not want the same unit at the same time.
      tma_load(smem.q, &q_map, 0, first_row, head, &smem.q_full);
      const int block_key = int(rank) * kWarpgroups * kGroupKeys;
      for (int group = 0; group < kWarpgroups; ++group) {
        for (int half_tile = 0; half_tile < 2; ++half_tile) {
          tma_load(smem.k[group] + half_tile * kHalfKeys * kHeadDim, &k_map, 0,
                   block_key + group * kGroupKeys + half_tile * kHalfKeys, kv_head,
                   &smem.k_full[group][half_tile]);
        }
      }
      for (int group = 0; group < kWarpgroups; ++group) {
        for (int half_tile = 0; half_tile < 2; ++half_tile) {
          tma_load(smem.v[group] + half_tile * kHalfKeys * kHeadDim, &v_map, 0,
                   block_key + group * kGroupKeys + half_tile * kHalfKeys, kv_head, &smem.v_full[group]);
        }
      }
    }
    __syncwarp();  // wgmma wants the warp together
  }
  griddepcontrol_launch_dependents();
  __syncthreads();  // cheaper to wait at than an mbarrier, while the launch before runs on the same SM
  // [load]

  // [scores]
  float s[2][kHalfKeys / 2];
  const auto scores = [&](int half_tile) {
    mbarrier_wait(&smem.k_full[warpgroup][half_tile], 0);
    wgmma_fence();
    for (int k = 0; k < kHeadDim / 16; ++k) {
      wgmma(s[half_tile], wgmma_advance(wgmma_descriptor(smem.q), 32 * k),
            wgmma_advance(wgmma_descriptor(smem.k[warpgroup]), half_tile * kHalfBytes + 32 * k), k > 0);
    }
    wgmma_commit_group();
  };
  mbarrier_wait(&smem.q_full, 0);
  scores(0);
  if constexpr (!Idea::kLazy) scores(1);
  // [scores]

  // A score times a positive scale keeps its rank, so the scale waits for the exponent; any other goes in
  // with the mask.
  const float exponent_scale = kWhole || p.scale > 0.f ? p.scale * kLog2e : 1.f;
  const auto mask = [&](int half_tile) {
    if constexpr (!kWhole) {
#pragma unroll
      for (int i = 0; i < kHalfKeys / 2; ++i) {
        const int row = first_row + warp * 16 + quad + i / 2 % 2 * 8;
        const int key = first_key + half_tile * kHalfKeys + i / 4 * 8 + lane % 4 * 2 + i % 2;
        if (!(p.scale > 0.f)) s[half_tile][i] *= p.scale * kLog2e;
        if (row >= p.seq_q || key >= visible_keys(p, row)) s[half_tile][i] = -INFINITY;
      }
    }
  };
  // Of a warpgroup's keys [from, to), those that this lane has. Of each row one of even and one of odd
  // columns: chains of instructions that wait for one another are half as long.
  const auto maximum = [&](int from, int to, float(&most)[2]) {
    float largest[4];
    for (int i = 0; i < 4; ++i) largest[i] = s[from / kHalfKeys][from % kHalfKeys / 2 + i];
#pragma unroll
    for (int i = from / 2 + 4; i < to / 2; ++i) {
      largest[i % 4] = fmaxf(largest[i % 4], s[i / (kHalfKeys / 2)][i % (kHalfKeys / 2)]);
    }
    for (int r = 0; r < 2; ++r) most[r] = fmaxf(largest[2 * r], largest[2 * r + 1]);
  };

  // [maximum]
  float m_i[2], l_i[2] = {0.f, 0.f};
  wgmma_wait_group<Idea::kLazy ? 0 : 1>(s[0]);
  mask(0);
  maximum(0, Idea::kLazy ? kFirstKeys : kHalfKeys, m_i);
  if constexpr (!Idea::kLazy) {
    float second[2];
    wgmma_wait_group<0>(s[1]);
    mask(1);
    maximum(kHalfKeys, kGroupKeys, second);
    for (int r = 0; r < 2; ++r) m_i[r] = fmaxf(m_i[r], second[r]);
  }
  for (int r = 0; r < 2; ++r) {
    m_i[r] = warp_reduce_max<4>(m_i[r]) * exponent_scale;
    // Of a row that sees no key here: -inf - -inf is no number.
    if constexpr (!kWhole) m_i[r] = fmaxf(m_i[r], -FLT_MAX);
  }
  if constexpr (Idea::kLazy) scores(1);
  // [maximum]

  // [output]
  float o[kHeadDim / 2];
  std::uint32_t p_frag[2][kHalfKeys / 16][4];  // both halves' at once: wgmma still reads the first's
  const auto exponentials = [&](int half_tile) {
#pragma unroll
    for (int i = 0; i < kHalfKeys / 2; i += 2) {
      const int r = i / 2 % 2;
      const float low = ex2_approx(fmaf(s[half_tile][i], exponent_scale, -m_i[r]));
      const float high = ex2_approx(fmaf(s[half_tile][i + 1], exponent_scale, -m_i[r]));
      l_i[r] += low + high;
      p_frag[half_tile][i / 8][i / 2 % 4] = pack(low, high);
    }
  };
  const auto products = [&](int half_tile) {
    wgmma_fence();
    for (int k = 0; k < kHalfKeys / 16; ++k) {
      wgmma<Major::mn>(o, p_frag[half_tile][k],
                       wgmma_advance(wgmma_descriptor(smem.v[warpgroup]), half_tile * kHalfBytes + 2048 * k),
                       half_tile + k > 0);
    }
    wgmma_commit_group();
  };
  // No exponential is larger than their sum, so the sum tells whether one may be too large for half. Rare, so
  // that a vote is all it costs. Not `>`: with first scores of -infinity the sum is no number.
  const auto surpassed = [&] { return __any_sync(kFullMask, !(l_i[0] <= kMostSum && l_i[1] <= kMostSum)); };
  // Then the half's own maximum is taken after all. Returns by what all that came before is to be multiplied.
  const auto raise_maximum = [&](int half_tile, float(&factor)[2]) {
    float largest[2];
    maximum(half_tile * kHalfKeys, (half_tile + 1) * kHalfKeys, largest);
    for (int r = 0; r < 2; ++r) {
      const float m = fmaxf(m_i[r], warp_reduce_max<4>(largest[r]) * exponent_scale);
      factor[r] = ex2_approx(m_i[r] - m);
      m_i[r] = m;
    }
  };

  exponentials(0);
  if constexpr (Idea::kLazy) {
    if (surpassed()) {
      float unused[2];
      raise_maximum(0, unused);
      l_i[0] = l_i[1] = 0.f;
      exponentials(0);
    }
  }
  mbarrier_wait(&smem.v_full[warpgroup], 0);
  products(0);
  const float l_first[2] = {l_i[0], l_i[1]};
  if constexpr (Idea::kLazy) {
    wgmma_wait_group<1>(s[1]);  // while the first products run
    mask(1);
  }
  exponentials(1);
  if constexpr (Idea::kLazy) {
    wgmma_wait_group<0>(o);  // they are long done, and O may be multiplied here
    if (surpassed()) {
      float factor[2];
      raise_maximum(1, factor);
      for (int r = 0; r < 2; ++r) l_i[r] = l_first[r] * factor[r];
#pragma unroll
      for (int i = 0; i < kHeadDim / 2; ++i) o[i] *= factor[i / 2 % 2];
      exponentials(1);
    }
  }
  products(1);
  // [output]

  // [exchange]
  // Maxima and sums go ahead, while the last products run: with them the others work out what every part
  // weighs. To the other block by asynchronous stores, to the other warpgroup of this one by ordinary ones.
  const std::uint32_t other_block = mapa(&smem, rank ^ 1);
  const auto in_other_block = [&](const void* place) {
    return other_block + std::uint32_t(static_cast<const char*>(place) - reinterpret_cast<char*>(&smem));
  };
  const int sibling = warpgroup ^ 1;
  for (int r = 0; r < 2; ++r) l_i[r] = warp_reduce_sum<4>(l_i[r]);
  if (lane % 4 == 0) {
    smem.mail[sibling][warp].stats[member][quad] = {{m_i[0], m_i[1]}, {l_i[0], l_i[1]}};
  }
  if (lane % 4 < kWarpgroups) {
    const int to = lane % 4;
    st_async(in_other_block(&smem.mail[to][warp].stats[member][quad]),
                        make_float4(m_i[0], m_i[1], l_i[0], l_i[1]),
                        in_other_block(&smem.stats_full[to][warp]));
  }
  __syncwarp();
  if (lane == 0) mbarrier_arrive(&smem.stats_full[sibling][warp]);
  wgmma_wait_group<0>(o);
  float inverse[2];
  for (int r = 0; r < 2; ++r) inverse[r] = kWhole || l_i[r] > 0.f ? __fdividef(1.f, l_i[r]) : 0.f;

  // What member `to` keeps, divided by this member's sum, to lie within FP16.
  const auto part_for = [&](int to) {
    const float* part = &o[4 * kKept * to];
    return make_float4(__uint_as_float(pack(part[0] * inverse[0], part[1] * inverse[0])),
                       __uint_as_float(pack(part[2] * inverse[1], part[3] * inverse[1])),
                       __uint_as_float(pack(part[4] * inverse[0], part[5] * inverse[0])),
                       __uint_as_float(pack(part[6] * inverse[1], part[7] * inverse[1])));
  };
  float kept[kKept][4];
  // Once for each member, since a register has no index: which of O goes where is known to the compiler.
  const auto give = [&](auto own_constant) {
    constexpr int kOwn = decltype(own_constant)::value;
#pragma unroll
    for (int to = 0; to < kMembers; ++to) {
      if (to / kWarpgroups == kOwn / kWarpgroups) continue;
      st_async(in_other_block(&smem.mail[to % kWarpgroups][warp].parts[kOwn][lane]), part_for(to),
                          in_other_block(&smem.parts_full[to % kWarpgroups][warp]));
    }
    smem.mail[sibling][warp].parts[kOwn][lane] = part_for(kOwn ^ 1);
#pragma unroll
    for (int i = 0; i < 4 * kKept; ++i) kept[i / 4][i % 4] = o[4 * kKept * kOwn + i];
  };
  static_assert(kKept == 2 && kMembers == 4);
  switch (member) {
    case 0:
      give(std::integral_constant<int, 0>());
      break;
    case 1:
      give(std::integral_constant<int, 1>());
      break;
    case 2:
      give(std::integral_constant<int, 2>());
      break;
    default:
      give(std::integral_constant<int, 3>());
      break;
  }
  __syncwarp();
  if (lane == 0) mbarrier_arrive(&smem.parts_full[sibling][warp]);
  // [exchange]

  // [merge]
  const Smem::Mail& mail = smem.mail[warpgroup][warp];
  mbarrier_wait(&smem.stats_full[warpgroup][warp], 0);
  RowPairStats other[kMembers - 1];
  for (int i = 0; i < kMembers - 1; ++i) other[i] = mail.stats[member ^ (i + 1)][quad];
  float own_weight[2], weight[kMembers - 1][2];
  for (int r = 0; r < 2; ++r) {
    float m = m_i[r];
    for (int i = 0; i < kMembers - 1; ++i) m = fmaxf(m, other[i].m[r]);
    own_weight[r] = ex2_approx(m_i[r] - m);  // of what is not divided by its sum yet
    float l = own_weight[r] * l_i[r];
    for (int i = 0; i < kMembers - 1; ++i) {
      weight[i][r] = ex2_approx(other[i].m[r] - m) * other[i].l[r];
      l += weight[i][r];
    }
    const float all_inverse = kWhole || l > 0.f ? __fdividef(1.f, l) : 0.f;
    own_weight[r] *= all_inverse;
    for (int i = 0; i < kMembers - 1; ++i) weight[i][r] *= all_inverse;
  }
  for (int tile = 0; tile < kKept; ++tile) {
    for (int i = 0; i < 4; ++i) kept[tile][i] *= own_weight[i / 2];
  }
  mbarrier_wait(&smem.parts_full[warpgroup][warp], 0);
#pragma unroll
  for (int i = 0; i < kMembers - 1; ++i) {
    const float4 pairs = mail.parts[member ^ (i + 1)][lane];
    const float2 part[4] = {unpack(pairs.x), unpack(pairs.y), unpack(pairs.z), unpack(pairs.w)};
    for (int j = 0; j < 4; ++j) {
      float* mine = &kept[j / 2][2 * (j % 2)];
      mine[0] = fmaf(part[j].x, weight[i][j % 2], mine[0]);
      mine[1] = fmaf(part[j].y, weight[i][j % 2], mine[1]);
    }
  }
  // [merge]

  for (int r = 0; r < 2; ++r) {
    const int row = first_row + warp * 16 + quad + 8 * r;
    // 8 bytes a lane: neighbours swap a pair, even lanes then have four columns of the first tile, odd ones
    // of the second.
    std::uint32_t low = pack(kept[0][2 * r], kept[0][2 * r + 1]);
    std::uint32_t high = pack(kept[1][2 * r], kept[1][2 * r + 1]);
    const std::uint32_t taken = __shfl_xor_sync(kFullMask, lane % 2 == 0 ? high : low, 1);
    if (lane % 2 == 0) {
      high = taken;
    } else {
      low = taken;
    }
    if (!kWhole && row >= p.seq_q) continue;
    half* row_gmem = o_gmem + (size_t(head) * p.seq_q + row) * kHeadDim;
    const int column = (member * kKept + lane % 2) * 8 + lane % 4 / 2 * 4;
    *reinterpret_cast<uint2*>(row_gmem + column) = make_uint2(low, high);
  }
}

template <typename Idea>
cudaError_t launch_exchange(const Problem& p, const Tensors& t, cudaStream_t stream) {
  OnePassMaps maps;
  int sms = 0;
  for (const cudaError_t status :
       {make_maps(&maps, p, t), device_attribute(&sms, cudaDevAttrMultiProcessorCount)}) {
    if (status != cudaSuccess) return status;
  }
  const cudaLaunchAttribute attributes[] = {clusters_of(kClusterSize), dependent_launch()};
  // A block for every SM, at least: the next call's shall find none that is free.
  const unsigned blocks =
      std::max(unsigned(ceil_div(p.seq_q, kBlockQ)) * unsigned(p.batch * p.heads) * kClusterSize,
               unsigned(sms) / kClusterSize * kClusterSize);
  const bool whole = is_whole(p);
  return launch_with(std::span(attributes),
                     whole ? exchange_kernel<Idea, true> : exchange_kernel<Idea, false>, dim3(blocks),
                     dim3(kThreads), sizeof(Smem), stream, maps.q, maps.k, maps.v, p, t.o);
}

}  // namespace

cudaError_t exchange(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_exchange<Exchange>(p, t, stream);
}
cudaError_t lazy_max(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_exchange<LazyMax>(p, t, stream);
}

}  // namespace attention::tuned
