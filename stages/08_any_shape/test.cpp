// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "choice.hpp"
#include "reference.hpp"
#include "results.hpp"

using namespace attention;

namespace {

// GPUs as far as a choice looks at them: an A100, an RTX 3090, an RTX 4090 and an H200.
std::vector<Device> devices() {
  const auto device = [](int compute_capability, int sm_count, std::size_t smem_kib) {
    Device device = {};
    device.name = "GPU of compute capability " + std::to_string(compute_capability);
    device.compute_capability = compute_capability;
    device.sm_count = sm_count;
    device.smem_per_block_bytes = smem_kib * 1024;
    return device;
  };
  return {device(80, 108, 163), device(86, 82, 99), device(89, 128, 99), device(90, 132, 227)};
}

const Variant& chosen() {
  return registry().front()->default_variant();
}

// Calls test(problem) for shapes of every kind.
template <typename Test>
void for_many_shapes(const Test& test) {
  for (const int head_dim : {32, 64, 96, 128}) {
    for (const int heads : {2, 8, 200}) {
      for (const int kv_heads : {heads, 2}) {
        for (const bool causal : {false, true}) {
          for (const int seq_q : {1, 33, 197, 512, 2000, 5000}) {
            for (const int seq_kv : {1, 100, 197, 300, 512, 1025, 5000}) {
              test(Problem({.heads = heads,
                            .kv_heads = kv_heads,
                            .seq_q = seq_q,
                            .seq_kv = seq_kv,
                            .head_dim = head_dim,
                            .causal = causal}));
            }
          }
        }
      }
    }
  }
}

}  // namespace

TEST_CASE("candidates are variants, and need no state of the device") {
  for (const any_shape::Candidate& candidate : any_shape::candidates()) {
    CAPTURE(candidate.name);
    CHECK(candidate.variant().name == candidate.name);
    CHECK(candidate.variant().set_up == nullptr);  // which a choice that is made at launch could not keep
    CHECK(candidate.variant().extra_roundings == chosen().extra_roundings);
  }
}

TEST_CASE("every shape has a choice on every device, which supports it and finds room in the workspace") {
  for (const Device& device : devices()) {
    for_many_shapes([&](const Problem& problem) {
      INFO(describe(problem) << " on " << device.name);
      const any_shape::Candidate* choice = any_shape::choose(problem, device);
      REQUIRE(choice);
      INFO(choice->name);
      REQUIRE(choice->variant().supports(problem, device).ok);
      REQUIRE(chosen().supports(problem, device).ok);
      REQUIRE(workspace_bytes(choice->variant(), problem) <= workspace_bytes(chosen(), problem));
    });
  }
}

TEST_CASE("every candidate is chosen somewhere") {
  std::set<std::string_view> names;
  for (const Device& device : devices()) {
    for_many_shapes([&](const Problem& problem) { names.insert(any_shape::choose(problem, device)->name); });
  }
  for (const any_shape::Candidate& candidate : any_shape::candidates()) {
    CAPTURE(candidate.name);
    CHECK(names.count(candidate.name) == 1);
  }
}

TEST_CASE("what no candidate supports is refused in words") {
  const Support support = chosen().supports(Problem({.head_dim = 80}), current_device());
  CHECK_FALSE(support.ok);
  CHECK_THAT(support.reason, Catch::Contains("head_dim"));
  CHECK(any_shape::choose(Problem({.head_dim = 80}), current_device()) == nullptr);
}

TEST_CASE("an estimate counts waves, keys and what a mask hides") {
  const any_shape::Candidate candidate = {.stage = nullptr,
                                          .name = "made up",
                                          .rows = 32,
                                          .longest_first = true,
                                          .mask_us = 0.5,
                                          .narrow = {2, 64, 1, 2, 0.01, 0.02},
                                          .wide = {2, 64, 1, 2, 0.1, 0.2}};
  const auto estimate = [&](const Shape& shape) {
    return Catch::Approx(any_shape::estimate_us(candidate, Problem(shape), 10));
  };
  CHECK(1 + (2 + 64 * 0.01) == estimate({.heads = 10, .seq_q = 1, .seq_kv = 1}));
  CHECK(1 + (2 + 64 * 0.01) == estimate({.heads = 2, .seq_q = 160, .seq_kv = 64}));
  CHECK(1 + (2 + 64 * 0.02) == estimate({.heads = 11, .seq_q = 32, .seq_kv = 64}));
  CHECK(1 + (2 + 64 * 0.01) == estimate({.heads = 11, .seq_q = 16, .seq_kv = 64}));
  CHECK(1 + (2 + 128 * 0.02) == estimate({.heads = 20, .seq_q = 32, .seq_kv = 65}));
  CHECK(1 + 2 * (2 + 128 * 0.02) == estimate({.heads = 21, .seq_q = 32, .seq_kv = 65}));
  CHECK(1 + (2 + 64 * 0.1) == estimate({.heads = 1, .seq_q = 1, .seq_kv = 1, .head_dim = 96}));
  // A causal problem of 320 row blocks, 16 waves of blocks that see 256.5 keys on average, and 48 more in
  // tiles; half of a shortest block at the end.
  CHECK(1 + 16 * (2 + (256.5 + 48) * 0.02) + (2 + 64 * 0.02) / 2 + 0.5 ==
        estimate({.heads = 20, .seq_q = 512, .causal = true}));
}

