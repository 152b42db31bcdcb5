#include "choice.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace attention {

// Defined by the stages.
namespace fused {
extern const Stage stage;
}
namespace tuned {
extern const Stage stage;
}
namespace long_rows {
extern const Stage stage;
}
namespace decode {
extern const Stage stage;
int split_kv_parts(const Problem& problem);
}  // namespace decode

namespace any_shape {

namespace {

// Costs infinitely much: the variant does not support that head_dim.
constexpr Cost kNone = {1, 1, std::numeric_limits<double>::infinity(), 0, 0, 0};

// Stages by the numbers that their folders have.
constexpr const Stage *k04 = &fused::stage, *k05 = &tuned::stage, *k06 = &long_rows::stage,
                      *k07 = &decode::stage;

// [table]
// The candidates, one per line. Variants of which another is faster at every shape are left out.
// clang-format off
constexpr Candidate kCandidates[] = {
    //                  rows, longest first, mask   D=64: per SM, tile, launch, block, key, full         D=128: the same
    {k04, "wide_stores",    64, false, 0.01, {3,  64, 0.20, 1.86, .0118, .0200}, {2,  64, 0.03, 2.41, .0173, .0321}},
    {k04, "two_row_tiles", 128, false, 0.29, {2,  64, 0.10, 2.41, .0164, .0246}, {2,  64, 0.14, 3.18, .0280, .0511}},
    {k04, "split_keys",     32, false, 0.07, {1, 256, 0.77, 1.39, .0048, .0048}, {1, 128, 0.34, 2.43, .0100, .0100}},
    {k05, "key_split",      32, false, 0.12, {1, 256, 0.60, 1.78, .0047, .0047}, {1, 128, 0.60, 2.82, .0087, .0087}},
    {k05, "pdl",            32, false, 0.12, {1, 256, 0.06, 1.78, .0047, .0047}, {1, 128, 0.03, 2.82, .0087, .0087}},
    {k05, "lazy_max",       32, true,  0.15, {1, 512, 1.00, 2.20, .0000, .0000}, kNone},
    {k06, "intra_overlap", 192, true,  0.09, {1, 128, 0.32, 3.60, .0107, .0107}, {1,  80, 0.00, 4.38, .0144, .0144}},
    {k06, "persistent",    192, true,  0.60, {1, 128, 4.61, 1.22, .0112, .0112}, {1,  80, 3.02, 3.18, .0146, .0146}},
    {k07, "split_kv",       32, false, 0.00, {1, 512, 2.76, 1.70, .0049, .0049}, {1, 256, 3.02, 2.39, .0089, .0089},
     decode::split_kv_parts},
};
// clang-format on
// [table]

// A second kernel that has one part to combine is never worth its launch.
bool is_of_use(const Candidate& candidate, const Problem& problem) {
  return !candidate.parts || candidate.parts(problem) > 1;
}

}  // namespace

const Variant& Candidate::variant() const {
  for (const Variant& variant : stage->variants) {
    if (variant.name == name) return variant;
  }
  throw std::logic_error(std::string(stage->name) + " has no variant " + std::string(name));
}

std::span<const Candidate> candidates() {
  return kCandidates;
}

// [estimate]
double estimate_us(const Candidate& candidate, const Problem& p, int sm_count) {
  const Cost& cost = p.head_dim <= 64 ? candidate.narrow : candidate.wide;
  const int parts = candidate.parts ? candidate.parts(p) : 1;
  const int heads = p.batch * p.heads;
  const double blocks = double(ceil_div(p.seq_q, candidate.rows)) * heads * parts;

  // Blocks that share an SM slow each other down, from key_us to full_us; less so where a head has fewer rows
  // than a block, since warps without rows have nothing to do.
  const int shared_by = int(std::clamp(std::ceil(blocks / sm_count), 1., double(cost.blocks_per_sm)));
  const double rows_with_work =
      std::clamp((std::min(p.seq_q, candidate.rows) - 16.) / (candidate.rows - 16.), 0., 1.);
  const double fill = shared_by == 1 ? 0. : rows_with_work * (shared_by - 1) / (cost.blocks_per_sm - 1);
  const double key_us = cost.key_us + fill * (cost.full_us - cost.key_us);
  const auto block_us = [&](double keys) { return cost.block_us + keys * key_us; };

  // Blocks come in waves. A wave takes as long as its longest block, however few blocks the last one has.
  const double waves = blocks / (double(sm_count) * shared_by);
  const double all_keys = double(ceil_div(ceil_div(p.seq_kv, parts), cost.tile)) * cost.tile;
  double us = std::ceil(waves) * block_us(all_keys);
  if (p.causal) {
    // Blocks of different lengths: SMs that are done early go on with the next block, so what counts is the
    // mean. At the end some SMs wait for others, for half of the last block or so.
    const double seen_keys = p.flop() / (4. * heads * p.head_dim * p.seq_q);  // by a row, on average
    const double mean_keys = std::min(all_keys, seen_keys + (candidate.rows + cost.tile) / 2.);
    const double last_us = block_us(candidate.longest_first ? cost.tile : all_keys);
    us = std::min(us, std::max(block_us(all_keys), waves * block_us(mean_keys) + last_us / 2)) +
         candidate.mask_us;
  }
  return cost.launch_us + us;
}
// [estimate]

// [choice]
const Candidate* choose(const Problem& problem, const Device& device, std::span<const Candidate> among) {
  const Candidate* best = nullptr;
  double best_us = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : among) {
    if (!is_of_use(candidate, problem)) continue;
    const double us = estimate_us(candidate, problem, device.sm_count);
    // Support last: a refusal is a sentence, which takes longer to write than the estimate takes.
    if (us < best_us && candidate.variant().supports(problem, device).ok) {
      best = &candidate;
      best_us = us;
    }
  }
  return best;
}
// [choice]

std::size_t chosen_workspace_bytes(const Problem& problem) {
  // Hopper supports every candidate that any other device does.
  Device hopper = {};
  hopper.compute_capability = 90;
  hopper.smem_per_block_bytes = 227 * 1024;
  std::size_t bytes = 0;
  for (const Candidate& candidate : kCandidates) {
    const Variant& variant = candidate.variant();
    if (is_of_use(candidate, problem) && variant.supports(problem, hopper).ok) {
      bytes = std::max(bytes, workspace_bytes(variant, problem));
    }
  }
  return bytes;
}

}  // namespace any_shape
}  // namespace attention
