#include "verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "attention/compare.hpp"

namespace attention::bench {
namespace {

constexpr int kSamples = 16;
constexpr int kRowsOfSample = 32;

std::vector<half> part(const std::vector<half>& values, std::size_t first, std::size_t count) {
  return {values.begin() + std::ptrdiff_t(first), values.begin() + std::ptrdiff_t(first + count)};
}

}  // namespace

Verifier::Verifier(const Problem& problem, const Inputs& inputs, std::size_t largest_whole) {
  if (problem.score_elements() * std::size_t(problem.head_dim) <= largest_whole) {
    samples_.push_back({0, "", reference::expect(problem, inputs)});
    return;
  }
  const int heads = problem.batch * problem.heads;
  const int rows = std::min(kRowsOfSample, problem.seq_q);
  std::mt19937_64 random(1);
  for (int i = 0; i < kSamples; ++i) {
    const int head = int(std::int64_t(i) * (heads - 1) / (kSamples - 1));
    const int last = problem.seq_q - rows;
    const int first_row = i % 4 == 0 ? 0 : i % 4 == 3 ? last : int(random() % std::uint64_t(last + 1));
    add_sample(problem, inputs, head, first_row, rows);
  }
}

// The rows of a sample become a problem of their own; a
// causal one ends at the last key that the last row sees.
void Verifier::add_sample(const Problem& problem, const Inputs& inputs, int head, int first_row, int rows) {
  const int keys = problem.causal ? first_row + rows + problem.seq_kv - problem.seq_q : problem.seq_kv;
  if (keys < 1) return;
  const int batch = head / problem.heads;
  const int kv_head = batch * problem.kv_heads + head % problem.heads / (problem.heads / problem.kv_heads);
  const std::size_t row_elements = std::size_t(problem.head_dim);
  const std::size_t q_start = (std::size_t(head) * problem.seq_q + first_row) * row_elements;
  const std::size_t kv_start = std::size_t(kv_head) * problem.seq_kv * row_elements;
  const Problem rows_only({.batch = 1,
                           .heads = 1,
                           .seq_q = rows,
                           .seq_kv = keys,
                           .head_dim = problem.head_dim,
                           .causal = problem.causal,
                           .scale = problem.scale});
  const Inputs parts = {part(inputs.q, q_start, rows * row_elements),
                        part(inputs.k, kv_start, keys * row_elements),
                        part(inputs.v, kv_start, keys * row_elements)};
  samples_.push_back({q_start,
                      fmt::format("batch {}, head {}, rows from {}", batch, head % problem.heads, first_row),
                      reference::expect(rows_only, parts)});
}

std::optional<std::string> Verifier::complaint(std::span<const half> o, double extra_roundings) const {
  // A half whose exponent bits are all set is infinite or NaN.
  const auto not_finite = std::find_if(
      o.begin(), o.end(), [](half value) { return (__half_as_ushort(value) & 0x7c00) == 0x7c00; });
  if (not_finite != o.end()) {
    return fmt::format("element {} of {} is not finite or was not written", not_finite - o.begin(), o.size());
  }
  for (const Sample& sample : samples_) {
    const Comparison comparison =
        compare(o.subspan(sample.first_element, sample.expected.o.size()), sample.expected, extra_roundings);
    if (comparison.ok) continue;
    return sample.where.empty() ? comparison.message
                                : fmt::format("{}: {}", sample.where, comparison.message);
  }
  return {};
}

}  // namespace attention::bench
