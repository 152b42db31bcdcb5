// The suite that every stage gets: each variant on every kind of shape, input and schedule, compared with the
// float64 reference. A stage's own test.cpp adds only what is particular to that stage.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

// A refusal because of the shape names a size and the value that it has: "head_dim must be 64, got 80".
bool is_about_shape(const std::string& reason, const Problem& problem) {
  const std::pair<const char*, int> sizes[] = {{"batch * heads", problem.batch * problem.heads},
                                               {"heads", problem.heads},
                                               {"kv_heads", problem.kv_heads},
                                               {"seq_q", problem.seq_q},
                                               {"seq_kv", problem.seq_kv},
                                               {"head_dim", problem.head_dim}};
  return std::any_of(std::begin(sizes), std::end(sizes), [&](const auto& size) {
    return reason.starts_with(fmt::format("{} must be ", size.first)) &&
           reason.ends_with(fmt::format(", got {}", size.second));
  });
}

// A refusal because of the device names what it lacks. The stages are written for compute capability 9.0,
// which lacks nothing.
bool is_about_device(const std::string& reason, const Device& device) {
  return device.compute_capability != 90 &&
         (reason.find("compute capability") != reason.npos || reason.find("shared memory") != reason.npos);
}

// Every variant of the stage; the stage's and the variant's name are in the message of a failure.
template <typename Test>
void for_each_variant(const Test& test) {
  for (const Stage* stage : registry()) {
    for (const Variant& variant : stage->variants) {
      INFO(stage->name << "/" << variant.name);
      test(variant);
    }
  }
}

// Runs tests on the variants that support a problem, and remembers which have run.
class VariantTests {
 public:
  template <typename Test>
  void run(const Problem& problem, const Test& test) {
    for_each_variant([&](const Variant& variant) {
      INFO(describe(problem));
      if (const Support support = check_support(variant, problem, device_); !support.ok) {
        INFO(support.reason);
        REQUIRE((is_about_shape(support.reason, problem) || is_about_device(support.reason, device_)));
        return;
      }
      test(variant);
      ran_.insert(variant.name);
    });
  }

  void require_right(const Shape& shape, Distribution distribution, std::uint64_t seed);

  // The last line of a test case: a variant that this device can run at all must have run in it.
  void require_all_ran() const {
    for_each_variant([&](const Variant& variant) {
      if (check_support(variant, Problem(), device_).ok) REQUIRE(ran_.contains(variant.name));
    });
  }

 private:
  const Device device_ = current_device();
  std::set<std::string_view> ran_;
};

void require_output_right(const Variant& variant, Session& session, const Expected& expected) {
  const Outcome outcome = session.run(variant);
  const Comparison comparison = compare(outcome.o, expected, extra_roundings(variant, session.problem()));
  INFO(comparison.message);
  REQUIRE(comparison.ok);
  for (const std::string& damage : outcome.damage) FAIL(damage);
}

void VariantTests::require_right(const Shape& shape, Distribution distribution, std::uint64_t seed) {
  const Problem problem(shape);
  const Inputs inputs = make_inputs(problem, distribution, seed);
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  INFO("distribution " << name(distribution) << ", seed " << seed);
  run(problem, [&](const Variant& variant) { require_output_right(variant, session, expected); });
}

}  // namespace

TEST_CASE("any lengths") {
  VariantTests tests;
  // Each pair of lengths with and without a mask; head_dim and grouping take turns, so that each of them
  // meets short, ragged and whole tiles.
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
      tests.require_right({.heads = 2,
                           .kv_heads = kv_heads,
                           .seq_q = seq_q,
                           .seq_kv = seq_kv,
                           .head_dim = head_dim,
                           .causal = causal},
                          Distribution::normal, 100 + turn);
      ++turn;
    }
    ++turn;  // an odd number of steps per pair, so that head_dim and mask do not change in lockstep
  }
  tests.require_all_ran();
}

TEST_CASE("every head_dim, masked and not") {
  VariantTests tests;
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const bool causal : {false, true}) {
      tests.require_right({.heads = 1, .seq_q = 81, .seq_kv = 100, .head_dim = head_dim, .causal = causal},
                          Distribution::normal, 7 + head_dim);
    }
  }
  tests.require_all_ran();
}

