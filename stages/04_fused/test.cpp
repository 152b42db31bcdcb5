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

}  // namespace

TEST_CASE("no variant needs a workspace") {
  for (const Variant& variant : this_stage().variants) {
    CAPTURE(variant.name);
    CHECK(workspace_bytes(variant, Problem({.batch = 4, .heads = 16, .seq_q = 16384})) == 0);
  }
}

TEST_CASE("every shape of block that `fitted` chooses is right") {
  // So many heads that blocks of 128, 64 and 32 rows are chosen; rows that end within a block, a warp and a
  // fragment.
  const int sms = current_device().sm_count;
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const Shape& shape :
         {Shape{.heads = sms, .kv_heads = 1, .seq_q = 130, .seq_kv = 100, .head_dim = head_dim},
          Shape{.heads = sms, .seq_q = 45, .seq_kv = 65, .head_dim = head_dim},
          Shape{.heads = 4, .kv_heads = 2, .seq_q = 50, .seq_kv = 700, .head_dim = head_dim}}) {
      for (const bool causal : {false, true}) {
        Shape masked = shape;
        masked.causal = causal;
        const Problem problem(masked);
        const Inputs inputs = make_inputs(problem, Distribution::normal, 40 + head_dim);
        const Expected expected = reference::expect(problem, inputs);
        Session session(problem, inputs);
        const Comparison comparison =
            compare(session.run(this_stage().default_variant()).o, expected);
        INFO(describe(problem) << ": " << comparison.message);
        CHECK(comparison.ok);
      }
    }
  }
}

TEST_CASE("a maximum that grows in small steps, and in one large one, is followed") {
  // Scores rise along the keys: by less than the slack of the rescaling a tile, by more, and in the last tile
  // only.
  for (const float rise : {0.01f, 0.2f, 3.f}) {
    const Problem problem({.heads = 1, .seq_q = 40, .seq_kv = 600, .scale = 1.f});
    Inputs inputs = make_inputs(problem, Distribution::normal, 50);
    for (int row = 0; row < problem.seq_q; ++row) {
      for (int d = 0; d < problem.head_dim; ++d)
        inputs.q[row * problem.head_dim + d] = __float2half(d == 0 ? 1.f : 0.f);
    }
    for (int key = 0; key < problem.seq_kv; ++key)
      inputs.k[key * problem.head_dim] = __float2half(rise * key);
    const Expected expected = reference::expect(problem, inputs);
    Session session(problem, inputs);
    for (const Variant& variant : this_stage().variants) {
      const Comparison comparison = compare(session.run(variant).o, expected);
      INFO(variant.name << ", rise " << rise << ": " << comparison.message);
      CHECK(comparison.ok);
    }
  }
}
