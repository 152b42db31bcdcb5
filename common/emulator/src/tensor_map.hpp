#pragma once

#include <cuda.h>

#include <cstddef>
#include <cstdint>

namespace emulator {

/// Where the 128-byte swizzle puts the 16-byte chunk at an offset of shared memory.
inline std::ptrdiff_t swizzled_128(std::ptrdiff_t offset) {
  return offset ^ (offset >> 7 & 7) << 4;
}

/// What a CUtensorMap holds here. Written by make_tensor_map(), read by the copies that are given it.
struct TensorMap {
  static constexpr std::uint64_t kMark = 0x70616d726f736e65;  // tells a map from memory that is none
  static constexpr int kPanelBytes = 128;                     // a row of a panel: 64 halves

  std::uint64_t mark;
  char* tensor;
  std::int64_t heads, rows, row_bytes;
  int box_rows, box_panels;

  int panels() const { return int(row_bytes / kPanelBytes); }
  unsigned box_bytes() const { return unsigned(box_panels * box_rows * kPanelBytes); }
  /// The 128 bytes of a row, or null for a row outside the tensor.
  char* row_at(std::int64_t panel, std::int64_t row, std::int64_t head) const {
    const bool inside = panel >= 0 && panel < panels() && row >= 0 && row < rows && head >= 0 && head < heads;
    return inside ? tensor + (head * rows + row) * row_bytes + panel * kPanelBytes : nullptr;
  }
};
static_assert(sizeof(TensorMap) <= sizeof(CUtensorMap));

}  // namespace emulator
