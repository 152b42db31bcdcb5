#pragma once

// Hopper's own instructions: bulk copies that a copy engine carries out, barriers in shared memory that count
// bytes, matrix products of a whole warpgroup, clusters. One wrapper each, as in ptx.cuh; the emulated device
// has a twin of this header too.
//
// Tiles are what TMA makes of a [rows, head_dim] matrix with the maps of tensor_map.hpp, and what wgmma
// reads: panels of 64 columns one after the other, 128 bytes a row. Of row r, 16-byte chunk c is at place
// c ^ (r % 8) ("128-byte swizzle"). A panel starts at a multiple of 1024 bytes.
//
// Source: PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions", "mbarrier", "cp.async.bulk".

#if defined(__CUDA_ARCH__) && !defined(__CUDA_ARCH_FEAT_SM90_ALL)
#error "needs code for sm_90a: name the source under HOPPER in attention_stage()"
#endif

#include <cuda.h>  // CUtensorMap; no function of the driver's library
#include <cuda_runtime.h>

#include <cstdint>

#include "attention/ptx.cuh"
#include "attention/wgmma.cuh"

namespace attention {

// ---- mbarrier: a barrier in shared memory whose phase ends with its last arrival and its last byte ----

/// 8 bytes of shared memory, 8-byte aligned.
using Mbarrier = std::uint64_t;

/// One thread, before anybody uses the barrier: a phase takes `arrivals` arrivals.
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(detail::smem_address(barrier)), "r"(arrivals)
               : "memory");
}
/// The thread that initialised barriers, afterwards, so that copy engine and cluster see them; other threads
/// need a barrier behind it.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Arrives.
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" : : "r"(detail::smem_address(barrier)) : "memory");
}
/// Arrives, and makes the phase wait for `bytes` more bytes of bulk copies.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(Mbarrier* barrier, unsigned bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;"
               :
               : "r"(detail::smem_address(barrier)), "r"(bytes)
               : "memory");
}
/// Arrives at the barrier at the same place of block `rank` of the cluster.
__device__ __forceinline__ void mbarrier_arrive_cluster(Mbarrier* barrier, unsigned rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}"
      :
      : "r"(detail::smem_address(barrier)), "r"(rank)
      : "memory");
}
/// Has the phase of this parity (0 for a barrier's first, 1 for its second, 0 again ...) ended? May wait a
/// while for it. The phase before the first counts as ended, with parity 1.
__device__ __forceinline__ bool mbarrier_try_wait(Mbarrier* barrier, unsigned parity) {
  unsigned ended;
  asm volatile(
      "{\n.reg .pred p;\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(ended)
      : "r"(detail::smem_address(barrier)), "r"(parity)
      : "memory");
  return ended != 0;
}
/// Waits until the phase of this parity has ended.
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, unsigned parity) {
  while (!mbarrier_try_wait(barrier, parity)) {
  }
}

// ---- Bulk copies between global and shared memory: one thread asks, the copy engine does ----

/// Makes this thread's ordinary writes to shared memory visible to the copy engine and to wgmma, which reach
/// it by another way; other threads' reads of it need a barrier behind the fence.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// `bytes` (a multiple of 16, as both addresses are) from global to shared memory; they count on `barrier`.
__device__ __forceinline__ void cp_async_bulk(void* dst_smem, const void* src_gmem, unsigned bytes,
                                              Mbarrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :
               : "r"(detail::smem_address(dst_smem)), "l"(src_gmem), "r"(bytes),
                 "r"(detail::smem_address(barrier))
               : "memory");
}
/// Fetches a tensor map, a __grid_constant__ parameter of the kernel, before its first use.
__device__ __forceinline__ void prefetch_tensormap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(map) : "memory");
}
/// The map's box whose first element is at `panel` * 64 columns, `row`, `head`, into a tile. All bytes of the
/// box count on `barrier`, also those of rows past the end, which become zeros.
__device__ __forceinline__ void tma_load(void* tile_smem, const CUtensorMap* map, int panel, int row,
                                         int head, Mbarrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];"
      :
      : "r"(detail::smem_address(tile_smem)), "l"(map), "r"(0), "r"(row), "r"(panel), "r"(head),
        "r"(detail::smem_address(barrier))
      : "memory");
}
/// The same, to the same place in each block of the cluster whose bit is set in `ranks`; the bytes count on
/// the barrier at the same place there.
__device__ __forceinline__ void tma_load_multicast(void* tile_smem, const CUtensorMap* map, int panel,
                                                   int row, int head, Mbarrier* barrier,
                                                   std::uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%2, %3, %4, %5}], [%6], %7;"
      :
      : "r"(detail::smem_address(tile_smem)), "l"(map), "r"(0), "r"(row), "r"(panel), "r"(head),
        "r"(detail::smem_address(barrier)), "h"(ranks)
      : "memory");
}
/// A tile to global memory; rows past the end are left out. Belongs to this thread's next bulk group. It must
/// not begin before the first row, panel or head, as a load may: there it is an illegal instruction.
__device__ __forceinline__ void tma_store(const void* tile_smem, const CUtensorMap* map, int panel, int row,
                                          int head) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%1, {%2, %3, %4, %5}], [%0];"
               :
               : "r"(detail::smem_address(tile_smem)), "l"(map), "r"(0), "r"(row), "r"(panel), "r"(head)
               : "memory");
}
/// Makes this thread's stores since the last commit a group.
__device__ __forceinline__ void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Waits until the copy engine has read the shared memory of all but the latest `Groups` groups.
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Groups) : "memory");
}
/// Waits until all but the latest `Groups` groups are complete, written and visible.
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Groups) : "memory");
}

