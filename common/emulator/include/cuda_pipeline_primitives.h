#pragma once

// Stand-in for CUDA's <cuda_pipeline_primitives.h>: cp.async by its C names.

#include "cuda_runtime.h"
#include "emulator/matrix_operations.hpp"

/// `zero_bytes` at the end of `bytes` (4, 8 or 16) are not read but filled with zeros.
__forceinline__ void __pipeline_memcpy_async(void* to_smem, const void* from_gmem, std::size_t bytes,
                                             std::size_t zero_bytes = 0, EMULATOR_SITE) {
  ::emulator::copy_async(to_smem, from_gmem, int(bytes), int(bytes - zero_bytes), site);
}
__forceinline__ void __pipeline_commit(EMULATOR_SITE) {
  ::emulator::copy_async_commit(site);
}
__forceinline__ void __pipeline_wait_prior(std::size_t groups, EMULATOR_SITE) {
  ::emulator::copy_async_wait(int(groups), site);
}
