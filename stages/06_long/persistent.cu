// persistent: one block per SM takes row block after row block until none is left. Its loop over tiles does
// not stop between them: the first scores of the next row block overlap with the last O += P V of this one,
// and O leaves by TMA meanwhile. The producer draws row blocks from a counter in global memory and loads the
// next Q early, into a second buffer.
//
// Bound as intra_overlap is; where rows are short and blocks many, their starts and ends are hidden too.
//
// The step before: diff -u stages/06_long/intra_overlap.cu stages/06_long/persistent.cu
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "order.cuh"
#include "products.cuh"
#include "ring.cuh"
#include "softmax.cuh"
#include "store.cuh"
#include "tile.cuh"

namespace attention::long_rows {
namespace {

// Registers per thread. Four warpgroups share 65536 / 128 = 512: three consumers and the producer.
constexpr int kConsumerRegisters = 160, kProducerRegisters = 32;
static_assert(3 * kConsumerRegisters + kProducerRegisters <= 512);
// Named barriers 1, 2 and 3: it is the turn of warpgroup 0, 1 or 2.
constexpr int kTurnBarrier = 1;

// [smem]
// The block's shared memory: tiles first, each at a multiple of 1024 bytes.
template <typename T>
struct Smem {
  alignas(1024) unsigned char q[2][T::kQBytes];  // the next row block's Q is loaded early
  alignas(1024) unsigned char k[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char v[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char o[T::kQBytes];
  Mbarrier q_full[2], q_empty[2];
  Mbarrier k_full[T::kStages], k_empty[T::kStages];
  Mbarrier v_full[T::kStages], v_empty[T::kStages];
  Item item[2];  // whose rows Q has
};
// [smem]

template <typename T>
constexpr int kThreads = T::kConsumerThreads + kGroupThreads;

template <typename T>
__global__ void __launch_bounds__(kThreads<T>, 1)
    long_kernel(Problem p, Order order, int* next_item, const __grid_constant__ Maps maps) {
  auto& smem = *reinterpret_cast<Smem<T>*>(dynamic_smem);
  const int lane_id = threadIdx.x % 32;
  // Broadcast from lane 0, so that the compiler can prove it warp-uniform.
  const int warp_id = __shfl_sync(kFullMask, threadIdx.x / 32, 0);
  const int group = warp_id / 4 - 1;  // -1: the producer's

  if (threadIdx.x == 0) {
    for (int slot = 0; slot < 2; ++slot) {
      mbarrier_init(&smem.q_full[slot], 1);
      mbarrier_init(&smem.q_empty[slot], 4 * T::kGroups);  // one arrival of each consumer warp
    }
    for (int slot = 0; slot < T::kStages; ++slot) {
      mbarrier_init(&smem.k_full[slot], 1);
      mbarrier_init(&smem.v_full[slot], 1);
      mbarrier_init(&smem.k_empty[slot], 4 * T::kGroups);  // one arrival of each consumer warp
      mbarrier_init(&smem.v_empty[slot], 4 * T::kGroups);
    }
    fence_mbarrier_init();
  }
  __syncthreads();

  const Ring<T, Smem<T>> ring{smem, maps.k, maps.v};

  // [producer]
  if (group < 0) {
    setmaxnreg_dec<kProducerRegisters>();
    if (threadIdx.x != 0) return;
    int n = 0, index = blockIdx.x;
    for (int round = 0;; ++round) {
      const int slot = round % 2;
      mbarrier_wait(&smem.q_empty[slot], round / 2 % 2 ^ 1);
      const Item item = item_of<T>(p, order, index);
      smem.item[slot] = item;
      if (item.tiles == 0) {
        mbarrier_arrive(&smem.q_full[slot]);  // no Q: no row block is left
        return;
      }
      mbarrier_arrive_expect_tx(&smem.q_full[slot], T::kQBytes);
      tma_load(smem.q[slot], &maps.q, 0, item.first_row, item.head, &smem.q_full[slot]);
      ring.load_k(n, item, item.tiles - 1);
      for (int tile = item.tiles - 1; tile >= 0; --tile, ++n) {
        if (tile > 0) ring.load_k(n + 1, item, tile - 1);
        ring.load_v(n, item, tile);
      }
      index = int(gridDim.x) + atomicAdd(next_item, 1);
    }
  }
  // [producer]
  setmaxnreg_inc<kConsumerRegisters>();

  const int group_thread = threadIdx.x % kGroupThreads;
  const int thread_row = group_thread / 32 * 16 + lane_id / 4;  // of the warpgroup's 64; the other is 8 below
  const bool one_of_warp = lane_id == 0, one_of_group = group_thread == 0;
  const Scale scale(p);
  float s[T::kBlockKv / 2];
  std::uint32_t p_frag[T::kBlockKv / 16][4];
  float o[T::kHeadDim / 2] = {};

  // The block's next row block, once its Q is there.
  int round = 0;  // how many it has taken
  const auto take_item = [&] {
    const int slot = round % 2;
    mbarrier_wait(&smem.q_full[slot], round / 2 % 2);
    ++round;
    return smem.item[slot];
  };
  Item item = take_item();
  RowState rows = start_rows<T>(p, item.first_row + group * kGroupQ, thread_row);
  int tile = item.tiles - 1;  // the last of the keys first
  int n = 0;                  // tiles that this warp is done with

  // [steps]
  const auto wait_k = [&](int number) {
    mbarrier_wait(&smem.k_full[number % T::kStages], number / T::kStages % 2);
  };
  const auto wait_v = [&](int number) {
    mbarrier_wait(&smem.v_full[number % T::kStages], number / T::kStages % 2);
  };
  const auto scores_of = [&](int number) {
    start_scores<T>(s, smem.q[(round - 1) % 2] + group * kGroupQ * kPanelRowBytes,
                    smem.k[number % T::kStages]);
  };
  // Once S is there, this warp does not read the tile of K again, nor, after a row block's last tile, its Q.
  const auto release_k = [&](int number) {
    if (one_of_warp) mbarrier_arrive(&smem.k_empty[number % T::kStages]);
    if (one_of_warp && tile == 0) mbarrier_arrive(&smem.q_empty[(round - 1) % 2]);
  };
  const auto release_v = [&](int number) {
    if (one_of_warp) mbarrier_arrive(&smem.v_empty[number % T::kStages]);
  };
  // WAR: before O is staged again, TMA must have read the last row block's from there.
  const auto store_rows = [&](const Item& done, const float(&l_i)[2]) {
    if (one_of_group) cp_async_bulk_wait_group_read<0>();
    bar_sync(kStoreBarrier + group, kGroupThreads);
    store<T>(o, l_i, smem.o, maps.o, done, group, thread_row);
  };
  // [steps]

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
  release_k(n);
  softmax<T>(s, tile, rows, scale);
  to_half<T>(p_frag, s);
  // [pipelined]
  // P is that of `tile`, number n. Each step starts the scores of what comes next, the tile before it or,
  // where the row block ends, the last tile of another; multiplies P by V; and makes the next P.
  const auto step = [&](auto item_ends, const Item& next) {
    tile = item_ends ? next.tiles - 1 : tile - 1;
    wait_k(n + 1);
    wait_turn();
    scores_of(n + 1);
    wait_v(n);
    start_output<T>(o, p_frag, smem.v[n % T::kStages]);
    pass_turn();
    wgmma_wait_group<1>(s);
    release_k(n + 1);
    const float l_i[2] = {rows.l_i[0], rows.l_i[1]};
    if (item_ends) rows = start_rows<T>(p, next.first_row + group * kGroupQ, thread_row);
    const bool raised = softmax<T>(s, tile, rows, scale);
    // Nothing else would keep the compiler from moving the wait up, to before the softmax. A branch that
    // needs the sums does; they are never negative, so it is never taken.
    if (rows.l_i[0] + rows.l_i[1] < 0.f) __syncwarp();
    wgmma_wait_group<0>(o);
    release_v(n);
    if (item_ends) {
      store_rows(item, l_i);
#pragma unroll
      for (int j = 0; j < T::kHeadDim / 2; ++j) o[j] = 0.f;
    } else if (raised) {
      multiply(o, rows.correction);
    }
    to_half<T>(p_frag, s);
    ++n;
  };
  for (;;) {
    // The votes show the compiler that all lanes go the same way: it works out addresses once per warp.
    while (__any_sync(kFullMask, tile > 0)) step(std::false_type(), item);
    const Item next = take_item();
    if (__any_sync(kFullMask, next.tiles == 0)) break;
    step(std::true_type(), next);
    item = next;
  }
  // [pipelined]
  wait_v(n);
  start_output<T>(o, p_frag, smem.v[n % T::kStages]);
  wgmma_wait_group<0>(o);
  store_rows(item, rows.l_i);
  if (one_of_group) cp_async_bulk_wait_group_read<0>();
}

// [launch]
template <typename T>
cudaError_t launch_long(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  Maps maps;
  cudaError_t status = make_maps<T>(&maps, p, t);
  const Order order = order_of<T>(p);
  int sms = 0;
  if (status == cudaSuccess) status = device_attribute(&sms, cudaDevAttrMultiProcessorCount);
  if (status == cudaSuccess) status = cudaMemsetAsync(workspace, 0, sizeof(int), stream);
  if (status != cudaSuccess) return status;
  return launch(long_kernel<T>, dim3(unsigned(std::min(order.items, sms))), dim3(kThreads<T>),
                sizeof(Smem<T>), stream, p, order, static_cast<int*>(workspace), maps);
}
// [launch]

}  // namespace

cudaError_t persistent(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return p.head_dim == 64 ? launch_long<LongTile<64>>(p, t, workspace, stream)
                          : launch_long<LongTile<128>>(p, t, workspace, stream);
}

}  // namespace attention::long_rows
