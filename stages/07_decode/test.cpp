// What only this stage must show; tests/conformance.cpp has what every stage must.
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

const Stage& this_stage() {
  return *registry().front();
}

void require_all_right(const Problem& problem, const Inputs& inputs) {
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  for (const Variant& variant : this_stage().variants) {
    const Support support = check_support(variant, problem, current_device());
    INFO(variant.name << " on " << describe(problem) << ": " << support.reason);
    REQUIRE(support.ok);
    const Comparison comparison = compare(session.run(variant).o, expected);
    INFO(comparison.message);
    CHECK(comparison.ok);
  }
}

// Parts into which split_kv splits the keys: for every row, each has head_dim columns, a maximum and a sum.
std::size_t parts_of(const Problem& problem) {
  const std::size_t rows = problem.q_elements() / problem.head_dim;
  return workspace_bytes(this_stage().default_variant(), problem) /
         (rows * (problem.head_dim + 2) * sizeof(float));
}

}  // namespace

TEST_CASE("keys split over blocks are put together again") {
  // As many parts as there are passes, fewer, and one that begins after what causal rows see.
  for (const int head_dim : {64, 128}) {
    for (const Shape& shape :
         {Shape{.heads = 2, .seq_q = 1, .seq_kv = 3000, .head_dim = head_dim},
          Shape{.heads = 8, .kv_heads = 2, .seq_q = 200, .seq_kv = 1400, .head_dim = head_dim},
          Shape{.heads = 1, .seq_q = 600, .seq_kv = 700, .head_dim = head_dim, .causal = true},
          Shape{.heads = 1, .seq_q = 700, .seq_kv = 600, .head_dim = head_dim, .causal = true}}) {
      const Problem problem(shape);
      REQUIRE(parts_of(problem) > 1);
      require_all_right(problem, make_inputs(problem, Distribution::normal, 61));
    }
  }
  CHECK(parts_of(Problem({.heads = 2, .seq_q = 1, .seq_kv = 3000})) == 6);
  CHECK(parts_of(Problem({.heads = 8, .seq_q = 200, .seq_kv = 1400})) == 2);
  CHECK(parts_of(Problem()) == 1);
}

TEST_CASE("parts keep their weights where scores are in the millions") {
  // All scores of a row are 7.9 million, so a part's weight is its number of keys: 512 in the first, 100 in
  // the second. A float near 7.9e6 * log2(e) has no digits after the point: log2 of a sum added to it is
  // rounded to an integer, and weights are wrong by up to 41 %.
  const Problem problem({.heads = 1, .seq_q = 1, .seq_kv = 612});
  Inputs inputs = make_inputs(problem, Distribution::normal, 62);
  for (half& q : inputs.q) q = __float2half(1000.f);
  for (half& k : inputs.k) k = __float2half(987.f);
  for (std::size_t i = 0; i < inputs.v.size(); ++i) {
    inputs.v[i] = __float2half(i / std::size_t(problem.head_dim) < 512 ? 1.f : -1.f);
  }
  REQUIRE(parts_of(problem) == 2);
  require_all_right(problem, inputs);
}
