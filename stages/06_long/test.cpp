// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <algorithm>
#include <cstring>
#include <utility>

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

int require_all_right(const Problem& problem, const Inputs& inputs) {
  const Expected expected = reference::expect(problem, inputs);
  Session session(problem, inputs);
  int ran = 0;
  for (const Variant& variant : this_stage().variants) {
    if (!check_support(variant, problem, current_device()).ok) continue;
    const Comparison comparison = compare(session.run(variant).o, expected);
    INFO(variant.name << " on " << describe(problem) << ": " << comparison.message);
    CHECK(comparison.ok);
    ++ran;
  }
  return ran;
}

}  // namespace

TEST_CASE("calls give the same bits, hundreds of them on a GPU, two on the emulated device") {
  const Device device = current_device();
  // More row blocks than SMs, of different lengths: the order in which `persistent` takes them varies.
  const Problem problem({.heads = device.emulated ? 2 : 200, .seq_q = 400, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 60);
  Session session(problem, inputs);
  int ran = 0;
  for (const Variant& variant : this_stage().variants) {
    if (!check_support(variant, problem, device).ok) continue;
    // The emulated device runs blocks in an order that is the same every time unless it is asked otherwise,
    // which conformance does; a GPU does not.
    const int calls = device.emulated ? 2 : 500;
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
    ++ran;
  }
  CHECK((ran > 0 || device.compute_capability != 90));
}

TEST_CASE("row blocks that end within a warpgroup, a tile and the ring") {
  const Device device = current_device();
  int ran = 0;
  for (const int head_dim : {64, 128}) {
    // One tile, as many as the ring has slots, one more; rows of one, two and three warpgroups.
    for (const auto& [seq_q, seq_kv] : {std::pair(50, 60), {100, 240}, {192, 384}, {193, 500}}) {
      for (const bool causal : {false, true}) {
        const Problem problem(
            {.heads = 2, .seq_q = seq_q, .seq_kv = seq_kv, .head_dim = head_dim, .causal = causal});
        ran += require_all_right(problem, make_inputs(problem, Distribution::normal, 61));
      }
    }
  }
  CHECK((ran > 0 || device.compute_capability != 90));
}

TEST_CASE("a block takes several row blocks, some of which see no key") {
  // More row blocks than SMs: `persistent` goes from one to the next.
  const Device device = current_device();
  const Problem problem({.heads = device.sm_count + 5, .seq_q = 70, .seq_kv = 30, .causal = true});
  const int ran = require_all_right(problem, make_inputs(problem, Distribution::normal, 62));
  CHECK((ran > 0 || device.compute_capability != 90));
}

TEST_CASE("a maximum that later tiles surpass, by little and by far") {
  // O is rescaled only where a maximum is surpassed by more than the slack. Keys are walked from the last to
  // the first, so scores rise towards the first: by less than the slack per tile, by more, and in the first
  // 70 keys only.
  const Device device = current_device();
  int ran = 0;
  for (const auto& [rise, first_keys] : {std::pair(0.01f, 500), {0.2f, 500}, {3.f, 500}, {3.f, 70}}) {
    for (const int head_dim : {64, 128}) {
      const Problem problem({.heads = 1, .seq_q = 100, .seq_kv = 500, .head_dim = head_dim, .scale = 1.f});
      Inputs inputs = make_inputs(problem, Distribution::normal, 63);
      for (std::size_t i = 0; i < inputs.q.size(); ++i) {
        inputs.q[i] =
            __float2half(i % std::size_t(head_dim) == 0 ? 1.f : 0.f);  // a score is its key's first element
      }
      for (int key = 0; key < problem.seq_kv; ++key) {
        inputs.k[std::size_t(key) * head_dim] = __float2half(rise * std::max(0, first_keys - key));
      }
      INFO("rise " << rise << " over the first " << first_keys << " keys");
      ran += require_all_right(problem, inputs);
    }
  }
  CHECK((ran > 0 || device.compute_capability != 90));
}