TEST_CASE("batches and grouped heads read their own keys") {
  VariantTests tests;
  tests.require_right({.batch = 3, .heads = 6, .kv_heads = 2, .seq_q = 33, .seq_kv = 40},
                      Distribution::normal, 3);
  tests.require_right({.batch = 2, .heads = 4, .kv_heads = 1, .seq_q = 20, .seq_kv = 70, .causal = true},
                      Distribution::normal, 4);
  tests.require_all_ran();
}

TEST_CASE("adversarial inputs") {
  VariantTests tests;
  for (const Distribution distribution : all_distributions()) {
    for (const bool causal : {false, true}) {
      tests.require_right({.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 200, .causal = causal},
                          distribution, 11);
    }
  }
  tests.require_all_ran();
}

TEST_CASE("a scale other than 1/sqrt(head_dim)") {
  VariantTests tests;
  for (const float scale : {0.f, 1.f, -0.5f}) {
    tests.require_right({.heads = 1, .seq_q = 40, .seq_kv = 130, .scale = scale}, Distribution::normal, 12);
  }
  tests.require_all_ran();
}

TEST_CASE("rows that see no key are zero") {
  VariantTests tests;
  const Problem problem({.heads = 1, .seq_q = 100, .seq_kv = 30, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 5);
  Session session(problem, inputs);
  tests.run(problem, [&](const Variant& variant) {
    const std::vector<half> o = session.run(variant).o;
    for (int i = 0; i < 70 * problem.head_dim; ++i) REQUIRE(__half2float(o[i]) == 0.f);
    REQUIRE(__half2float(o[70 * problem.head_dim]) != 0.f);
  });
  tests.require_all_ran();
}

TEST_CASE("fresh random inputs") {
  VariantTests tests;
  const std::uint64_t seed = std::random_device()();  // in the message of a failure
  tests.require_right({.batch = 2, .heads = 2, .seq_q = 129, .seq_kv = 150}, Distribution::normal, seed);
  tests.require_all_ran();
}

TEST_CASE("NaN and Inf propagate as in the reference") {
  VariantTests tests;
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
    tests.run(problem, [&](const Variant& variant) { require_output_right(variant, session, expected); });
  }
  tests.require_all_ran();
}

TEST_CASE("the same bits under every schedule and on every run") {
  VariantTests tests;
  const Problem problem({.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 140, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 8);
  const Device device = current_device();
  Session session(problem, inputs);
  tests.run(problem, [&](const Variant& variant) {
    std::vector<half> first;
    for (std::uint64_t run = 0; run < 5; ++run) {
      if (device.emulated) configure_device({.schedule_seed = 17 * run + 1});
      const std::vector<half> o = session.run(variant).o;
      if (run == 0) first = o;
      INFO("run " << run);
      REQUIRE(std::memcmp(first.data(), o.data(), o.size() * sizeof(half)) == 0);
    }
  });
  tests.require_all_ran();
}

TEST_CASE("a call can be captured in a graph and replayed") {
  VariantTests tests;
  const Problem problem({.heads = 2, .seq_q = 65, .seq_kv = 80});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 9);
  Session session(problem, inputs);
  tests.run(problem, [&](const Variant& variant) {
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
  tests.require_all_ran();
}

TEST_CASE("shapes that are not supported are refused, and the reason names the size") {
  const Device device = current_device();
  const auto require_refusal = [&](const Variant& variant, const Shape& shape) {
    const Problem problem(shape);
    const Support support = check_support(variant, problem, device);
    INFO(describe(problem) << ": " << support.reason);
    REQUIRE_FALSE(support.ok);
    REQUIRE((is_about_shape(support.reason, problem) || is_about_device(support.reason, device) ||
             support.reason.starts_with("needs 512.0 GiB of device memory")));
  };
  for_each_variant([&](const Variant& variant) {
    for (const int head_dim : {1, 8, 63, 80, 144, 256}) require_refusal(variant, {.head_dim = head_dim});
    require_refusal(variant, {.heads = 64, .seq_q = 1 << 24});  // the 512 GiB
  });
}

TEST_CASE("more heads than a grid has blocks in y or z are right, or refused") {
  VariantTests tests;
  tests.require_right({.batch = 70'000, .heads = 1, .seq_q = 1}, Distribution::normal, 10);
}

TEST_CASE("every variant supports the headline shape, unless the device lacks what it needs") {
  const Device device = current_device();
  for_each_variant([&](const Variant& variant) {
    const Support support = check_support(variant, Problem(), device);
    INFO(support.reason);
    REQUIRE((support.ok || is_about_device(support.reason, device)));
  });
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
