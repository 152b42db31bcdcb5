#pragma once

#include <cstddef>

#include "attention/problem.hpp"

namespace attention {

/// The number of keys that query row `row` of a head sees, counted from the first key: all of them, or in a
/// causal problem those up to key row + seq_kv - seq_q, which may be none. A row past seq_q sees all keys.
__device__ inline int visible_keys(const Problem& p, int row) {
  return p.causal ? max(0, min(p.seq_kv, row + p.seq_kv - p.seq_q + 1)) : p.seq_kv;
}

/// The key/value head that query head `head` reads, both counted over the whole batch.
__device__ inline int kv_head_of(const Problem& p, int head) {
  // Every batch entry has p.heads query heads and p.kv_heads
  // key/value heads, so the quotient holds across entries.
  return head / (p.heads / p.kv_heads);
}

}  // namespace attention