TEST_CASE("what is chosen is right, whatever it is") {
  const Device device = current_device();
  std::set<std::string_view> names;
  for (const Shape& shape : {Shape{.heads = 2, .seq_q = 100, .seq_kv = 500},
                             {.heads = 2, .seq_q = 100, .seq_kv = 200},
                             {.heads = 2, .seq_q = 3, .seq_kv = 3000, .head_dim = 128},
                             {.heads = 70, .kv_heads = 7, .seq_q = 65, .seq_kv = 100},
                             {.heads = 150, .seq_q = 100, .seq_kv = 70, .causal = true},
                             {.heads = 40, .kv_heads = 4, .seq_q = 500, .seq_kv = 300, .head_dim = 128},
                             {.heads = 2, .seq_q = 70, .seq_kv = 200, .head_dim = 96}}) {
    const Problem problem(shape);
    const any_shape::Candidate* choice = any_shape::choose(problem, device);
    INFO(describe(problem));
    REQUIRE(choice);
    names.insert(choice->name);
    const Inputs inputs = make_inputs(problem, Distribution::normal, 80);
    const Expected expected = reference::expect(problem, inputs);
    Session session(problem, inputs);
    const Outcome outcome = session.run(chosen());
    const Comparison comparison = compare(outcome.o, expected);
    INFO(choice->name << ": " << comparison.message);
    CHECK(comparison.ok);
    CHECK(outcome.damage.empty());
  }
  CHECK(names.size() >= (device.compute_capability == 90 ? 5 : 3));
}

// A survey times the chosen kernel twice, by its own name and as `chosen`. Where a call takes a few
// microseconds the two times differ by a quarter of one, so no choice is held to less.
TEST_CASE("the choice is at most 5 % or 0.25 us slower than the best candidate, wherever that was recorded") {
  const std::vector<bench::Results> surveys = bench::read_all_results(ATTENTION_SURVEYS);
  REQUIRE_FALSE(surveys.empty());
  for (const bench::Results& survey : surveys) {
    Device device = {};
    device.compute_capability = int(10 * std::stod(survey.about("compute_capability")) + 0.5);
    device.sm_count = std::stoi(survey.about("sm_count"));
    for (const Device& known : devices()) {
      if (known.compute_capability == device.compute_capability) {
        device.smem_per_block_bytes = known.smem_per_block_bytes;
      }
    }
    CAPTURE(survey.file);
    REQUIRE(device.smem_per_block_bytes > 0);

    // By the variants' names alone, which no two candidates share: they have moved from stage to stage.
    std::map<std::string, std::map<std::string_view, double>> us_of;  // by shape and candidate
    std::map<std::string, Problem> problems;
    std::set<std::string_view> names;
    for (const bench::Measurement& measured : survey.measurements) {
      for (const any_shape::Candidate& candidate : any_shape::candidates()) {
        if (measured.name.variant != candidate.name) continue;
        us_of[measured.name.shape][candidate.name] = measured.median_us;
        problems.emplace(measured.name.shape, *measured.problem);
        names.insert(candidate.name);
      }
    }
    // An older survey may not have timed every candidate; the choice is then among those that it has.
    std::vector<any_shape::Candidate> recorded;
    for (const any_shape::Candidate& candidate : any_shape::candidates()) {
      if (names.count(candidate.name)) recorded.push_back(candidate);
    }
    REQUIRE(recorded.size() >= 5);
    REQUIRE(us_of.size() > 50);
    for (const auto& [shape, us] : us_of) {
      double best_us = us.begin()->second;
      for (const auto& [variant, variant_us] : us) best_us = std::min(best_us, variant_us);
      const any_shape::Candidate* choice = any_shape::choose(problems.at(shape), device, recorded);
      REQUIRE(choice);
      INFO(shape << ", choice " << choice->name << ", best " << best_us << " us");
      REQUIRE(us.count(choice->name) == 1);
      CHECK(us.at(choice->name) <= std::max(1.05 * best_us, best_us + 0.25));
    }
  }
}
