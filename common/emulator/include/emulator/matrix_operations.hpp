#pragma once

#include <cstdint>

#include "emulator/site.hpp"

// What the wrappers of attention/ptx.cuh, <mma.h> and <cuda_pipeline.h> stand on. All but the copies are done
// by all 32 lanes of a warp together.

namespace emulator {

// Callers inline into the kernel, so that the return address of a call here is a place in the kernel.

/// `count` 8x8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
void load_matrices(std::uint32_t* registers, int count, bool transposed, const void* row, Site site);

enum class MmaShape { m16n8k8, m16n8k16 };
/// D = A B + D with FP16 operands in the PTX ISA's fragment layouts. `d` is 4 floats, or 2 registers
/// of half pairs.
void multiply_matrices(MmaShape shape, void* d, bool d_is_float, const std::uint32_t* a,
                       const std::uint32_t* b, Site site);

/// Starts a copy to shared memory that lands when this thread waits for it. Bytes past
/// `source_bytes` become zero.
void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site);
void copy_async_commit(Site site);
/// Waits until at most `groups` committed groups are outstanding; negative: for every copy, committed or not.
void copy_async_wait(int groups, Site site);

// wmma 16x16x16. A fragment of A or B has 16 halves of which the second 8 repeat the first (as the layout of
// compute capability 7 left it); an accumulator has 8 elements.
struct WmmaTile {
  const void* memory;
  unsigned leading_dimension;  ///< in elements
  bool row_major;
};
enum class WmmaOperand { a, b };
void wmma_load_operand(void* fragment, WmmaOperand operand, WmmaTile tile, Site site);
void wmma_load_accumulator(void* fragment, bool is_float, WmmaTile tile, Site site);
void wmma_store(const void* fragment, bool is_float, WmmaTile tile, Site site);
void wmma_multiply(void* d, bool d_is_float, const void* a, const void* b, const void* c, bool c_is_float,
                   Site site);

}  // namespace emulator
