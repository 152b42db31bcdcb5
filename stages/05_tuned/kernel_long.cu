// 05_tuned, large shapes: thousands of keys, where latency is nothing and throughput all. A block has 192
// query rows, 64 for each of three warpgroups, and walks over the keys from the last tile to the first:
// S = Q K^T by wgmma from shared memory, online softmax in registers, O += P V by wgmma with P still in
// registers. At head_dim 128 tensor cores and power are the wall; at 64 exponentials cost as many clocks as
// the products (a score takes 128 of the 2048 multiply-adds a clock and SM, and one of 16 exponentials). So
// everything has to overlap.
//
//   tma_pipeline      TMA brings tiles into a ring, ahead of their use; one thread asks for them between its
//                     own work
//   warp_specialized  a producer warp does nothing else, and leaves its registers to the consumers
//   ping_pong         warpgroups take turns at the tensor cores; who is not there does softmax
//   intra_overlap     and within a warpgroup O += P V runs beside the softmax of the next tile
//   persistent        one block an SM takes row blocks until none is left; the loop over tiles does not stop
//                     between them, and O leaves by TMA meanwhile
//
// How wgmma holds matrices, and what a tile is: attention/hopper.cuh. Of an accumulator, row 16 w + lane / 4
// has [4 j] and [4 j + 1], the row 8 further down [4 j + 2] and [4 j + 3]; a row lies in a quad of lanes.
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"
#include "attention/warp.cuh"

