#pragma once

#include <algorithm>
#include <string_view>

#include "attention/problem.hpp"

// Which variant does a problem fastest.
namespace attention::tuned {

/// Query rows and keys that a block of key_split holds at a time.
inline constexpr int kKeySplitRows = 32;
constexpr int key_split_keys(int head_dim) {
  return head_dim <= 64 ? 512 : 256;
}

/// How split_kv splits the keys: `passes` of key_split_keys() in all, `part_passes` in a block, `parts`
/// blocks.
struct KeyParts {
  int passes, part_passes, parts;
};

/// Enough parts to have about one block an SM of a large GPU, but no part without a whole pass.
inline KeyParts key_parts(const Problem& p) {
  constexpr int kWantedBlocks = 128;
  const int blocks = int(ceil_div(p.seq_q, kKeySplitRows)) * p.batch * p.heads;
  KeyParts parts;
  parts.passes = int(ceil_div(p.seq_kv, key_split_keys(p.head_dim)));
  parts.part_passes = int(ceil_div(parts.passes, std::clamp(kWantedBlocks / blocks, 1, parts.passes)));
  parts.parts = int(ceil_div(parts.passes, parts.part_passes));
  return parts;
}

// [choice]
/// The name of the variant for a problem on a GPU of this compute capability (10 * major + minor). Thresholds
/// and microseconds are fitted to an H200; docs/results/survey has the times, and a test holds this to within
/// 5 % of the best of them.
inline std::string_view choose(const Problem& p, int compute_capability) {
  constexpr int kSms = 132;
  const int heads = p.batch * p.heads;
  const auto blocks_of = [&](int rows) { return heads * int(ceil_div(p.seq_q, rows)); };
  const auto waves_of = [&](int rows) { return int(ceil_div(blocks_of(rows), kSms)); };

  // What all waves of a kernel's blocks take, in microseconds. Blocks of 32 rows are many, and run their
  // passes over the keys one after the other; blocks of 192 rows are few, and overlap all they do.
  const bool hopper = compute_capability == 90, narrow = p.head_dim <= 64;
  const KeyParts parts = key_parts(p);
  double small_us =
      waves_of(kKeySplitRows) * (narrow ? 2.3 + 2.4 * p.seq_kv / 512 : 3.3 + 2.2 * p.seq_kv / 256);
  // In a causal problem blocks with few keys make room early, where there is more than one wave.
  if (p.causal && parts.passes > 1 && waves_of(kKeySplitRows) > 1) small_us *= 0.85;
  const double large_us = waves_of(192) * (narrow ? 4.0 + 0.0107 * p.seq_kv : 5.5 + 0.0141 * p.seq_kv);

  // The headline's neighbours: one pass over the keys, two blocks for 64 rows. With 256 keys or fewer half of
  // its warpgroups or more have nothing to do; it is fastest for a single causal head even so.
  const double one_pass_us = 0.9 + 1.93 * double(ceil_div(2 * blocks_of(64), kSms));
  const int fewest_keys = p.causal && heads == 1 ? 128 : 257;
  if (hopper && p.head_dim == 64 && p.seq_kv >= fewest_keys && p.seq_kv <= 512 && one_pass_us < small_us &&
      (p.causal ? blocks_of(64) <= kSms : one_pass_us < large_us)) {
    return "lazy_max";
  }

  // Few rows and many keys: a second kernel costs about as much as one pass saves.
  if (parts.passes - parts.part_passes >= 2) return "split_kv";

  if (!hopper || small_us < large_us) return compute_capability >= 90 ? "pdl" : "key_split";

  // Row blocks without a stop pay where an SM gets several of them, and most where they differ.
  const bool persists = p.causal ? blocks_of(192) > 2 * kSms : narrow && blocks_of(192) > kSms;
  return persists ? "persistent" : "intra_overlap";
}
// [choice]

}  // namespace attention::tuned
