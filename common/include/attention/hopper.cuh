#pragma once

// Hopper's own instructions: copies that TMA carries out, barriers in shared memory that count bytes, matrix
// products of a whole warpgroup, clusters. There is one wrapper for each, as in ptx.cuh; the emulated device
// has a twin of this header too.
//
// A tile is a [rows, head_dim] matrix in shared memory, as TMA writes it with the maps of tensor_map.hpp and
// as wgmma reads it. It consists of panels of 64 columns, one after the other, each with 128 bytes per row.
// Chunk c of row r (16 bytes) lies at place c ^ (r % 8) of its row ("128-byte swizzle"), so that neither TMA
// nor wgmma meets bank conflicts. A panel must start at a multiple of 1024 bytes.
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

/// Called by one thread before any thread uses the barrier. A phase takes `arrivals` arrivals.
__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, unsigned arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;"
               :
               : "r"(detail::smem_address(barrier)), "r"(arrivals)
               : "memory");
}
/// Called by the thread that initialised barriers, to make them visible to TMA and to the cluster. The other
/// threads of the block need a barrier after it.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
/// Arrives at a barrier of this block.
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
/// Arrives at the barrier that lies at the same place in the shared memory of block `rank` of the cluster.
__device__ __forceinline__ void mbarrier_arrive_cluster(Mbarrier* barrier, unsigned rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.release.cluster.shared::cluster.b64 _, [remote];\n}"
      :
      : "r"(detail::smem_address(barrier)), "r"(rank)
      : "memory");
}
/// Has the phase of this parity ended? A barrier's first phase has parity 0, its second 1, its third 0
/// again. The instruction may wait a while before it answers. The phase before the first counts as ended and
/// has parity 1.
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

// ---- Bulk copies between global and shared memory: one thread issues them, TMA carries them out ----

/// Makes this thread's ordinary writes to shared memory visible to TMA and to wgmma, which read it through
/// the async proxy. If another thread issues that TMA store or wgmma, a barrier must stand between this
/// fence and it.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
/// Copies `bytes` from global to shared memory and counts them on `barrier`. The size and both addresses must
/// be multiples of 16.
__device__ __forceinline__ void cp_async_bulk(void* dst_smem, const void* src_gmem, unsigned bytes,
                                              Mbarrier* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];"
               :
               : "r"(detail::smem_address(dst_smem)), "l"(src_gmem), "r"(bytes),
                 "r"(detail::smem_address(barrier))
               : "memory");
}
/// Fetches a tensor map before its first use. The map is a __grid_constant__ parameter of the kernel.
__device__ __forceinline__ void prefetch_tensormap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" : : "l"(map) : "memory");
}
/// Loads into a tile the map's box whose first element is at column 64 * `panel`, `row`, `head`. Rows past
/// the end become zeros; their bytes count on `barrier` like all others.
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
/// The same for several blocks of the cluster: one load, written to the same place of each block whose bit is
/// set in `ranks`. In each of them the bytes count on the barrier at the same place.
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
/// Stores a tile to global memory; rows past the end are left out. The store belongs to this
/// thread's next bulk group. Unlike a load, it must not begin before the first row, panel or head:
/// that is an illegal instruction.
__device__ __forceinline__ void tma_store(const void* tile_smem, const CUtensorMap* map, int panel, int row,
                                          int head) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%1, {%2, %3, %4, %5}], [%0];"
               :
               : "r"(detail::smem_address(tile_smem)), "l"(map), "r"(0), "r"(row), "r"(panel), "r"(head)
               : "memory");
}
/// Makes one group of this thread's stores since the last commit.
__device__ __forceinline__ void cp_async_bulk_commit_group() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Waits until TMA has read the tiles of all but the latest `Groups` groups, which may then be overwritten.
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(Groups) : "memory");
}
/// Waits until all but the latest `Groups` groups are complete: written to global memory and visible.
template <int Groups>
__device__ __forceinline__ void cp_async_bulk_wait_group() {
  asm volatile("cp.async.bulk.wait_group %0;" ::"n"(Groups) : "memory");
}

