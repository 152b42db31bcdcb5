// What only this stage must show; tests/conformance.cpp has what every stage must.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "reference.hpp"
#if __has_include("emulator/emulator.hpp")
#include "emulator/emulator.hpp"
#define ATTENTION_HAS_COUNTERS
#endif

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

Comparison error_of(std::string_view name, Session& session, const reference::Expected& expected) {
  return compare(session.run(variant_named(name)).o, expected.o, expected.tolerance);
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
  // 512 and 2048 keys are where the softmax changes its way.
  for (const int seq_kv : {511, 513, 2048, 2049, 4500}) {
    for (const bool causal : {false, true}) {
      const Problem problem({.heads = 1, .seq_q = 5, .seq_kv = seq_kv, .head_dim = 32, .causal = causal});
      const Inputs inputs = make_inputs(problem, Distribution::outlier_key, 21);
      const reference::Expected expected = reference::expect(problem, inputs);
      Session session(problem, inputs);
      for (const char* name : {"wmma", "double_buffered", "warp_specialized"}) {
        const Comparison comparison = error_of(name, session, expected);
        INFO(name << " on " << describe(problem) << ": " << comparison.message);
        CHECK(comparison.ok);
      }
    }
  }
}

TEST_CASE("half accumulators cost accuracy, and no more than one rounding a step") {
  for (const Distribution distribution : {Distribution::normal, Distribution::equal_keys}) {
    const Problem problem({.heads = 1, .seq_q = 64, .seq_kv = 1024});
    const Inputs inputs = make_inputs(problem, distribution, 22);
    const reference::Expected expected = reference::expect(problem, inputs);
    Session session(problem, inputs);
    const Comparison in_float = error_of("wmma", session, expected);
    const Comparison in_half = error_of("f16_accumulate", session, expected);
    CAPTURE(name(distribution), in_float.relative_error, in_half.relative_error);
    CHECK(in_float.ok);
    CHECK(in_half.relative_error > in_float.relative_error);

    // Each of four groups of warps sums a quarter of the keys, 16 a step. A sum of probabilities times values
    // is at most the largest value, so that each step rounds by at most half a unit in that value's last
    // place.
    float largest_v = 0;
    for (const half v : inputs.v) largest_v = std::max(largest_v, std::abs(__half2float(v)));
    const double steps = 1024 / 16;
    const double unit = std::exp2(std::ceil(std::log2(largest_v)) - 11);
    CHECK(in_half.max_abs_error <= expected.tolerance.max_abs_error + steps * unit / 2);
  }
}

TEST_CASE("how operands are brought changes no bit") {
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

#ifdef ATTENTION_HAS_COUNTERS
// Last, because counting starts the program again with traced kernels.

namespace {

// What the emulated device counts in one call of a variant at 512 x 512, a head of 64.
std::vector<emulator::KernelProfile> profile_of(std::string_view name) {
  EmulatorOptions counting;
  counting.profile = true;
  configure_device(counting);
  const Problem problem({.heads = 1});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 24);
  Session session(problem, inputs);
  emulator::clear_profile();
  session.run(variant_named(name));
  std::vector<emulator::KernelProfile> kernels = emulator::profile().kernels;
  configure_device({});
  return kernels;
}

const emulator::KernelProfile& kernel_named(const std::vector<emulator::KernelProfile>& kernels,
                                            const std::string& name) {
  const auto found = std::find_if(kernels.begin(), kernels.end(), [&](const emulator::KernelProfile& kernel) {
    return kernel.kernel.find(name) != std::string::npos;
  });
  REQUIRE(found != kernels.end());
  return *found;
}

// Global loads of the first warp before its first product.
int loads_before_multiplying(const emulator::KernelProfile& kernel) {
  int loads = 0;
  for (const emulator::Event& event : kernel.events) {
    if (event.warp != 0) continue;
    if (event.kind == emulator::EventKind::mma) break;
    if (event.kind == emulator::EventKind::global_load) ++loads;
  }
  return loads;
}

}  // namespace

