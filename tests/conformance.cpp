// The suite every stage gets for free: each variant on every kind of shape, input and schedule, against
// float64. A stage's own test.cpp adds only what that stage alone must show.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

// Calls `test(variant)` for every variant that supports the shape, and counts them. A variant may decline a
// device or a shape, in words; a test case requires that something ran, so that a suite of refusals does not
// pass.
template <typename Test>
int for_each_variant(const Problem& problem, const Test& test) {
  const Device device = current_device();
  int ran = 0;
  for (const Stage* stage : registry()) {
    for (const Variant& variant : stage->variants) {
      const Support support = check_support(variant, problem, device);
      INFO(stage->name << "/" << variant.name << " on " << describe(problem));
      if (!support.ok) {
        REQUIRE_FALSE(support.reason.empty());
        continue;
      }
      test(variant);
      ++ran;
    }
  }
  return ran;
}

void require_right(const Variant& variant, Session& session, const Expected& expected) {
  const Outcome outcome = session.run(variant);
  const Comparison comparison = compare(outcome.o, expected, extra_roundings(variant, session.problem()));
  INFO(comparison.message);
  REQUIRE(comparison.ok);
  for (const std::string& damage : outcome.damage) FAIL(damage);
}

int require_all_right(const Shape& shape, Distribution distribution, std::uint64_t seed) {
  const Problem problem(shape);
  const Inputs inputs = make_inputs(problem, distribution, seed);
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  INFO("distribution " << name(distribution) << ", seed " << seed);
  return for_each_variant(problem,
                          [&](const Variant& variant) { require_right(variant, session, expected); });
}

}  // namespace

TEST_CASE("any lengths") {
  int ran = 0;
  // Each pair of lengths once, with head_dim, mask and grouping taken in turn so that every one meets short,
  // ragged and whole tiles.
  constexpr std::array<std::array<int, 2>, 14> kLengths = {{{1, 1},
                                                            {1, 257},
                                                            {17, 17},
                                                            {17, 257},
                                                            {64, 64},
                                                            {64, 65},
                                                            {65, 64},
                                                            {65, 127},
                                                            {127, 1},
                                                            {127, 127},
                                                            {257, 17},
                                                            {257, 512},
                                                            {512, 65},
                                                            {512, 512}}};
  constexpr int kHeadDims[] = {64, 128, 32, 96};
  int turn = 0;
  for (const auto& [seq_q, seq_kv] : kLengths) {
    for (const bool causal : {false, true}) {
      const int head_dim = kHeadDims[turn % 4];
      const int kv_heads = turn % 3 == 0 ? 1 : 2;
      ran += require_all_right({.heads = 2,
                                .kv_heads = kv_heads,
                                .seq_q = seq_q,
                                .seq_kv = seq_kv,
                                .head_dim = head_dim,
                                .causal = causal},
                               Distribution::normal, 100 + turn);
      ++turn;
    }
    ++turn;  // an odd number of steps a pair, so that head_dim and mask do not go in lockstep
  }
  REQUIRE(ran > 0);
}

TEST_CASE("every head_dim, masked and not") {
  int ran = 0;
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const bool causal : {false, true}) {
      ran +=
          require_all_right({.heads = 1, .seq_q = 81, .seq_kv = 100, .head_dim = head_dim, .causal = causal},
                            Distribution::normal, 7 + head_dim);
    }
  }
  REQUIRE(ran > 0);
}

TEST_CASE("batches and grouped heads read their own keys") {
  int ran = 0;
  ran += require_all_right({.batch = 3, .heads = 6, .kv_heads = 2, .seq_q = 33, .seq_kv = 40},
                           Distribution::normal, 3);
  ran += require_all_right({.batch = 2, .heads = 4, .kv_heads = 1, .seq_q = 20, .seq_kv = 70, .causal = true},
                           Distribution::normal, 4);
  REQUIRE(ran > 0);
}

TEST_CASE("adversarial inputs") {
  int ran = 0;
  for (const Distribution distribution : all_distributions()) {
    for (const bool causal : {false, true}) {
      ran += require_all_right({.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 200, .causal = causal},
                               distribution, 11);
    }
  }
  REQUIRE(ran > 0);
}

TEST_CASE("a scale other than 1/sqrt(head_dim)") {
  int ran = 0;
  for (const float scale : {0.f, 1.f, -0.5f}) {
    ran +=
        require_all_right({.heads = 1, .seq_q = 40, .seq_kv = 130, .scale = scale}, Distribution::normal, 12);
  }
  REQUIRE(ran > 0);
}

