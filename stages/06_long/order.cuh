#pragma once

// The order in which blocks take the query rows.
#include <algorithm>

#include "attention/indexing.cuh"
#include "tile.cuh"

namespace attention::long_rows {

// A row block: kBlockQ rows of one head, and how far its keys go.
struct Item {
  int head, kv_head, first_row;
  int tiles;  // of K and V; at least one, so that rows that see no key are written too. 0: there is no item
};

// [order]
// What the launcher works out about the order in which row blocks are taken.
struct Order {
  int blocks_per_head, items;
  int heads_together;  // heads in a section
};

// Row block `index`, if there are so many. Heads come in sections whose K and V fit in L2 together. Within a
// section the last rows of every head come first: in a causal problem those see the most keys, and the short
// row blocks fill the gaps at the end.
template <typename T>
__device__ inline Item item_of(const Problem& p, const Order& order, int index) {
  if (index >= order.items) return {};
  const int section_items = order.heads_together * order.blocks_per_head;
  const int first_head = index / section_items * order.heads_together;
  const int heads = min(order.heads_together, p.batch * p.heads - first_head);
  const int within = index % section_items;
  Item item;
  item.head = first_head + within % heads;
  item.kv_head = kv_head_of(p, item.head);
  item.first_row = (order.blocks_per_head - 1 - within / heads) * T::kBlockQ;
  const int keys = visible_keys(p, min(item.first_row + T::kBlockQ, p.seq_q) - 1);
  item.tiles = max(1, (keys + T::kBlockKv - 1) / T::kBlockKv);
  return item;
}
// [order]

// What K and V of a section of heads may take of L2 (60 MB on an H200).
inline constexpr std::size_t kSectionBytes = 32 << 20;

template <typename T>
Order order_of(const Problem& p) {
  const int heads = p.batch * p.heads;
  // Sections of equal size: a small one at the end would have its longest rows last.
  const int heads_in_l2 = 1 + int(kSectionBytes / (std::size_t(p.seq_kv) * p.head_dim * 2 * sizeof(half)));
  const int sections = int(ceil_div(heads, heads_in_l2));
  Order order;
  order.blocks_per_head = int(ceil_div(p.seq_q, T::kBlockQ));
  order.items = order.blocks_per_head * heads;
  order.heads_together = p.causal ? int(ceil_div(heads, sections)) : 1;
  return order;
}

}  // namespace attention::long_rows
