// ping_pong: warpgroups take turns at the tensor cores. A warpgroup in its turn issues both products at once,
// O += P V of one tile and the scores of the next; after that the other warpgroups have theirs while it runs
// its softmax.
//
// Bound by the wait of a warpgroup for its own products: its softmax begins when both have ended.
//
// The step before: diff -u stages/06_long/warp_specialized.cu stages/06_long/ping_pong.cu
#include <cuda_fp16.h>

#include <cstdint>

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
  alignas(1024) unsigned char q[T::kQBytes];
  alignas(1024) unsigned char k[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char v[T::kStages][T::kKvBytes];
  alignas(1024) unsigned char o[T::kQBytes];
  Mbarrier q_full;
  Mbarrier k_full[T::kStages], k_empty[T::kStages];
  Mbarrier v_full[T::kStages], v_empty[T::kStages];
};
// [smem]

template <typename T>
constexpr int kThreads = T::kConsumerThreads + kGroupThreads;

template <typename T>
__global__ void __launch_bounds__(kThreads<T>, 1)
    long_kernel(Problem p, Order order, const __grid_constant__ Maps maps) {
  auto& smem = *reinterpret_cast<Smem<T>*>(dynamic_smem);
  const int lane_id = threadIdx.x % 32;
  // Broadcast from lane 0, so that the compiler can prove it warp-uniform.
  const int warp_id = __shfl_sync(kFullMask, threadIdx.x / 32, 0);
  const int group = warp_id / 4 - 1;  // -1: the producer's

  if (threadIdx.x == 0) {
    mbarrier_init(&smem.q_full, 1);
    for (int slot = 0; slot < T::kStages; ++slot) {
      mbarrier_init(&smem.k_full[slot], 1);
      mbarrier_init(&smem.v_full[slot], 1);
      mbarrier_init(&smem.k_empty[slot], 4 * T::kGroups);  // one arrival of each consumer warp
      mbarrier_init(&smem.v_empty[slot], 4 * T::kGroups);
    }
    fence_mbarrier_init();
  }
  __syncthreads();

  const Item item = item_of<T>(p, order, blockIdx.x);
  const Ring<T, Smem<T>> ring{smem, maps.k, maps.v};

  // [producer]
  if (group < 0) {
    setmaxnreg_dec<kProducerRegisters>();
    if (threadIdx.x != 0) return;
    mbarrier_arrive_expect_tx(&smem.q_full, T::kQBytes);
    tma_load(smem.q, &maps.q, 0, item.first_row, item.head, &smem.q_full);
    ring.load_k(0, item, item.tiles - 1);
    for (int n = 0, tile = item.tiles - 1; tile >= 0; --tile, ++n) {
      if (tile > 0) ring.load_k(n + 1, item, tile - 1);
      ring.load_v(n, item, tile);
    }
    return;
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
  mbarrier_wait(&smem.q_full, 0);
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
    start_scores<T>(s, smem.q + group * kGroupQ * kPanelRowBytes, smem.k[number % T::kStages]);
  };
  // Once S is there, this warp does not read the tile of K again.
  const auto release_k = [&](int number) {
    if (one_of_warp) mbarrier_arrive(&smem.k_empty[number % T::kStages]);
  };
  const auto release_v = [&](int number) {
    if (one_of_warp) mbarrier_arrive(&smem.v_empty[number % T::kStages]);
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
  // P is that of `tile`, number n. Each step starts the scores of the tile before it, multiplies P by V, and
  // makes the next P. The vote shows the compiler that all lanes go the same way: it works out addresses once
  // per warp.
  while (__any_sync(kFullMask, tile > 0)) {
    --tile;
    wait_k(n + 1);
    wait_turn();
    scores_of(n + 1);
    wait_v(n);
    start_output<T>(o, p_frag, smem.v[n % T::kStages]);
    pass_turn();
    wgmma_wait_group<0>(s, o);
    release_k(n + 1);
    release_v(n);
    if (softmax<T>(s, tile, rows, scale)) multiply(o, rows.correction);
    to_half<T>(p_frag, s);
    ++n;
  }
  // [pipelined]
  wait_v(n);
  start_output<T>(o, p_frag, smem.v[n % T::kStages]);
  wgmma_wait_group<0>(o);
  store<T>(o, rows.l_i, smem.o, maps.o, item, group, thread_row);
  if (one_of_group) cp_async_bulk_wait_group_read<0>();
}

// [launch]
template <typename T>
cudaError_t launch_long(const Problem& p, const Tensors& t, cudaStream_t stream) {
  Maps maps;
  const cudaError_t status = make_maps<T>(&maps, p, t);
  const Order order = order_of<T>(p);
  if (status != cudaSuccess) return status;
  return launch(long_kernel<T>, dim3(unsigned(order.items)), dim3(kThreads<T>), sizeof(Smem<T>), stream, p,
                order, maps);
}
// [launch]

}  // namespace

cudaError_t ping_pong(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return p.head_dim == 64 ? launch_long<LongTile<64>>(p, t, stream)
                          : launch_long<LongTile<128>>(p, t, stream);
}

}  // namespace attention::long_rows