TEST_CASE("rows that see no key are zero") {
  int ran = 0;
  const Problem problem({.heads = 1, .seq_q = 100, .seq_kv = 30, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 5);
  Session session(problem, inputs);
  ran += for_each_variant(problem, [&](const Variant& variant) {
    const std::vector<half> o = session.run(variant).o;
    for (int i = 0; i < 70 * problem.head_dim; ++i) REQUIRE(__half2float(o[i]) == 0.f);
    REQUIRE(__half2float(o[70 * problem.head_dim]) != 0.f);
  });
  REQUIRE(ran > 0);
}

TEST_CASE("fresh random inputs") {
  int ran = 0;
  const std::uint64_t seed = std::random_device()();  // in the message of a failure
  ran += require_all_right({.batch = 2, .heads = 2, .seq_q = 129, .seq_kv = 150}, Distribution::normal, seed);
  REQUIRE(ran > 0);
}

TEST_CASE("NaN and Inf propagate as in the reference") {
  int ran = 0;
  for (const bool causal : {false, true}) {
    const Problem problem({.heads = 4, .seq_q = 40, .seq_kv = 90, .causal = causal});
    Inputs inputs = make_inputs(problem, Distribution::normal, 6);
    const half nan = __float2half(std::numeric_limits<float>::quiet_NaN());
    const half inf = __float2half(std::numeric_limits<float>::infinity());
    const std::size_t q_head = 40 * 64, kv_head = 90 * 64;
    inputs.q[0 * q_head + 3 * 64 + 1] = nan;   // head 0: one row of Q
    inputs.k[1 * kv_head + 5 * 64 + 2] = nan;  // head 1: one key
    inputs.v[2 * kv_head + 7 * 64 + 3] = inf;  // head 2: one value; head 3 stays clean
    const Expected expected = reference::expect(problem, inputs);
    Session session(problem, inputs);
    ran +=
        for_each_variant(problem, [&](const Variant& variant) { require_right(variant, session, expected); });
  }
  REQUIRE(ran > 0);
}

TEST_CASE("the same bits under every schedule and on every run") {
  int ran = 0;
  const Problem problem({.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 140, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 8);
  const Device device = current_device();
  Session session(problem, inputs);
  ran += for_each_variant(problem, [&](const Variant& variant) {
    std::vector<half> first;
    for (std::uint64_t run = 0; run < 5; ++run) {
      if (device.emulated) configure_device({.schedule_seed = 17 * run + 1});
      const std::vector<half> o = session.run(variant).o;
      if (run == 0) first = o;
      INFO("run " << run);
      REQUIRE(std::memcmp(first.data(), o.data(), o.size() * sizeof(half)) == 0);
    }
  });
  REQUIRE(ran > 0);
}

TEST_CASE("a call can be captured in a graph and replayed") {
  int ran = 0;
  const Problem problem({.heads = 2, .seq_q = 65, .seq_kv = 80});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 9);
  Session session(problem, inputs);
  ran += for_each_variant(problem, [&](const Variant& variant) {
    const std::vector<half> direct = session.run(variant).o;
    const Graph graph([&](cudaStream_t stream) {
      CUDA_CHECK(session.enqueue(variant, stream));
      CUDA_CHECK(session.enqueue(variant, stream));
    });
    session.poison_output();
    const Stream stream;
    graph.replay(stream);
    CUDA_CHECK(cudaStreamSynchronize(stream));
    const std::vector<half> replayed = session.output().to_host();
    REQUIRE(std::memcmp(direct.data(), replayed.data(), direct.size() * sizeof(half)) == 0);
  });
  REQUIRE(ran > 0);
}

TEST_CASE("shapes that are not supported are refused in words") {
  const Device device = current_device();
  for (const Stage* stage : registry()) {
    for (const Variant& variant : stage->variants) {
      CAPTURE(stage->name, variant.name);
      for (const int head_dim : {1, 8, 63, 80, 144, 256}) {
        const Support support = check_support(variant, Problem({.head_dim = head_dim}), device);
        REQUIRE_FALSE(support.ok);
        REQUIRE_THAT(support.reason,
                     Catch::Contains("head_dim") && Catch::Contains(std::to_string(head_dim)));
      }
      const Support too_many =
          check_support(variant, Problem({.batch = 70'000, .heads = 1, .seq_q = 1}), device);
      if (!too_many.ok) REQUIRE_THAT(too_many.reason, Catch::Contains("70000"));
      const Support too_large =
          check_support(variant, Problem({.heads = 64, .seq_q = 1 << 24, .head_dim = 64}), device);
      REQUIRE_FALSE(too_large.ok);
    }
  }
}

TEST_CASE("the headline shape is supported, wherever the device can run the variant at all") {
  const Device device = current_device();
  for (const Stage* stage : registry()) {
    CAPTURE(stage->name);
    bool any = false;
    for (const Variant& variant : stage->variants) any = any || check_support(variant, Problem(), device).ok;
    CHECK(any);
  }
}

TEST_CASE("every variant has a name and an idea of its own") {
  for (const Stage* stage : registry()) {
    REQUIRE_FALSE(stage->variants.empty());
    for (const Variant& variant : stage->variants) {
      CHECK_FALSE(variant.name.empty());
      CHECK_FALSE(variant.idea.empty());
      for (const Variant& other : stage->variants) {
        if (&other == &variant) break;
        CHECK(other.name != variant.name);
        CHECK(other.idea != variant.idea);
        CHECK(other.launch != variant.launch);
      }
    }
  }
}