// ---- One thread of many ----

/// All lanes of a warp: true for one of them. With `lane == 0` the compiler does not know that it is one, and
/// loops over lanes around every request to the copy engine.
__device__ __forceinline__ bool elect_sync() {
  unsigned elected;
  asm volatile(
      "{\n.reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n}"
      : "=r"(elected));
  return elected != 0;
}

// ---- Registers ----

/// All threads of a warpgroup: takes registers until each has `Registers` (a multiple of 8), waiting for
/// others to give them up, or gives up those above it. Takes effect only where __launch_bounds__ names a
/// minimum of blocks.
template <int Registers>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
template <int Registers>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// ---- Clusters ----

/// This block's number in its cluster.
__device__ __forceinline__ unsigned cluster_ctarank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Arrives at the cluster's barrier; what this thread wrote before is visible behind cluster_wait().
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
/// The same without a promise about memory: only "I have come this far".
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
/// Waits until all threads of the cluster have arrived.
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// Where `pointer`'s place in shared memory lies in block `rank`, as a cluster-wide shared address.
__device__ __forceinline__ std::uint32_t mapa(const void* pointer, unsigned rank) {
  std::uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(address)
               : "r"(detail::smem_address(pointer)), "r"(rank));
  return address;
}
/// Writes 16 bytes to another block's shared memory without waiting; they count on a barrier there. Both
/// are addresses from mapa().
__device__ __forceinline__ void st_async(std::uint32_t dst, float4 value, std::uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];"
               :
               : "r"(dst), "f"(value.x), "f"(value.y), "f"(value.z), "f"(value.w), "r"(barrier)
               : "memory");
}
/// The same for 8 bytes.
__device__ __forceinline__ void st_async(std::uint32_t dst, float2 value, std::uint32_t barrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], {%1, %2}, [%3];"
               :
               : "r"(dst), "f"(value.x), "f"(value.y), "r"(barrier)
               : "memory");
}

// ---- wgmma: D (+)= A B by the four warps of a warpgroup, 64 x N x 16, FP16 to FP32, asynchronously ----
//
// D, N / 2 registers: d[4 * j + 2 * h + c] is row 16 * (warp of the warpgroup) + lane / 4 + 8 * h, column
// 8 * j + 2 * (lane % 4) + c: sixteen rows of eight-column accumulators of mma_m16n8k16, side by side. A in
// registers, 16 of its columns, is as there too; two neighbouring eight-column blocks of D packed to half are
// one. Between the first wgmma that uses a register and the wgmma_wait_group behind it, nothing may touch it.

/// Describes a tile to wgmma, from its first 16 (Major::k) columns or rows (Major::mn) on. Where an operand
/// that is Major::mn is wider than a panel, `panel_bytes` is the distance of one panel from the next.
__device__ __forceinline__ std::uint64_t wgmma_descriptor(const void* tile_smem, int panel_bytes = 16) {
  constexpr std::uint64_t kSwizzle128B = 1, kEightRows = 1024 >> 4;  // lengths in units of 16 bytes
  return (detail::smem_address(tile_smem) & 0x3ffff) >> 4 | std::uint64_t(panel_bytes >> 4) << 16 |
         kEightRows << 32 | kSwizzle128B << 62;
}
/// The tile `bytes` further on. 16 columns of a panel are 32 bytes, 16 rows 2048.
__device__ __forceinline__ std::uint64_t wgmma_advance(std::uint64_t tile, int bytes) {
  return tile + (bytes >> 4);
}
/// Before the first wgmma, and again after anything else wrote its registers (accumulators or A).
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Makes the products since the last commit a group.
__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most `Groups` groups, the latest, are outstanding. The registers given are those that may
/// be used afterwards: the compiler sees no other tie between them and the wait.
template <int Groups, int... kSizes>
__device__ __forceinline__ void wgmma_wait_group(float (&... finished)[kSizes]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Groups) : "memory");
  const auto tie = [](auto& registers) {
#pragma unroll
    for (int i = 0; i < int(sizeof(registers) / sizeof(float)); ++i) {
      asm volatile("" : "+f"(registers[i])::"memory");
    }
  };
  (tie(finished), ...);
}

// The products themselves, wgmma(d, a, b_tile, accumulate), are in wgmma.cuh: A is a tile or four registers per
// lane, B a tile, N twice the size of D. `accumulate` false overwrites D.

}  // namespace attention
