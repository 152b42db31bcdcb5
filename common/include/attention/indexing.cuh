#pragma once

#include <cstddef>

#include "attention/problem.hpp"

namespace attention {

/// Keys that query row `row` sees, counted from the first: all of them, or in a causal problem those up to
/// row + seq_kv - seq_q, which may be none. A row past the end sees what the last one sees: all.
__device__ inline int visible_keys(const Problem& p, int row) {
  return p.causal ? max(0, min(p.seq_kv, row + p.seq_kv - p.seq_q + 1)) : p.seq_kv;
}

/// The key/value head that query head `head` reads; both counted over the whole batch.
__device__ inline int kv_head_of(const Problem& p, int head) {
  // Each entry of the batch has `heads` of one and `kv_heads` of the other.
  return head / (p.heads / p.kv_heads);
}

}  // namespace attention