namespace attention::tuned {

namespace {

// [ideas]
// What each variant adds to the one before it. Every `if constexpr` of the kernel asks one of these.
struct TmaPipeline {
  static constexpr bool kProducer = false;
  static constexpr bool kPingPong = false;
  static constexpr bool kOverlap = false;
  static constexpr bool kPersistent = false;
};
struct WarpSpecialized : TmaPipeline {
  static constexpr bool kProducer = true;
};
struct PingPong : WarpSpecialized {
  static constexpr bool kPingPong = true;
};
struct IntraOverlap : PingPong {
  static constexpr bool kOverlap = true;
};
struct Persistent : IntraOverlap {
  static constexpr bool kPersistent = true;
};
// [ideas]

constexpr int kGroupThreads = 128;  // a warpgroup: four warps that issue one wgmma together
constexpr int kGroupQ = 64;         // query rows of a warpgroup: the m64 of wgmma
constexpr int kPanel = 64;          // columns of a panel of a tile
constexpr int kPanelRowBytes = kPanel * sizeof(half);
// Registers a thread. Four warpgroups share 65536 / 128 = 512: three consumers and the producer.
constexpr int kConsumerRegisters = 160, kProducerRegisters = 32;
static_assert(3 * kConsumerRegisters + kProducerRegisters <= 512);
// Named barriers: a warpgroup's turn, and its way out.
constexpr int kTurnBarrier = 1, kStoreBarrier = 5;
// What K and V of a section of heads may take of L2 (60 MB on an H200).
constexpr std::size_t kSectionBytes = 32 << 20;
// Start of a running maximum: below any score of finite halves, and finite, so that a masked score, -inf,
// minus it is -inf and not NaN.
constexpr float kLowest = -1e30f;
// A maximum may be passed by 8 (a factor 2^8 of P) before O is rescaled: P stays below 256, half goes to
// 65504.
constexpr float kRescaleSlack = 8.f;

template <int head_dim, int groups, int block_kv, int stages>
struct Tile {
  static constexpr int kHeadDim = head_dim;
  static constexpr int kGroups = groups;  // consumer warpgroups
  static constexpr int kBlockQ = groups * kGroupQ;
  static constexpr int kBlockKv = block_kv;
  static constexpr int kStages = stages;  // tiles of K, and of V, that shared memory holds
  static constexpr int kKvBytes = block_kv * head_dim * int(sizeof(half));
  static constexpr int kQBytes = kBlockQ * head_dim * int(sizeof(half));
  static_assert(head_dim % kPanel == 0 && block_kv % 16 == 0);
};
// Of 160 registers a thread, scores of 128 keys take 64 and P 32 more; O takes 32, or 64 at head_dim 128,
// where that leaves room for 80 keys. Shared memory has room for a third stage at head_dim 64.
template <int head_dim>
using LongTile = std::conditional_t<head_dim == 64, Tile<64, 3, 128, 3>, Tile<128, 3, 80, 2>>;

// A row block: kBlockQ rows of one head, and how far its keys go.
struct Item {
  int head, kv_head, first_row;
  int tiles;  // of K and V; at least one, so that rows that see no key are written too. 0: there is no item
};

// [smem]
// The block's shared memory: tiles first, each at a multiple of 1024 bytes.
template <typename Idea, typename T>
struct Smem {
  static constexpr int kQSlots = Idea::kPersistent ? 2 : 1;  // the next row block's Q comes early
  alignas(1024) unsigned char q[kQSlots][T::kQBytes];
  alignas(1024) unsigned char k[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char v[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char o[T::kQBytes];
  Mbarrier q_full[kQSlots], q_empty[kQSlots];
  Mbarrier k_full[T::kStages], k_empty[T::kStages];
  Mbarrier v_full[T::kStages], v_empty[T::kStages];
  Item item[kQSlots];  // whose rows they are
};
// [smem]

// [order]
// What the launcher works out about the order in which row blocks are taken.
struct Order {
  int blocks_per_head, items;
  int heads_together;  // heads in a section
};

// Row block `index`, if there are so many. Heads come in sections whose K and V fit in L2 together; within a
// section the last rows of every head first: in a causal problem those see most keys, and what is short fills
// the gaps.
template <typename T>
__device__ inline Item item_of(const Problem& p, const Order& order, int index) {
  if (index >= order.items) return {};
  const int section_items = order.heads_together * order.blocks_per_head;
  const int first_head = index / section_items * order.heads_together;
  const int heads = min(order.heads_together, p.batch * p.heads - first_head);
  const int within = index % section_items;
  Item item;
  item.head = first_head + within % heads;
  item.kv_head = kv_head_of(p, item.head);
  item.first_row = (order.blocks_per_head - 1 - within / heads) * T::kBlockQ;
  const int keys = visible_keys(p, min(item.first_row + T::kBlockQ, p.seq_q) - 1);
  item.tiles = max(1, (keys + T::kBlockKv - 1) / T::kBlockKv);
  return item;
}
// [order]

// [ring]
// The loads of one thread. Tile number n of the block, counted over all its items, has slot n % kStages,
// whose barriers are then in their phase n / kStages.
template <typename Idea, typename T>
struct Ring {
  Smem<Idea, T>& smem;
  const CUtensorMap &q_map, &k_map, &v_map;

  __device__ void load_q(int slot, const Item& item) const {
    mbarrier_arrive_expect_tx(&smem.q_full[slot], T::kQBytes);
    tma_load(smem.q[slot], &q_map, 0, item.first_row, item.head, &smem.q_full[slot]);
  }
  __device__ void load_k(int n, const Item& item, int tile) const {
    const int slot = n % T::kStages;
    load(smem.k[slot], k_map, &smem.k_full[slot], &smem.k_empty[slot], n, item, tile);
  }
  __device__ void load_v(int n, const Item& item, int tile) const {
    const int slot = n % T::kStages;
    load(smem.v[slot], v_map, &smem.v_full[slot], &smem.v_empty[slot], n, item, tile);
  }

 private:
  static __device__ void load(unsigned char* tile_smem, const CUtensorMap& map, Mbarrier* full,
                              Mbarrier* empty, int n, const Item& item, int tile) {
    mbarrier_wait(empty, n / T::kStages % 2 ^ 1);
    mbarrier_arrive_expect_tx(full, T::kKvBytes);
    tma_load(tile_smem, &map, 0, tile * T::kBlockKv, item.kv_head, full);
  }
};
// [ring]

// [products]
// S = Q K^T for 64 rows of Q and a tile of K. Starts it; wgmma_wait_group() ends it.
template <typename T>
__device__ __forceinline__ void start_scores(float (&s)[T::kBlockKv / 2], const unsigned char* q_smem,
                                             const unsigned char* k_smem) {
  const std::uint64_t q_tile = wgmma_descriptor(q_smem), k_tile = wgmma_descriptor(k_smem);
  wgmma_fence();
#pragma unroll
  for (int d = 0; d < T::kHeadDim; d += 16) {
    const int panel = d / kPanel, within_bytes = d % kPanel * int(sizeof(half));
    wgmma(s, wgmma_advance(q_tile, panel * T::kBlockQ * kPanelRowBytes + within_bytes),
          wgmma_advance(k_tile, panel * T::kBlockKv * kPanelRowBytes + within_bytes), d > 0);
  }
  wgmma_commit_group();
}

// O += P V for a tile of V, likewise.
template <typename T>
__device__ __forceinline__ void start_output(float (&o)[T::kHeadDim / 2],
                                             const std::uint32_t (&p_frag)[T::kBlockKv / 16][4],
                                             const unsigned char* v_smem) {
  const std::uint64_t v_tile = wgmma_descriptor(v_smem, T::kBlockKv * kPanelRowBytes);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < T::kBlockKv / 16; ++k) {
    wgmma<Major::mn>(o, p_frag[k], wgmma_advance(v_tile, k * 16 * kPanelRowBytes), true);
  }
  wgmma_commit_group();
}
// [products]

// [online_softmax]
// What a thread knows of its two rows, 8 apart. Sums are of the thread's own columns until the end.
struct RowState {
  float m_i[2] = {kLowest, kLowest};  // running maximum, in units of s
  float l_i[2] = {0.f, 0.f};          // running sum
  float correction[2];                // what O is still to be multiplied by, where raise_maximum() said so
};

// Multiplies an accumulator, each row by its factor.
template <int kRegisters>
__device__ __forceinline__ void multiply(float (&accumulator)[kRegisters], const float (&factor)[2]) {
#pragma unroll
  for (int j = 0; j < kRegisters; ++j) accumulator[j] *= factor[j / 2 % 2];
}

// Masks the keys that a row does not see: columns from limit[] on, counted from the thread's first.
template <typename T>
__device__ __forceinline__ void mask(float (&s)[T::kBlockKv / 2], const int (&limit)[2]) {
#pragma unroll
  for (int j = 0; j < T::kBlockKv / 2; ++j) {
    if (j / 4 * 8 + j % 2 >= limit[j / 2 % 2]) s[j] = -INFINITY;
  }
}

// Raises m_i where a row of the warp has passed it by more than the slack, and says whether. As long as
// nobody has, no lane needs to know another's maximum: one vote, no shuffle.
template <typename T>
__device__ __forceinline__ bool raise_maximum(const float (&s)[T::kBlockKv / 2], RowState& rows,
                                              float exponent_scale, float slack) {
  float largest[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = fmaxf(s[2 * h], s[2 * h + 1]);
#pragma unroll
    for (int j = 4; j < T::kBlockKv / 2; j += 4) {
      largest[h] = fmaxf(largest[h], fmaxf(s[j + 2 * h], s[j + 2 * h + 1]));
    }
  }
  const bool passed = largest[0] - rows.m_i[0] > slack || largest[1] - rows.m_i[1] > slack;
  if (!__any_sync(kFullMask, passed)) return false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float m_new = fmaxf(rows.m_i[h], warp_reduce_max<4>(largest[h]));
    rows.correction[h] = ex2_approx((rows.m_i[h] - m_new) * exponent_scale);
    rows.l_i[h] *= rows.correction[h];
    rows.m_i[h] = m_new;
  }
  return true;
}

// Scores become exponentials.
template <typename T>
__device__ __forceinline__ void exponentials(float (&s)[T::kBlockKv / 2], RowState& rows,
                                             float exponent_scale) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const float shift = rows.m_i[h] * exponent_scale;
#pragma unroll
    for (int j = 2 * h; j < T::kBlockKv / 2; j += 4) {
      s[j] = ex2_approx(fmaf(s[j], exponent_scale, -shift));
      s[j + 1] = ex2_approx(fmaf(s[j + 1], exponent_scale, -shift));
      rows.l_i[h] += s[j] + s[j + 1];
    }
  }
}
// [online_softmax]

