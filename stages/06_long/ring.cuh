#pragma once

// The TMA loads, and the maps that they need.
#include "attention/hopper.cuh"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"
#include "order.cuh"

namespace attention::long_rows {

// [ring]
// The loads of K and V by one thread. Tile number n of the block has slot n % kStages, whose barriers are
// then in their phase n / kStages.
template <typename T, typename Smem>
struct Ring {
  Smem& smem;
  const CUtensorMap &k_map, &v_map;

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

struct Maps {
  CUtensorMap q, k, v, o;
};

// Boxes: a row block of Q, a tile of K or V, one panel of a warpgroup's rows of O.
template <typename T>
cudaError_t make_maps(Maps* maps, const Problem& p, const Tensors& t) {
  const int heads = p.batch * p.heads, kv_heads = p.batch * p.kv_heads;
  for (const cudaError_t status :
       {make_tensor_map(&maps->q, t.q, heads, p.seq_q, p.head_dim, T::kBlockQ, p.head_dim),
        make_tensor_map(&maps->k, t.k, kv_heads, p.seq_kv, p.head_dim, T::kBlockKv, p.head_dim),
        make_tensor_map(&maps->v, t.v, kv_heads, p.seq_kv, p.head_dim, T::kBlockKv, p.head_dim),
        make_tensor_map(&maps->o, t.o, heads, p.seq_q, p.head_dim, kGroupQ, kPanel)}) {
    if (status != cudaSuccess) return status;
  }
  return cudaSuccess;
}

}  // namespace attention::long_rows
