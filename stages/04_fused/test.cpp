// What only this stage must show; tests/conformance.cpp has what every stage must.
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

// Every variant that the device can run, against float64.
void check_all(const Problem& problem, const Inputs& inputs) {
  const Device device = current_device();
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  int ran = 0;
  for (const Variant& variant : registry().front()->variants) {
    if (!check_support(variant, problem, device).ok) continue;
    const Comparison comparison = compare(session.run(variant).o, expected);
    INFO(variant.name << " on " << describe(problem) << ": " << comparison.message);
    CHECK(comparison.ok);
    ++ran;
  }
  REQUIRE(ran > 0);
}

}  // namespace

TEST_CASE(
    "rows and keys may end anywhere in blocks of 32, 64 and 128 rows and tiles of 64, 128 and 256 keys") {
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const Shape& shape : {Shape{.heads = 2, .kv_heads = 1, .seq_q = 130, .seq_kv = 100},
                               Shape{.heads = 1, .seq_q = 45, .seq_kv = 65},
                               Shape{.heads = 4, .kv_heads = 2, .seq_q = 50, .seq_kv = 700}}) {
      for (const bool causal : {false, true}) {
        Shape masked = shape;
        masked.head_dim = head_dim;
        masked.causal = causal;
        const Problem problem(masked);
        check_all(problem, make_inputs(problem, Distribution::normal, 40 + head_dim));
      }
    }
  }
}

TEST_CASE("a scale may be negative, zero or too small to count") {
  // With masked scores, -inf, in the tile, rows that see no key, and Q in registers (64) and not (128).
  for (const float scale : {-1.f, -0.125f, -1e-35f, 0.f, 1e-35f, 2.f}) {
    for (const int head_dim : {64, 128}) {
      const Problem problem({.heads = 2,
                             .kv_heads = 1,
                             .seq_q = 90,
                             .seq_kv = 70,
                             .head_dim = head_dim,
                             .causal = true,
                             .scale = scale});
      check_all(problem, make_inputs(problem, Distribution::normal, 45));
    }
  }
}

TEST_CASE("a maximum that grows in small steps, and in one large one, is followed") {
  // Scores rise along the keys: by less than the slack of the rescaling per tile, by more, and by far more.
  for (const float rise : {0.01f, 0.2f, 3.f}) {
    const Problem problem({.heads = 1, .seq_q = 40, .seq_kv = 600, .scale = 1.f});
    Inputs inputs = make_inputs(problem, Distribution::normal, 50);
    for (int row = 0; row < problem.seq_q; ++row) {
      for (int d = 0; d < problem.head_dim; ++d)
        inputs.q[row * problem.head_dim + d] = __float2half(d == 0 ? 1.f : 0.f);
    }
    for (int key = 0; key < problem.seq_kv; ++key)
      inputs.k[key * problem.head_dim] = __float2half(rise * key);
    check_all(problem, inputs);
  }
}

TEST_CASE("split_keys is refused, in words, where a block's shared memory is too small") {
  const Variant& split_keys = registry().front()->default_variant();
  REQUIRE(split_keys.name == "split_keys");
  Device device = current_device();
  device.smem_per_block_bytes = 99 * 1024;  // sm_86 and sm_89
  CHECK(split_keys.supports(Problem({.head_dim = 32}), device).ok);
  const Support support = split_keys.supports(Problem(), device);
  CHECK_FALSE(support.ok);
  CHECK_THAT(support.reason, Catch::Contains("shared memory") && Catch::Contains(device.name));
}
