#pragma once

// Hopper's instructions: the emulated device's twin of common/include/attention/hopper.cuh, which says what
// each one does. An emulated build finds this header first.

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "attention/ptx.cuh"
#include "emulator/hopper_operations.hpp"

namespace attention {

// ---- mbarrier ----

using Mbarrier = std::uint64_t;

__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, unsigned arrivals, EMULATOR_SITE) {
  ::emulator::mbarrier_init(barrier, arrivals, site);
}
__device__ __forceinline__ void fence_mbarrier_init() {
  ::emulator::fence_mbarrier_init();
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier, EMULATOR_SITE) {
  ::emulator::mbarrier_arrive(barrier, ::emulator::cluster_ctarank(), 0, site);
}
__device__ __forceinline__ void mbarrier_arrive_expect_tx(Mbarrier* barrier, unsigned bytes, EMULATOR_SITE) {
  ::emulator::mbarrier_arrive(barrier, ::emulator::cluster_ctarank(), bytes, site);
}
__device__ __forceinline__ void mbarrier_arrive_cluster(Mbarrier* barrier, unsigned rank, EMULATOR_SITE) {
  ::emulator::mbarrier_arrive(barrier, rank, 0, site);
}
// The instruction may wait a while before it answers. Here it waits until the answer is yes.
__device__ __forceinline__ bool mbarrier_try_wait(Mbarrier* barrier, unsigned parity, EMULATOR_SITE) {
  ::emulator::mbarrier_wait(barrier, parity, site);
  return true;
}
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, unsigned parity, EMULATOR_SITE) {
  ::emulator::mbarrier_wait(barrier, parity, site);
}

// ---- Bulk copies ----

__device__ __forceinline__ void fence_proxy_async() {
  ::emulator::async_proxy_fence();
}
__device__ __forceinline__ void cp_async_bulk(void* dst_smem, const void* src_gmem, unsigned bytes,
                                              Mbarrier* barrier, EMULATOR_SITE) {
  ::emulator::cp_async_bulk(dst_smem, src_gmem, bytes, barrier, site);
}
__device__ __forceinline__ void prefetch_tensormap(const CUtensorMap*) {}
__device__ __forceinline__ void tma_load(void* tile_smem, const CUtensorMap* map, int panel, int row,
                                         int head, Mbarrier* barrier, EMULATOR_SITE) {
  ::emulator::tile_load(tile_smem, map, {panel, row, head}, barrier, 1u << ::emulator::cluster_ctarank(),
                        site);
}
__device__ __forceinline__ void tma_load_multicast(void* tile_smem, const CUtensorMap* map, int panel,
                                                   int row, int head, Mbarrier* barrier, std::uint16_t ranks,
                                                   EMULATOR_SITE) {
  ::emulator::tile_load(tile_smem, map, {panel, row, head}, barrier, ranks, site);
}
__device__ __forceinline__ void tma_store(const void* tile_smem, const CUtensorMap* map, int panel, int row,
                                          int head, EMULATOR_SITE) {
  ::emulator::tile_store(tile_smem, map, {panel, row, head}, site);
}
__device__ __forceinline__ void cp_async_bulk_commit_group() {
  ::emulator::cp_async_bulk_commit_group();
}
// A store reads its tile and writes global memory at once, so both waits are the same.
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
  static_assert(Groups >= 0);
  ::emulator::cp_async_bulk_wait_group(Groups);
}
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group() {
  static_assert(Groups >= 0);
  ::emulator::cp_async_bulk_wait_group(Groups);
}

// ---- One thread of many ----

__device__ __forceinline__ bool elect_sync(EMULATOR_SITE) {
  ::emulator::ballot(::emulator::Vote::elect, 0xffffffffu, true, site);
  return ::emulator::lane_index() == 0;
}

// ---- Registers ----

template <int Registers>
__device__ __forceinline__ void setmaxnreg_inc(EMULATOR_SITE) {
  static_assert(Registers >= 24 && Registers <= 256 && Registers % 8 == 0);
  ::emulator::setmaxnreg_inc(Registers, site);
}
template <int Registers>
__device__ __forceinline__ void setmaxnreg_dec(EMULATOR_SITE) {
  static_assert(Registers >= 24 && Registers <= 256 && Registers % 8 == 0);
  ::emulator::setmaxnreg_dec(Registers, site);
}