TEST_CASE("tensor cores do the products, and no access waits for a bank") {
  for (const char* name : {"wmma", "f16_accumulate", "double_buffered", "warp_specialized"}) {
    CAPTURE(name);
    const std::vector<emulator::KernelProfile> kernels = profile_of(name);
    REQUIRE(kernels.size() == 3);
    for (const emulator::KernelProfile& kernel : kernels) {
      CAPTURE(kernel.kernel);
      CHECK(kernel.total.shared_load_wavefronts == kernel.total.shared_load_wavefronts_ideal);
      CHECK(kernel.total.shared_store_wavefronts == kernel.total.shared_store_wavefronts_ideal);
      CHECK(kernel.total.global_load_sectors == kernel.total.global_load_sectors_ideal);
      CHECK(kernel.total.global_store_sectors == kernel.total.global_store_sectors_ideal);
    }
    // 2 * 512 * 512 * 64 operations a product, nothing computed twice or in vain.
    CHECK(kernel_named(kernels, "scores_kernel").total.tensor_flop == 2ull * 512 * 512 * 64);
    CHECK(kernel_named(kernels, "output_kernel").total.tensor_flop == 2ull * 512 * 512 * 64);
  }
}

TEST_CASE("the next tile is asked for before this one is multiplied") {
  const auto wmma = profile_of("wmma");
  const auto double_buffered = profile_of("double_buffered");
  const int tile_loads = loads_before_multiplying(kernel_named(wmma, "output_kernel"));
  CHECK(tile_loads > 0);
  CHECK(loads_before_multiplying(kernel_named(double_buffered, "output_kernel")) == 2 * tile_loads);
  CHECK(loads_before_multiplying(kernel_named(double_buffered, "scores_kernel")) >
        loads_before_multiplying(kernel_named(wmma, "scores_kernel")));
}

TEST_CASE("producer warps load, consumer warps multiply") {
  const auto kernels = profile_of("warp_specialized");
  for (const char* name : {"scores_kernel", "output_kernel"}) {
    const emulator::KernelProfile& kernel = kernel_named(kernels, name);
    REQUIRE(kernel.warps.size() == 16);
    for (int warp_id = 0; warp_id < 16; ++warp_id) {
      CAPTURE(name, warp_id);
      const emulator::Counters& counters = kernel.warps[warp_id];
      CHECK(counters.named_barriers > 0);
      if (warp_id < 8) {
        CHECK(counters.mma > 0);
        CHECK(counters.global_load_requests == 0);
      } else {
        CHECK(counters.mma == 0);
        CHECK(counters.ldmatrix == 0);
        CHECK(counters.global_load_requests > 0);
      }
    }
  }
}

TEST_CASE("no race, and nothing read before it was written") {
  EmulatorOptions checking;
  checking.check_memory = true;
  configure_device(checking);
  // Whole and ragged tiles, buffers used once and again, one wholly masked row.
  for (const Shape& shape : {Shape{.heads = 2, .kv_heads = 1, .seq_q = 65, .seq_kv = 577, .causal = true},
                             Shape{.heads = 1, .seq_q = 17, .seq_kv = 257, .head_dim = 128},
                             Shape{.heads = 1, .seq_q = 70, .seq_kv = 69, .head_dim = 96, .causal = true},
                             Shape{.heads = 1, .seq_q = 3, .seq_kv = 4500, .head_dim = 32}}) {
    const Problem problem(shape);
    const Inputs inputs = make_inputs(problem, Distribution::normal, 25);
    Session session(problem, inputs);
    for (const char* name : {"wmma", "f16_accumulate", "double_buffered", "warp_specialized"}) {
      emulator::clear_reports();
      session.run(variant_named(name));
      INFO(name << " on " << describe(problem));
      for (const emulator::Report& report : emulator::reports()) FAIL_CHECK(report.message);
    }
  }
  configure_device({});
}
#endif
