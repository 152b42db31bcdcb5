#pragma once

// PTX wrappers: the emulated device's twin of common/include/attention/ptx.cuh, which says what each one
// does. An emulated build finds this header first.

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "emulator/matrix_operations.hpp"

namespace attention {

__device__ __forceinline__ void ldmatrix_x1(std::uint32_t (&r)[1], const void* row_smem, EMULATOR_SITE) {
  ::emulator::load_matrices(r, 1, false, row_smem, site);
}
__device__ __forceinline__ void ldmatrix_x2(std::uint32_t (&r)[2], const void* row_smem, EMULATOR_SITE) {
  ::emulator::load_matrices(r, 2, false, row_smem, site);
}
__device__ __forceinline__ void ldmatrix_x4(std::uint32_t (&r)[4], const void* row_smem, EMULATOR_SITE) {
  ::emulator::load_matrices(r, 4, false, row_smem, site);
}
__device__ __forceinline__ void ldmatrix_x1_trans(std::uint32_t (&r)[1], const void* row_smem,
                                                  EMULATOR_SITE) {
  ::emulator::load_matrices(r, 1, true, row_smem, site);
}
__device__ __forceinline__ void ldmatrix_x2_trans(std::uint32_t (&r)[2], const void* row_smem,
                                                  EMULATOR_SITE) {
  ::emulator::load_matrices(r, 2, true, row_smem, site);
}
__device__ __forceinline__ void ldmatrix_x4_trans(std::uint32_t (&r)[4], const void* row_smem,
                                                  EMULATOR_SITE) {
  ::emulator::load_matrices(r, 4, true, row_smem, site);
}

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2], EMULATOR_SITE) {
  ::emulator::multiply_matrices(::emulator::MmaShape::m16n8k16, d, true, a, b, site);
}
__device__ __forceinline__ void mma_m16n8k16(std::uint32_t (&d)[2], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2], EMULATOR_SITE) {
  ::emulator::multiply_matrices(::emulator::MmaShape::m16n8k16, d, false, a, b, site);
}
__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const std::uint32_t (&a)[2],
                                            const std::uint32_t (&b)[1], EMULATOR_SITE) {
  ::emulator::multiply_matrices(::emulator::MmaShape::m16n8k8, d, true, a, b, site);
}
__device__ __forceinline__ void mma_m16n8k8(std::uint32_t (&d)[2], const std::uint32_t (&a)[2],
                                            const std::uint32_t (&b)[1], EMULATOR_SITE) {
  ::emulator::multiply_matrices(::emulator::MmaShape::m16n8k8, d, false, a, b, site);
}

__device__ __forceinline__ float ex2_approx(float x) {
  return exp2f(x);
}
__device__ __forceinline__ half2 ex2_approx(half2 x) {
  return h2exp2(x);
}

__device__ __forceinline__ void cp_async_16(void* dst_smem, const void* src_gmem, int src_bytes = 16,
                                            EMULATOR_SITE) {
  ::emulator::copy_async(dst_smem, src_gmem, 16, src_bytes, site);
}
__device__ __forceinline__ void cp_async_8(void* dst_smem, const void* src_gmem, int src_bytes = 8,
                                           EMULATOR_SITE) {
  ::emulator::copy_async(dst_smem, src_gmem, 8, src_bytes, site);
}
__device__ __forceinline__ void cp_async_commit_group(EMULATOR_SITE) {
  ::emulator::copy_async_commit(site);
}
template <int Groups>
__device__ __forceinline__ void cp_async_wait_group(EMULATOR_SITE) {
  static_assert(Groups >= 0);
  ::emulator::copy_async_wait(Groups, site);
}
__device__ __forceinline__ void cp_async_wait_all(EMULATOR_SITE) {
  ::emulator::copy_async_wait(-1, site);
}

__device__ __forceinline__ void bar_sync(int id, int threads, EMULATOR_SITE) {
  ::emulator::named_barrier_sync(id, threads, site);
}
__device__ __forceinline__ void bar_arrive(int id, int threads, EMULATOR_SITE) {
  ::emulator::named_barrier_arrive(id, threads, site);
}

// The emulated device starts a launch when the previous one has finished, so there is nothing to wait for. It
// notes that the block has waited, to report kernels that do not.
__device__ __forceinline__ void griddepcontrol_wait() {
  ::emulator::griddepcontrol_wait();
}
__device__ __forceinline__ void griddepcontrol_launch_dependents() {}

}  // namespace attention
