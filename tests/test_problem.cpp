// Problem: what is refused and in which words, sizes, masks counted, descriptions.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attention/error.hpp"
#include "attention/problem.hpp"
#include "catch.hpp"

using namespace attention;

namespace {

std::string refusal(const Shape& shape) {
  try {
    const Problem problem(shape);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("The default problem is the headline shape") {
  const Problem problem;
  CHECK(problem.batch == 1);
  CHECK(problem.heads == 8);
  CHECK(problem.kv_heads == 8);
  CHECK(problem.seq_q == 512);
  CHECK(problem.seq_kv == 512);
  CHECK(problem.head_dim == 64);
  CHECK_FALSE(problem.causal);
  CHECK(problem.scale == 0.125f);
  CHECK(problem.q_elements() == 8u * 512 * 64);
  CHECK(problem.score_elements() == 8u * 512 * 512);
  CHECK(describe(problem) == "B=1 H=8 S=512 D=64");
}

TEST_CASE("What is not given follows from what is") {
  const Problem problem(
      {.batch = 2, .heads = 6, .kv_heads = 3, .seq_q = 17, .seq_kv = 257, .head_dim = 96, .causal = true});
  CHECK(problem.q_elements() == 2u * 6 * 17 * 96);
  CHECK(problem.kv_elements() == 2u * 3 * 257 * 96);
  CHECK(problem.scale == float(1 / std::sqrt(96.0)));
  CHECK(describe(problem) == "B=2 H=6/3 S=17x257 D=96 causal");
  CHECK(describe(Problem({.scale = 0.5f})) == "B=1 H=8 S=512 D=64 scale=0.5");
}

TEST_CASE("A size that cannot be is refused, with what was got and what is allowed") {
  constexpr int kLargest = std::numeric_limits<int>::max();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  struct Row {
    Shape shape;
    std::string message;
  };
  const std::vector<Row> rows = {
      {{.batch = 0}, "batch must be at least 1, got 0"},
      {{.heads = -8}, "heads must be at least 1, got -8"},
      {{.kv_heads = 0}, "kv_heads must be at least 1, got 0"},
      {{.seq_q = 0}, "seq_q must be at least 1, got 0"},
      {{.seq_kv = -1}, "seq_kv must be at least 1, got -1"},
      {{.head_dim = 0}, "head_dim must be at least 1, got 0"},
      {{.head_dim = std::numeric_limits<int>::min()}, "head_dim must be at least 1, got -2147483648"},
      {{.heads = 8, .kv_heads = 3}, "heads must be a multiple of kv_heads, got heads 8 and kv_heads 3"},
      {{.heads = 2, .kv_heads = 4}, "heads must be a multiple of kv_heads, got heads 2 and kv_heads 4"},
      {{.scale = kInfinity}, "scale must be a finite number, got inf"},
      {{.scale = kNan}, "scale must be a finite number, got nan"},
      {{.seq_q = kLargest, .seq_kv = 1},
       "one head of Q must have fewer than 2^31 elements, got 2147483647 x 64"},
      {{.seq_q = 1, .seq_kv = 1 << 25},
       "one head of K must have fewer than 2^31 elements, got 33554432 x 64"},
      {{.batch = 1 << 20, .heads = 1 << 5},
       "Q must have fewer than 2^40 elements, got 1048576 x 32 x 512 x 64"},
      {{.batch = kLargest, .heads = kLargest, .seq_q = 1, .head_dim = kLargest},
       "Q must have fewer than 2^40 elements, got 2147483647 x 2147483647 x 1 x 2147483647"},
      {{.batch = 1 << 20, .heads = 2, .seq_q = 1, .seq_kv = 1 << 13},
       "K must have fewer than 2^40 elements, got 1048576 x 2 x 8192 x 64"},
      {{.batch = 256, .heads = 256, .kv_heads = 1, .seq_q = 1 << 23, .seq_kv = 1 << 30, .head_dim = 1},
       "Q K^T must have fewer than 2^60 elements, got 256 x 256 x 8388608 x 1073741824"},
  };
  for (const Row& row : rows) CHECK(refusal(row.shape) == row.message);
}

TEST_CASE("The largest sizes are accepted, and nothing overflows") {
  CHECK(refusal({.seq_q = (1 << 25) - 1, .head_dim = 64}) == "accepted");
  const Problem problem({.heads = 1, .seq_q = std::numeric_limits<int>::max(), .seq_kv = 1, .head_dim = 1});
  CHECK(problem.q_elements() == 2147483647u);
  CHECK(Problem({.batch = 511, .heads = 1, .seq_q = 1 << 24, .head_dim = 127}).q_elements() ==
        std::size_t(511) * (1 << 24) * 127);
}

TEST_CASE("flop() counts the pairs that the mask lets through") {
  CHECK(Problem().flop() == 4.0 * 8 * 512 * 512 * 64);
  for (const auto& [seq_q, seq_kv] : {std::pair{1, 1}, {5, 5}, {3, 7}, {7, 3}, {1, 9}, {9, 1}}) {
    double visible_pairs = 0;
    for (int i = 0; i < seq_q; ++i) {
      for (int j = 0; j < seq_kv; ++j) visible_pairs += j <= i + seq_kv - seq_q;
    }
    const Problem problem(
        {.batch = 2, .heads = 3, .seq_q = seq_q, .seq_kv = seq_kv, .head_dim = 32, .causal = true});
    CHECK(problem.flop() == 4.0 * 2 * 3 * 32 * visible_pairs);
  }
}
