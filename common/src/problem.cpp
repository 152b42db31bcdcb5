#include "attention/problem.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "attention/error.hpp"

namespace attention {
namespace {

// Kernels index the elements of a head with int, and those of whole tensors and of all scores with 64 bits.
constexpr std::uint64_t kMaxHeadElements = std::uint64_t{1} << 31;
constexpr std::uint64_t kMaxTensorElements = std::uint64_t{1} << 40;
constexpr std::uint64_t kMaxScoreElements = std::uint64_t{1} << 60;

int positive(const char* size_name, int value) {
  if (value < 1) throw InvalidInput(fmt::format("{} must be at least 1, got {}", size_name, value));
  return value;
}

/// Throws unless batch * heads * rows * columns stays below
/// `limit`, a power of two; nothing here can overflow.
void check_elements(const char* what, int batch, int heads, int rows, int columns, std::uint64_t limit) {
  std::uint64_t elements = 1;
  for (const int factor : {batch, heads, rows, columns}) {
    if (elements > (limit - 1) / std::uint64_t(factor)) {
      throw InvalidInput(fmt::format("{} must have fewer than 2^{} elements, got {} x {} x {} x {}", what,
                                     std::countr_zero(limit), batch, heads, rows, columns));
    }
    elements *= std::uint64_t(factor);
  }
}

void check_head(const char* what, int rows, int head_dim) {
  if (std::uint64_t(rows) * std::uint64_t(head_dim) >= kMaxHeadElements) {
    throw InvalidInput(
        fmt::format("one head of {} must have fewer than 2^31 elements, got {} x {}", what, rows, head_dim));
  }
}

float usual_scale(int head_dim) {
  return float(1.0 / std::sqrt(double(head_dim)));
}

}  // namespace

Problem::Problem(const Shape& shape)
    : batch(positive("batch", shape.batch)),
      heads(positive("heads", shape.heads)),
      kv_heads(positive("kv_heads", shape.kv_heads.value_or(shape.heads))),
      seq_q(positive("seq_q", shape.seq_q)),
      seq_kv(positive("seq_kv", shape.seq_kv.value_or(shape.seq_q))),
      head_dim(positive("head_dim", shape.head_dim)),
      causal(shape.causal),
      scale(shape.scale.value_or(usual_scale(shape.head_dim))) {
  if (heads % kv_heads != 0) {
    throw InvalidInput(
        fmt::format("heads must be a multiple of kv_heads, got heads {} and kv_heads {}", heads, kv_heads));
  }
  if (!std::isfinite(scale)) {
    throw InvalidInput(fmt::format("scale must be a finite number, got {}", scale));
  }
  check_head("Q", seq_q, head_dim);
  check_head("K", seq_kv, head_dim);
  check_elements("Q", batch, heads, seq_q, head_dim, kMaxTensorElements);
  check_elements("K", batch, kv_heads, seq_kv, head_dim, kMaxTensorElements);
  check_elements("Q K^T", batch, heads, seq_q, seq_kv, kMaxScoreElements);
}

double Problem::flop() const {
  double visible_pairs = double(seq_q) * seq_kv;
  if (causal) {
    // Query i sees min(seq_kv, i + 1 + seq_kv - seq_q) keys, or none where that is negative: each of the last
    // min(seq_q, seq_kv) rows sees one key more than the row before it, and the last row sees all.
    const double rows = std::min(seq_q, seq_kv);
    visible_pairs = rows * seq_kv - rows * (rows - 1) / 2;
  }
  return 4.0 * batch * heads * head_dim * visible_pairs;
}

std::string describe(const Problem& problem) {
  std::string text = fmt::format("B={} H={}", problem.batch, problem.heads);
  if (problem.kv_heads != problem.heads) text += fmt::format("/{}", problem.kv_heads);
  text += fmt::format(" S={}", problem.seq_q);
  if (problem.seq_kv != problem.seq_q) text += fmt::format("x{}", problem.seq_kv);
  text += fmt::format(" D={}", problem.head_dim);
  if (problem.causal) text += " causal";
  if (problem.scale != usual_scale(problem.head_dim)) text += fmt::format(" scale={:g}", problem.scale);
  return text;
}

}  // namespace attention
