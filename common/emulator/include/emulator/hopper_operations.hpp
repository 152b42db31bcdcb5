#pragma once

#include <cuda.h>

#include <cstdint>

#include "emulator/site.hpp"

// What the wrappers of attention/hopper.cuh stand on.

namespace emulator {

// Callers inline into the kernel, so that the return address of a call here is a place in the kernel.

// ---- mbarrier ----

void mbarrier_init(std::uint64_t* barrier, unsigned arrivals, Site site);
void fence_mbarrier_init();
/// Arrives at the barrier's place in block `rank` of the cluster, and makes the phase wait for `bytes` more.
void mbarrier_arrive(std::uint64_t* barrier, unsigned rank, unsigned bytes, Site site);
/// Returns when the phase of this parity has ended.
void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Site site);

// ---- Bulk copies: they land when no thread of the block can run, in any order ----

void async_proxy_fence();
void cp_async_bulk(void* to, const void* from, unsigned bytes, std::uint64_t* barrier, Site site);
struct TileIndex {
  int panel, row, head;
};
/// To the same place in each block of the cluster whose bit is set in `ranks`.
void tile_load(void* to, const CUtensorMap* map, TileIndex at, std::uint64_t* barrier, unsigned ranks,
               Site site);
/// Read and written when this thread waits for it.
void tile_store(const void* from, const CUtensorMap* map, TileIndex at, Site site);
void cp_async_bulk_commit_group();
/// Waits until at most `groups` groups of this thread's stores are outstanding.
void cp_async_bulk_wait_group(int groups);

// ---- Clusters ----

__attribute__((const)) unsigned cluster_ctarank();
/// A number for a place in the shared memory of block `rank`.
std::uint32_t mapa(const void* pointer, unsigned rank, Site site);
/// Lands like a bulk copy; `to` and `barrier` are from mapa().
void store_async(std::uint32_t to, const void* value, int bytes, std::uint32_t barrier, Site site);
/// Relaxed: without a promise about memory.
void cluster_arrive(bool relaxed, Site site);
void cluster_wait(Site site);

// ---- Warpgroups: done by all lanes of a warp together ----

void setmaxnreg_inc(int registers, Site site);
void setmaxnreg_dec(int registers, Site site);

/// What wgmma takes for a tile in shared memory, in the PTX ISA's format.
std::uint64_t matrix_descriptor(const void* tile, int leading_bytes, int stride_bytes, Site site);

enum class OperandMajor { k, mn };
struct WarpgroupProduct {
  float* d;
  int count;               ///< floats of `d`: half of N
  const std::uint32_t* a;  ///< four registers, or null: then `a_tile`
  std::uint64_t a_tile, b_tile;
  OperandMajor a_major, b_major;
  bool accumulate;
};
/// Carried out when the warp waits for it: until then `d` is poisoned and the tiles are not read.
void warpgroup_multiply(const WarpgroupProduct& product, Site site);
void warpgroup_fence(Site site);
void warpgroup_commit(Site site);
void warpgroup_wait(int groups, Site site);

}  // namespace emulator