// The accumulators of two neighbouring 8-column blocks of S, packed to half, are an A operand of wgmma.
template <typename T>
__device__ __forceinline__ void to_half(std::uint32_t (&p_frag)[T::kBlockKv / 16][4],
                                        const float (&s)[T::kBlockKv / 2]) {
#pragma unroll
  for (int i = 0; i < T::kBlockKv / 4; ++i) p_frag[i / 4][i % 4] = pack(s[2 * i], s[2 * i + 1]);
}

template <typename Idea, typename T>
constexpr int kThreads = kGroupThreads*(T::kGroups + (Idea::kProducer ? 1 : 0));

template <typename Idea, typename T>
__global__ void __launch_bounds__(kThreads<Idea, T>, 1)
    long_kernel(Problem p, Order order, int* next_item, const __grid_constant__ CUtensorMap q_map,
                const __grid_constant__ CUtensorMap k_map, const __grid_constant__ CUtensorMap v_map,
                const __grid_constant__ CUtensorMap o_map) {
  constexpr int kQSlots = Smem<Idea, T>::kQSlots;
  auto& smem = *reinterpret_cast<Smem<Idea, T>*>(dynamic_smem);
  const int lane_id = threadIdx.x % 32;
  const int warp_id = __shfl_sync(kFullMask, threadIdx.x / 32, 0);  // visibly the same in all lanes
  const int group = warp_id / 4 - (Idea::kProducer ? 1 : 0);         // -1: the producer's

  if (threadIdx.x == 0) {
    for (int slot = 0; slot < kQSlots; ++slot) {
      mbarrier_init(&smem.q_full[slot], 1);
      mbarrier_init(&smem.q_empty[slot], 4 * T::kGroups);  // an arrival of each consumer warp
    }
    for (int slot = 0; slot < T::kStages; ++slot) {
      mbarrier_init(&smem.k_full[slot], 1);
      mbarrier_init(&smem.v_full[slot], 1);
      mbarrier_init(&smem.k_empty[slot], 4 * T::kGroups);
      mbarrier_init(&smem.v_empty[slot], 4 * T::kGroups);
    }
    fence_mbarrier_init();
  }
  __syncthreads();

  const Ring<Idea, T> ring{smem, q_map, k_map, v_map};

  // [producer]
  if (Idea::kProducer && group < 0) {
    setmaxnreg_dec<kProducerRegisters>();
    if (threadIdx.x != 0) return;
    int n = 0, index = blockIdx.x;
    for (int round = 0;; ++round) {
      const int slot = round % kQSlots;
      mbarrier_wait(&smem.q_empty[slot], round / kQSlots % 2 ^ 1);
      const Item item = item_of<T>(p, order, index);
      smem.item[slot] = item;
      if (item.tiles == 0) {
        mbarrier_arrive(&smem.q_full[slot]);  // no Q: that was all
        return;
      }
      ring.load_q(slot, item);
      ring.load_k(n, item, item.tiles - 1);
      for (int tile = item.tiles - 1; tile >= 0; --tile, ++n) {
        if (tile > 0) ring.load_k(n + 1, item, tile - 1);
        ring.load_v(n, item, tile);
      }
      if constexpr (!Idea::kPersistent) return;
      index = int(gridDim.x) + atomicAdd(next_item, 1);
    }
  }
  // [producer]
  if constexpr (Idea::kProducer) setmaxnreg_inc<kConsumerRegisters>();

  const int group_thread = threadIdx.x % kGroupThreads;
  const int thread_row = group_thread / 32 * 16 + lane_id / 4;  // of the warpgroup's 64; the other is 8 below
  const bool one_of_warp = lane_id == 0, one_of_group = group_thread == 0;
  // A positive scale keeps the order of scores, so it waits for the exponent; any other is applied first.
  const float scale_log2 = p.scale * kLog2e;
  const bool scale_first = !(scale_log2 > 0.f);
  const float exponent_scale = scale_first ? 1.f : scale_log2;
  const float slack = kRescaleSlack / exponent_scale;

  float s[T::kBlockKv / 2];
  std::uint32_t p_frag[T::kBlockKv / 16][4];
  float o[T::kHeadDim / 2] = {};
  RowState rows;
  int keys[2], whole_tiles;  // what the thread's rows see; tiles that all rows of the warpgroup see in full
  int n = 0, round = 0;      // tiles and items that this warp is done with

  // [steps]
  // The block's next item, once its Q is there.
  const auto take_item = [&] {
    const int slot = round % kQSlots;
    if (!Idea::kProducer && threadIdx.x == 0) ring.load_q(slot, item_of<T>(p, order, blockIdx.x));
    mbarrier_wait(&smem.q_full[slot], round / kQSlots % 2);
    ++round;
    return Idea::kPersistent ? smem.item[slot] : item_of<T>(p, order, blockIdx.x);
  };
  const auto start_rows = [&](const Item& item) {
    const int first_row = item.first_row + group * kGroupQ;
    rows = {};
    for (int h = 0; h < 2; ++h) keys[h] = visible_keys(p, first_row + thread_row + 8 * h);
    whole_tiles = visible_keys(p, first_row) / T::kBlockKv;
  };
  const auto scores_of = [&](int number) {
    start_scores<T>(s, smem.q[(round - 1) % kQSlots] + group * kGroupQ * kPanelRowBytes,
                    smem.k[number % T::kStages]);
  };
  // Once S is there: this warp reads the tile of K, and after an item's last one also its Q, no more.
  const auto release_k = [&](int number, int tile) {
    if (one_of_warp) mbarrier_arrive(&smem.k_empty[number % T::kStages]);
    if (one_of_warp && tile == 0) mbarrier_arrive(&smem.q_empty[(round - 1) % kQSlots]);
  };
  const auto release_v = [&](int number) {
    if (one_of_warp) mbarrier_arrive(&smem.v_empty[number % T::kStages]);
  };
  const auto wait_k = [&](int number) {
    mbarrier_wait(&smem.k_full[number % T::kStages], number / T::kStages % 2);
  };
  const auto wait_v = [&](int number) {
    mbarrier_wait(&smem.v_full[number % T::kStages], number / T::kStages % 2);
  };
  // S becomes exponentials; whether O has to be multiplied by rows.correction.
  const auto softmax = [&](int tile) {
    if (scale_first) multiply(s, {scale_log2, scale_log2});
    if (tile >= whole_tiles) {
      const int first_key = tile * T::kBlockKv + lane_id % 4 * 2;
      mask<T>(s, {keys[0] - first_key, keys[1] - first_key});
    }
    const bool raised = raise_maximum<T>(s, rows, exponent_scale, slack);
    exponentials<T>(s, rows, exponent_scale);
    return raised;
  };
  const auto store = [&](const Item& done, const float(&l_i)[2]) {
    float inverse[2];
    for (int h = 0; h < 2; ++h) {
      const float sum = warp_reduce_sum<4>(l_i[h]);
      inverse[h] = sum == 0.f ? 0.f : 1.f / sum;  // 0: a row that sees no key
    }
    if (one_of_group) cp_async_bulk_wait_group_read<0>();  // the last item's rows have left
    bar_sync(kStoreBarrier + group, kGroupThreads);
    unsigned char* o_smem = smem.o + group * kGroupQ * kPanelRowBytes;
#pragma unroll
    for (int j = 0; j < T::kHeadDim / 2; j += 2) {
      const int row = thread_row + j / 2 % 2 * 8, chunk = j / 4;
      unsigned char* panel = o_smem + chunk / 8 * T::kBlockQ * kPanelRowBytes;
      *reinterpret_cast<std::uint32_t*>(panel + row * kPanelRowBytes + (chunk % 8 ^ row % 8) * 16 +
                                        lane_id % 4 * 4) =
          pack(o[j] * inverse[j / 2 % 2], o[j + 1] * inverse[j / 2 % 2]);
    }
    fence_proxy_async();
    bar_sync(kStoreBarrier + group, kGroupThreads);
    if (one_of_group) {
      for (int panel = 0; panel < T::kHeadDim / kPanel; ++panel) {
        tma_store(o_smem + panel * T::kBlockQ * kPanelRowBytes, &o_map, panel,
                  done.first_row + group * kGroupQ, done.head);
      }
      cp_async_bulk_commit_group();
    }
  };
  // [steps]

  Item item = take_item();
  start_rows(item);
  int tile = item.tiles - 1;  // the last of the keys first
  if constexpr (!Idea::kPingPong) {
    // [in_order]
    const bool loads = !Idea::kProducer && threadIdx.x == 0;
    for (int i = 0; loads && i < min(T::kStages, item.tiles); ++i) {
      ring.load_k(i, item, item.tiles - 1 - i);
      ring.load_v(i, item, item.tiles - 1 - i);
    }
    for (; tile >= 0; --tile, ++n) {
      wait_k(n);
      scores_of(n);
      wgmma_wait_group<0>(s);
      release_k(n, tile);
      if (softmax(tile)) multiply(o, rows.correction);
      to_half<T>(p_frag, s);
      wait_v(n);
      start_output<T>(o, p_frag, smem.v[n % T::kStages]);
      wgmma_wait_group<0>(o);
      release_v(n);
      if (loads && tile >= T::kStages) {
        ring.load_k(n + T::kStages, item, tile - T::kStages);
        ring.load_v(n + T::kStages, item, tile - T::kStages);
      }
    }
    // [in_order]
  } else {
    // [turns]
    // A warpgroup starts its products when the one before it has started its own.
    const auto wait_turn = [&] { bar_sync(kTurnBarrier + group, 2 * kGroupThreads); };
    const auto pass_turn = [&] { bar_arrive(kTurnBarrier + (group + 1) % T::kGroups, 2 * kGroupThreads); };
    if (group == T::kGroups - 1) pass_turn();
    // [turns]

    wait_k(n);
    wait_turn();
    scores_of(n);
    pass_turn();
    wgmma_wait_group<0>(s);
    release_k(n, tile);
    softmax(tile);
    to_half<T>(p_frag, s);
    // [pipelined]
    // P is that of `tile`, number n. Starts the scores of what comes next, the tile before it or, where its
    // item ends, the last tile of another; multiplies P by V; makes the next P.
    const auto step = [&](auto item_ends, const Item& next) {
      tile = item_ends ? next.tiles - 1 : tile - 1;
      wait_k(n + 1);
      wait_turn();
      scores_of(n + 1);
      wait_v(n);
      start_output<T>(o, p_frag, smem.v[n % T::kStages]);
      pass_turn();
      if constexpr (Idea::kOverlap) {
        wgmma_wait_group<1>(s);
      } else {
        wgmma_wait_group<0>(s, o);
      }
      release_k(n + 1, tile);
      const float l_i[2] = {rows.l_i[0], rows.l_i[1]};
      if (item_ends) start_rows(next);
      const bool raised = softmax(tile);
      if constexpr (Idea::kOverlap) {
        // Nothing else would keep the compiler from moving the wait up, to before the softmax. A branch that
        // needs the sums does; they are never negative, so it is never taken.
        if (rows.l_i[0] + rows.l_i[1] < 0.f) __syncwarp();
        wgmma_wait_group<0>(o);
      }
      release_v(n);
      if (item_ends) {
        store(item, l_i);
#pragma unroll
        for (int j = 0; j < T::kHeadDim / 2; ++j) o[j] = 0.f;
      } else if (raised) {
        multiply(o, rows.correction);
      }
      to_half<T>(p_frag, s);
      ++n;
    };
    for (;;) {
      // The votes show the compiler that all lanes go the same way: it works out addresses once a warp.
      while (__any_sync(kFullMask, tile > 0)) step(std::false_type(), item);
      if constexpr (!Idea::kPersistent) break;
      const Item next = take_item();
      if (__any_sync(kFullMask, next.tiles == 0)) break;
      step(std::true_type(), next);
      item = next;
    }
    // [pipelined]
    wait_v(n);
    start_output<T>(o, p_frag, smem.v[n % T::kStages]);
    wgmma_wait_group<0>(o);
  }
  store(item, rows.l_i);
  if (one_of_group) cp_async_bulk_wait_group_read<0>();
}

