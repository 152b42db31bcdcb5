#pragma once

#include <cstdint>

namespace emulator {

/// What one memory instruction of a warp costs, and what it would cost at best for as many bytes.
struct RequestCost {
  std::uint32_t work;
  std::uint32_t ideal;
};

/// 32-byte sectors of global memory that `lanes` accesses of `bytes` each touch.
RequestCost global_sectors(const std::uint64_t* addresses, int lanes, int bytes);

/// Wavefronts of shared memory: it has 32 banks of 4 bytes, a wavefront reads one word of each, and lanes
/// that want the same word share it. 8-byte accesses go by half-warps, 16-byte ones by quarters (and so does
/// ldmatrix: one 8x8 matrix a wavefront), twice as many at once where neighbouring lanes agree on the
/// address. `addresses[lane]` counts for the lanes of `mask`.
RequestCost shared_wavefronts(const std::uint64_t* addresses, std::uint32_t mask, int bytes);

}  // namespace emulator
