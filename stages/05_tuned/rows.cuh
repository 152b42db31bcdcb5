#pragma once

#include <cuda_fp16.h>

#include <cstdint>

#include "attention/indexing.cuh"
#include "attention/problem.hpp"

// Query rows of a block, the last of which may lie past the end of the tensor.
namespace attention::tuned {

/// Keys that query row `row` sees; none for a row past the end.
__device__ inline int keys_of(const Problem& p, int row) {
  return row < p.seq_q ? visible_keys(p, row) : 0;
}

/// Two neighbouring halves of a row of Q, or zeros for a row past the end.
__device__ inline std::uint32_t load_pair(const half* source, bool inside) {
  return inside ? *reinterpret_cast<const std::uint32_t*>(source) : 0u;
}

}  // namespace attention::tuned