// [launch]
template <typename Idea, typename T>
cudaError_t launch_tile(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  const int heads = p.batch * p.heads, kv_heads = p.batch * p.kv_heads;
  CUtensorMap q_map, k_map, v_map, o_map;
  cudaError_t status = make_tensor_map(&q_map, t.q, heads, p.seq_q, p.head_dim, T::kBlockQ, p.head_dim);
  if (status == cudaSuccess) {
    status = make_tensor_map(&k_map, t.k, kv_heads, p.seq_kv, p.head_dim, T::kBlockKv, p.head_dim);
  }
  if (status == cudaSuccess) {
    status = make_tensor_map(&v_map, t.v, kv_heads, p.seq_kv, p.head_dim, T::kBlockKv, p.head_dim);
  }
  if (status == cudaSuccess) {
    status = make_tensor_map(&o_map, t.o, heads, p.seq_q, p.head_dim, kGroupQ, kPanel);
  }
  // Sections of equal size: a small one at the end would have its longest rows last.
  const int heads_in_l2 = 1 + int(kSectionBytes / (std::size_t(p.seq_kv) * p.head_dim * 2 * sizeof(half)));
  const int sections = int(ceil_div(heads, heads_in_l2));
  Order order;
  order.blocks_per_head = int(ceil_div(p.seq_q, T::kBlockQ));
  order.items = order.blocks_per_head * heads;
  order.heads_together = p.causal ? int(ceil_div(heads, sections)) : 1;
  int blocks = order.items;
  if (Idea::kPersistent) {
    int sms = 0;
    if (status == cudaSuccess) status = device_attribute(&sms, cudaDevAttrMultiProcessorCount);
    if (status == cudaSuccess) status = cudaMemsetAsync(workspace, 0, sizeof(int), stream);
    blocks = std::min(blocks, sms);
  }
  if (status != cudaSuccess) return status;
  return launch(long_kernel<Idea, T>, dim3(unsigned(blocks)), dim3(kThreads<Idea, T>), sizeof(Smem<Idea, T>),
                stream, p, order, static_cast<int*>(workspace), q_map, k_map, v_map, o_map);
}

template <typename Idea>
cudaError_t launch_long(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return p.head_dim == 64 ? launch_tile<Idea, LongTile<64>>(p, t, workspace, stream)
                          : launch_tile<Idea, LongTile<128>>(p, t, workspace, stream);
}
// [launch]

}  // namespace

cudaError_t tma_pipeline(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_long<TmaPipeline>(p, t, workspace, stream);
}

cudaError_t warp_specialized(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_long<WarpSpecialized>(p, t, workspace, stream);
}

cudaError_t ping_pong(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_long<PingPong>(p, t, workspace, stream);
}

cudaError_t intra_overlap(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_long<IntraOverlap>(p, t, workspace, stream);
}

cudaError_t persistent(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_long<Persistent>(p, t, workspace, stream);
}

}  // namespace attention::tuned
