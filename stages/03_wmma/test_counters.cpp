// What each variant claims, as the emulated device counts and checks it. Compiled for that device alone.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "counting.hpp"

using namespace attention;
namespace {

// One call of a variant at 512 x 512, a head of 64.
std::vector<emulator::KernelProfile> kernels_of(std::string_view name) {
  return profile_of(name, {.heads = 1}).kernels;
}

const emulator::KernelProfile& kernel_named(const std::vector<emulator::KernelProfile>& kernels,
                                            std::string_view name) {
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
    const std::vector<emulator::KernelProfile> kernels = kernels_of(name);
    REQUIRE(kernels.size() == 3);
    for (const emulator::KernelProfile& kernel : kernels) {
      CAPTURE(kernel.kernel);
      CHECK(kernel.total.shared_load_wavefronts == kernel.total.shared_load_wavefronts_ideal);
      CHECK(kernel.total.shared_store_wavefronts == kernel.total.shared_store_wavefronts_ideal);
      CHECK(kernel.total.global_load_sectors == kernel.total.global_load_sectors_ideal);
      CHECK(kernel.total.global_store_sectors == kernel.total.global_store_sectors_ideal);
    }
    // 2 * 512 * 512 * 64 operations per product, nothing computed twice or in vain.
    CHECK(kernel_named(kernels, "scores_kernel").total.tensor_flop == 2ull * 512 * 512 * 64);
    CHECK(kernel_named(kernels, "output_kernel").total.tensor_flop == 2ull * 512 * 512 * 64);
  }
}

TEST_CASE("the next tile is loaded before this one is multiplied") {
  const auto wmma = kernels_of("wmma");
  const auto double_buffered = kernels_of("double_buffered");
  const int tile_loads = loads_before_multiplying(kernel_named(wmma, "output_kernel"));
  CHECK(tile_loads > 0);
  CHECK(loads_before_multiplying(kernel_named(double_buffered, "output_kernel")) == 2 * tile_loads);
  CHECK(loads_before_multiplying(kernel_named(double_buffered, "scores_kernel")) >
        loads_before_multiplying(kernel_named(wmma, "scores_kernel")));
}

TEST_CASE("producer warps load, consumer warps multiply") {
  const auto kernels = kernels_of("warp_specialized");
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
