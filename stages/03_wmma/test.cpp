// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

const Variant& variant_named(std::string_view name) {
  for (const Stage* stage : registry()) {
    for (const Variant& variant : stage->variants) {
      if (variant.name == name) return variant;
    }
  }
  FAIL("no variant " << name);
  throw;
}

Comparison error_of(std::string_view name, Session& session, const Expected& expected) {
  return compare(session.run(variant_named(name)).o, expected);
}

}  // namespace

TEST_CASE("the workspace is the scores in whole fragments") {
  const auto bytes = [](const Shape& shape) {
    return workspace_bytes(variant_named("wmma"), Problem(shape));
  };
  CHECK(bytes({}) == 8 * 512 * 512 * 4);
  CHECK(bytes({.batch = 2, .heads = 3, .kv_heads = 1, .seq_q = 1, .seq_kv = 1}) == 6 * 16 * 16 * 4);
  CHECK(bytes({.heads = 1, .seq_q = 17, .seq_kv = 257}) == 32 * 272 * 4);
  CHECK(bytes({.heads = 1, .seq_q = 16, .seq_kv = 1 << 24, .head_dim = 32}) == std::size_t(1) << 30);
}

TEST_CASE("rows longer than the registers of a warp hold") {
  // Above 512 keys the launcher takes the other softmax; above 2048 that one reads a row twice.
  for (const int seq_kv : {511, 513, 2048, 2049, 4500}) {
    for (const bool causal : {false, true}) {
      const Problem problem({.heads = 1, .seq_q = 5, .seq_kv = seq_kv, .head_dim = 32, .causal = causal});
      const Inputs inputs = make_inputs(problem, Distribution::outlier_key, 21);
      const Expected expected = reference::expect(problem, inputs);
      Session session(problem, inputs);
      for (const char* name : {"wmma", "double_buffered", "warp_specialized"}) {
        const Comparison comparison = error_of(name, session, expected);
        INFO(name << " on " << describe(problem) << ": " << comparison.message);
        CHECK(comparison.ok);
      }
    }
  }
}

TEST_CASE("half accumulators cost accuracy, and no more than one rounding per step") {
  for (const Distribution distribution : {Distribution::normal, Distribution::equal_keys}) {
    const Problem problem({.heads = 1, .seq_q = 64, .seq_kv = 1024});
    const Inputs inputs = make_inputs(problem, distribution, 22);
    const Expected expected = reference::expect(problem, inputs);
    Session session(problem, inputs);
    const Comparison in_float = error_of("wmma", session, expected);
    const Variant& half_sums = variant_named("f16_accumulate");
    const Comparison in_half =
        compare(session.run(half_sums).o, expected, extra_roundings(half_sums, problem));
    CAPTURE(name(distribution), in_float.row_error, in_half.row_error);
    CHECK(in_float.ok);
    CHECK(in_half.ok);
    CHECK(in_half.row_error > in_float.row_error);
  }
}

TEST_CASE("the order of loads and products changes no bit") {
  const Problem problem({.heads = 2, .kv_heads = 1, .seq_q = 100, .seq_kv = 700, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 23);
  Session session(problem, inputs);
  const std::vector<half> single = session.run(variant_named("wmma")).o;
  for (const char* name : {"double_buffered", "warp_specialized"}) {
    const std::vector<half> o = session.run(variant_named(name)).o;
    INFO(name);
    CHECK(std::memcmp(single.data(), o.data(), o.size() * sizeof(half)) == 0);
  }
}
