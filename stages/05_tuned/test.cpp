// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <cstring>
#include <utility>
#include <vector>

#include "attention/cuda_check.hpp"
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

const Stage& this_stage() {
  return *registry().front();
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

TEST_CASE("a maximum of the first keys that later ones surpass, by little and by far") {
  // lazy_max takes the maximum of the first 16 of each 128 keys.
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
