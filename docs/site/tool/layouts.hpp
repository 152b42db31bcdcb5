#pragma once

// Where things lie: the formulas that kernels go by, as the book draws them. test_layouts.cpp runs the
// instructions themselves on the emulated device and holds these against what they do.
namespace book {

struct Place {
  int row, column;
};

/// Element of A (16 x 16, row-major) of mma.m16n8k16 that `lane` holds in half `half` of register `reg` of
/// four.
constexpr Place a_fragment(int lane, int reg, int half) {
  return {lane / 4 + 8 * (reg % 2), 2 * (lane % 4) + 8 * (reg / 2) + half};
}
/// The same for B (16 x 8), two registers.
constexpr Place b_fragment(int lane, int reg, int half) {
  return {2 * (lane % 4) + 8 * reg + half, lane / 4};
}
/// The same for the accumulator (16 x 8), four floats.
constexpr Place d_fragment(int lane, int reg) {
  return {lane / 4 + 8 * (reg / 2), 2 * (lane % 4) + reg % 2};
}

/// Where chunk `chunk` (16 bytes) of row `row` is stored in a row of 64 halves: XOR with the row's number.
constexpr int swizzled_chunk(int row, int chunk) {
  return chunk ^ row % 8;
}

/// Bank of shared memory: 32 banks of 4 bytes.
constexpr int bank_of(int byte) {
  return byte / 4 % 32;
}
/// Sector of global memory: 32 bytes.
constexpr long sector_of(long byte) {
  return byte / 32;
}

}  // namespace book
