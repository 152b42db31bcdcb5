#pragma once

// The PTX instructions that CUDA C++ has no function for, one wrapper each. The emulated device has a twin
// of this header, which a build for that device finds first. A kernel that stays within these wrappers
// runs on both.
//
// Fragment layouts are the PTX ISA's ("Matrix fragments for mma.m16n8k16"). With g = lane / 4 and t = lane %
// 4, and two halves in a register, the lower column (of A and D) or row (of B) in the lower half:
//   A 16x16  a[0] = (g, 2t)   a[1] = (g + 8, 2t)   a[2] = (g, 2t + 8)   a[3] = (g + 8, 2t + 8)
//   B 16x8   b[0] = (2t, g)   b[1] = (2t + 8, g)
//   D 16x8   float: d[0], d[1] = (g, 2t), (g, 2t + 1)   d[2], d[3] = (g + 8, 2t), (g + 8, 2t + 1)
//            half:  d[0] = (g, 2t)   d[1] = (g + 8, 2t)

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace attention {

namespace detail {

__device__ __forceinline__ std::uint32_t smem_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

}  // namespace detail

// ---- ldmatrix: 8x8 matrices of halves from shared memory ----

/// Lane i gives the address of row i % 8 of matrix i / 8 (only the first 8 lanes for x1, the first 16 for
/// x2). A row is 16 bytes and must be aligned to 16 bytes. Afterwards r[m] of a lane holds two elements of
/// matrix m, in row lane / 4 and columns 2 * (lane % 4) and the next; with _trans, of the transposed matrix.
/// All lanes take part.
__device__ __forceinline__ void ldmatrix_x1(std::uint32_t (&r)[1], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(std::uint32_t (&r)[2], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x1_trans(std::uint32_t (&r)[1], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row_smem) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(detail::smem_address(row_smem))
               : "memory");
}

// ---- mma.sync: D += A B on the tensor cores, A row-major, B column-major, both FP16 ----

/// 16x8x16, accumulated in FP32.
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// 16x8x16, accumulated in FP16.
__device__ __forceinline__ void mma_m16n8k16(std::uint32_t (&d)[2], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3, %4, %5}, {%6, %7}, {%0, %1};"
      : "+r"(d[0]), "+r"(d[1])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/// 16x8x8, accumulated in FP32: the first two registers of A and the first of B.
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2],
                                            const std::uint32_t (&b)[1]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}
/// 16x8x8, accumulated in FP16.
__device__ __forceinline__ void mma_m16n8k8(std::uint32_t (&d)[2], const std::uint32_t (&a)[2],
                                            const std::uint32_t (&b)[1]) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16 {%0, %1}, {%2, %3}, {%4}, {%0, %1};"
               : "+r"(d[0]), "+r"(d[1])
               : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

// ---- ex2: 2^x on the special function unit, to about 2 ulp ----

__device__ __forceinline__ float ex2_approx(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
/// Two at once, in FP16.
__device__ __forceinline__ half2 ex2_approx(half2 x) {
  std::uint32_t y;
  asm("ex2.approx.f16x2 %0, %1;" : "=r"(y) : "r"(reinterpret_cast<const std::uint32_t&>(x)));
  return reinterpret_cast<const half2&>(y);
}

// ---- cp.async: global to shared memory without passing through registers ----

/// Copies `src_bytes` (0 to 16) and fills the rest of 16 bytes with zeros; both addresses must be 16-byte
/// aligned. This thread may read the data after cp_async_wait_group, other threads after a barrier that
/// follows the wait. The copy bypasses L1 (.cg).
__device__ __forceinline__ void cp_async_16(void* dst_smem, const void* src_gmem, int src_bytes = 16) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(detail::smem_address(dst_smem)), "l"(src_gmem), "r"(src_bytes)
               : "memory");
}
/// The same for 8 bytes, through L1 (.cg copies 16 bytes only).
__device__ __forceinline__ void cp_async_8(void* dst_smem, const void* src_gmem, int src_bytes = 8) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;"
               :
               : "r"(detail::smem_address(dst_smem)), "l"(src_gmem), "r"(src_bytes)
               : "memory");
}
/// Makes one group of this thread's copies since the last commit; an empty group counts too.
__device__ __forceinline__ void cp_async_commit_group() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
/// Waits until at most the latest `Groups` of this thread's groups are outstanding.
template <int Groups>
__device__ __forceinline__ void cp_async_wait_group() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Groups) : "memory");
}
/// Waits for all of this thread's copies, committed or not.
__device__ __forceinline__ void cp_async_wait_all() {
  asm volatile("cp.async.wait_all;" ::: "memory");
}

// ---- Named barriers: ids 1 to 15 (0 is __syncthreads), for `threads` threads of whole warps ----

/// Arrives and waits until `threads` threads have arrived.
__device__ __forceinline__ void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/// Arrives without waiting.
__device__ __forceinline__ void bar_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- Programmatic dependent launch: nothing to do before Hopper, where launches do not overlap ----

/// Waits until the previous launch on this stream has finished and its writes are visible. A kernel that
/// was launched with cudaLaunchAttributeProgrammaticStreamSerialization must call this before it uses what
/// that launch wrote.
__device__ __forceinline__ void griddepcontrol_wait() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// Lets the next launch start as soon as every block has called this or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

}  // namespace attention