// ---- Clusters ----

__device__ __forceinline__ unsigned cluster_ctarank() {
  return ::emulator::cluster_ctarank();
}
__device__ __forceinline__ void cluster_arrive(EMULATOR_SITE) {
  ::emulator::cluster_arrive(false, site);
}
__device__ __forceinline__ void cluster_arrive_relaxed(EMULATOR_SITE) {
  ::emulator::cluster_arrive(true, site);
}
__device__ __forceinline__ void cluster_wait(EMULATOR_SITE) {
  ::emulator::cluster_wait(site);
}
__device__ __forceinline__ std::uint32_t mapa(const void* pointer, unsigned rank, EMULATOR_SITE) {
  return ::emulator::mapa(pointer, rank, site);
}
__device__ __forceinline__ void st_async(std::uint32_t dst, float4 value, std::uint32_t barrier,
                                         EMULATOR_SITE) {
  ::emulator::store_async(dst, &value, 16, barrier, site);
}
__device__ __forceinline__ void st_async(std::uint32_t dst, float2 value, std::uint32_t barrier,
                                         EMULATOR_SITE) {
  ::emulator::store_async(dst, &value, 8, barrier, site);
}

// ---- wgmma ----

enum class Major { k = 0, mn = 1 };

__device__ __forceinline__ std::uint64_t wgmma_descriptor(const void* tile_smem, int panel_bytes = 16,
                                                          EMULATOR_SITE) {
  return ::emulator::matrix_descriptor(tile_smem, panel_bytes, 1024, site);
}
__device__ __forceinline__ std::uint64_t wgmma_advance(std::uint64_t tile, int bytes) {
  return tile + (bytes >> 4);
}
__device__ __forceinline__ void wgmma_fence(EMULATOR_SITE) {
  ::emulator::warpgroup_fence(site);
}
__device__ __forceinline__ void wgmma_commit_group(EMULATOR_SITE) {
  ::emulator::warpgroup_commit(site);
}

// The emulated device knows which registers its products write, so it need not be told.
template <int Groups>
__device__ __forceinline__ void wgmma_wait_group(EMULATOR_SITE) {
  ::emulator::warpgroup_wait(Groups, site);
}
template <int Groups, int A>
__device__ __forceinline__ void wgmma_wait_group(float (&)[A], EMULATOR_SITE) {
  ::emulator::warpgroup_wait(Groups, site);
}
template <int Groups, int A, int B>
__device__ __forceinline__ void wgmma_wait_group(float (&)[A], float (&)[B], EMULATOR_SITE) {
  ::emulator::warpgroup_wait(Groups, site);
}
template <int Groups, int A, int B, int C>
__device__ __forceinline__ void wgmma_wait_group(float (&)[A], float (&)[B], float (&)[C], EMULATOR_SITE) {
  ::emulator::warpgroup_wait(Groups, site);
}

template <Major a_major = Major::k, Major b_major = Major::k, int kSize>
__device__ __forceinline__ void wgmma(float (&d)[kSize], std::uint64_t a_tile, std::uint64_t b_tile,
                                      bool accumulate, EMULATOR_SITE) {
  static_assert(kSize % 4 == 0 && kSize <= 128, "N is a multiple of 8 up to 256");
  ::emulator::warpgroup_multiply({d, kSize, nullptr, a_tile, b_tile, ::emulator::OperandMajor(a_major),
                                  ::emulator::OperandMajor(b_major), accumulate},
                                 site);
}
template <Major b_major = Major::k, int kSize>
__device__ __forceinline__ void wgmma(float (&d)[kSize], const std::uint32_t (&a)[4], std::uint64_t b_tile,
                                      bool accumulate, EMULATOR_SITE) {
  static_assert(kSize % 4 == 0 && kSize <= 128, "N is a multiple of 8 up to 256");
  ::emulator::warpgroup_multiply(
      {d, kSize, a, 0, b_tile, ::emulator::OperandMajor::k, ::emulator::OperandMajor(b_major), accumulate},
      site);
}

}  // namespace attention