// ---- One thread of many ----

/// Called by all lanes of a warp: true for one of them. With `lane_id == 0` instead, the compiler cannot
/// prove that just one lane goes on, and wraps every TMA instruction in a loop over lanes.
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

/// Called by all threads of a warpgroup: increases the register budget of each to `Registers`, a multiple of
/// 8. Waits until other warpgroups have decreased theirs. It takes effect only in a kernel whose
/// __launch_bounds__ names a minimum number of blocks.
template <int Registers>
__device__ __forceinline__ void setmaxnreg_inc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Registers));
}
/// The same the other way: decreases the budget and so releases registers.
template <int Registers>
__device__ __forceinline__ void setmaxnreg_dec() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Registers));
}

// ---- Clusters ----

/// This block's rank in its cluster.
__device__ __forceinline__ unsigned cluster_ctarank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// Arrives at the cluster's barrier. What this thread wrote before is visible to the
/// others after cluster_wait().
__device__ __forceinline__ void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
/// The same without any ordering of memory: it only says that this thread has come this far.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
/// Waits until all threads of the cluster have arrived.
__device__ __forceinline__ void cluster_wait() {
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}
/// The cluster-wide shared address of the same place as `pointer`, in the shared memory of block `rank`.
__device__ __forceinline__ std::uint32_t mapa(const void* pointer, unsigned rank) {
  std::uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(address)
               : "r"(detail::smem_address(pointer)), "r"(rank));
  return address;
}
/// Writes 16 bytes to another block's shared memory without waiting, and counts them on a barrier there. Both
/// addresses are from mapa().
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
// D takes N / 2 registers per lane. d[4 * j + 2 * h + c] is the element in row 16 * (warp of the warpgroup) +
// lane / 4 + 8 * h and column 8 * j + 2 * (lane % 4) + c. Each warp thus holds sixteen rows, as eight-column
// accumulators of mma_m16n8k16 side by side. A in registers has the layout of mma_m16n8k16 too: 16 columns of
// A are two neighbouring eight-column accumulators, converted to half.
//
// From the first wgmma that uses a register until the wgmma_wait_group for it, nothing else may
// touch that register.

/// The matrix descriptor of a tile, for its first 16 columns (Major::k) or rows (Major::mn). For a Major::mn
/// operand that is wider than a panel, `panel_bytes` is the distance from one panel to the next.
__device__ __forceinline__ std::uint64_t wgmma_descriptor(const void* tile_smem, int panel_bytes = 16) {
  constexpr std::uint64_t kSwizzle128B = 1, kEightRows = 1024 >> 4;  // lengths in units of 16 bytes
  return (detail::smem_address(tile_smem) & 0x3ffff) >> 4 | std::uint64_t(panel_bytes >> 4) << 16 |
         kEightRows << 32 | kSwizzle128B << 62;
}
/// The descriptor of the tile that begins `bytes` later. 16 columns of a panel are 32 bytes, 16 rows 2048.
__device__ __forceinline__ std::uint64_t wgmma_advance(std::uint64_t tile, int bytes) {
  return tile + (bytes >> 4);
}
/// Needed before the first wgmma, and again after anything else wrote its registers (accumulators or A).
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
/// Makes one group of the products since the last commit.
__device__ __forceinline__ void wgmma_commit_group() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
/// Waits until at most the latest `Groups` groups are outstanding. Pass the accumulators that are read
/// afterwards: without that the compiler sees no dependence on the wait and could read them before it.
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

// The products themselves, wgmma(d, a, b_tile, accumulate), are in wgmma.cuh. A is a tile or four registers
// per lane, B is a tile, and the size of D decides N. With `accumulate` false a product overwrites D.

}  // namespace attention
