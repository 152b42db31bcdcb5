// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <filesystem>
#include <map>
#include <string>
#include <utility>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"
#include "choice.hpp"
#include "reference.hpp"
#include "results.hpp"

using namespace attention;

namespace {

const Stage& this_stage() {
  return *registry().front();
}

const Variant& variant_named(std::string_view name) {
  for (const Variant& variant : this_stage().variants) {
    if (variant.name == name) return variant;
  }
  throw std::logic_error("no variant " + std::string(name));
}

void require_right(const Variant& variant, const Shape& shape, std::uint64_t seed) {
  const Problem problem(shape);
  const Inputs inputs = make_inputs(problem, Distribution::normal, seed);
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  const Comparison comparison = compare(session.run(variant).o, expected);
  INFO(variant.name << " on " << describe(problem) << ": " << comparison.message);
  CHECK(comparison.ok);
}

}  // namespace

TEST_CASE("calls give the same bits, ten thousand of them on a GPU, two on the emulated device") {
  const Device device = current_device();
  const Problem problem;
  const Inputs inputs = make_inputs(problem, Distribution::normal, 60);
  Session session(problem, inputs);
  for (const Variant& variant : this_stage().variants) {
    if (!check_support(variant, problem, device).ok) continue;
    // The emulated device runs blocks in an order that is the same every time unless it is asked otherwise,
    // which conformance does; a GPU does not.
    const bool default_variant = &variant == &this_stage().default_variant();
    const int calls = device.emulated ? 2 : default_variant ? 10'000 : 500;
    const std::vector<half> first = session.run(variant).o;
    const Stream stream;
    int different = 0;
    for (int call = 1; call < calls; ++call) {
      session.poison_output();
      CUDA_CHECK(cudaDeviceSynchronize());
      CUDA_CHECK(session.enqueue(variant, stream));
      CUDA_CHECK(cudaStreamSynchronize(stream));
      const std::vector<half> o = session.output().to_host();
      different += std::memcmp(o.data(), first.data(), o.size() * sizeof(half)) != 0;
    }
    INFO(variant.name);
    CHECK(different == 0);
  }
}

TEST_CASE("keys split over blocks are put together again") {
  // As many parts as there are passes, fewer, and one that begins behind what causal rows see.
  for (const int head_dim : {64, 128}) {
    require_right(variant_named("split_kv"), {.heads = 2, .seq_q = 1, .seq_kv = 3000, .head_dim = head_dim},
                  61);
    require_right(variant_named("split_kv"),
                  {.heads = 8, .kv_heads = 2, .seq_q = 200, .seq_kv = 1400, .head_dim = head_dim}, 62);
    require_right(variant_named("split_kv"),
                  {.heads = 1, .seq_q = 900, .seq_kv = 1100, .head_dim = head_dim, .causal = true}, 63);
  }
  CHECK(tuned::key_parts(Problem({.heads = 2, .seq_q = 1, .seq_kv = 3000})).parts == 6);
  CHECK(tuned::key_parts(Problem({.heads = 8, .seq_q = 200, .seq_kv = 1400})).parts == 2);
  CHECK(tuned::key_parts(Problem()).parts == 1);
}

TEST_CASE("a maximum of the first keys that later ones surpass, by little and by far") {
  // lazy_max takes the first of each 128 keys for its maximum; the large shapes' kernels rescale rarely, too.
  for (const Shape& shape : {Shape{.heads = 2, .seq_q = 128, .seq_kv = 512},
                             Shape{.heads = 2, .seq_q = 300, .seq_kv = 500, .causal = true}}) {
    for (const auto& [growth, first_grown] : {std::pair(2.f, 64u), {30.f, 32u}, {30.f, 64u}, {30.f, 96u}}) {
      const Problem problem(shape);
      Inputs inputs = make_inputs(problem, Distribution::normal, 64);
      for (std::size_t i = 0; i < inputs.k.size(); ++i) {
        const std::size_t key = i / std::size_t(problem.head_dim) % std::size_t(problem.seq_kv);
        if (key % 128 >= first_grown && key % 3 == 0) {
          inputs.k[i] = __float2half(growth * __half2float(inputs.k[i]));
        }
      }
      const Expected expected = reference::expect(problem, inputs);
      Session session(problem, inputs);
      for (const Variant& variant : this_stage().variants) {
        if (!check_support(variant, problem, current_device()).ok) continue;
        const Comparison comparison = compare(session.run(variant).o, expected);
        INFO(variant.name << " on " << describe(problem) << ", grown by " << growth << " from key "
                          << first_grown << ": " << comparison.message);
        CHECK(comparison.ok);
      }
    }
  }
}

TEST_CASE("every choice is a variant that supports the shape") {
  for (const int capability : {80, 90, 100}) {
    Device device = current_device();
    device.compute_capability = capability;
    for (const int head_dim : {64, 128}) {
      for (const int heads : {1, 8, 200}) {
        for (const int seq_q : {1, 60, 512, 5000}) {
          for (const int seq_kv : {1, 300, 512, 5000}) {
            const Problem problem({.heads = heads,
                                   .seq_q = seq_q,
                                   .seq_kv = seq_kv,
                                   .head_dim = head_dim,
                                   .causal = seq_q == 60});
            const Variant& choice = variant_named(tuned::choose(problem, capability));
            INFO(choice.name << " for " << describe(problem) << " on compute capability " << capability);
            const Support support = choice.supports(problem, device);
            INFO(support.reason);
            CHECK(support.ok);
          }
        }
      }
    }
  }
}

TEST_CASE("the choice is at most 5 % slower than the best variant, wherever that was recorded") {
  const std::vector<bench::Results> surveys = bench::read_all_results(ATTENTION_SURVEYS);
  REQUIRE_FALSE(surveys.empty());
  for (const bench::Results& survey : surveys) {
    const int capability = int(10 * std::stod(survey.about("compute_capability")) + 0.5);
    std::map<std::string, std::map<std::string, double>> us_of;  // by shape and variant
    std::map<std::string, Problem> problems;
    for (const bench::Measurement& measured : survey.measurements) {
      if (measured.name.variant == "chosen") continue;  // one of the others, measured once more
      us_of[measured.name.shape][measured.name.variant] = measured.median_us;
      problems.emplace(measured.name.shape, *measured.problem);
    }
    REQUIRE(us_of.size() > 50);
    for (const auto& [shape, us] : us_of) {
      double best_us = us.begin()->second;
      for (const auto& [variant, variant_us] : us) best_us = std::min(best_us, variant_us);
      const std::string choice(tuned::choose(problems.at(shape), capability));
      INFO(survey.file << ": " << shape << ", choice " << choice << ", best " << best_us << " us");
      REQUIRE(us.count(choice) == 1);
      CHECK(us.at(choice) <= 1.05 * best_us);
    }
  }
}
