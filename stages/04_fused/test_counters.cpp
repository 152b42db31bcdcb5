// What the emulated device counts, held against what each variant claims. Compiled for that device alone.
#include <string_view>
#include <vector>

#include "counting.hpp"

using namespace attention;

namespace {

// The one kernel of a call, which is one launch.
emulator::KernelProfile kernel_of(std::string_view name, const Shape& shape) {
  const emulator::Profile profile = profile_of(name, shape);
  REQUIRE(profile.kernels.size() == 1);
  REQUIRE(profile.kernels[0].launches == 1);
  return profile.kernels[0];
}

constexpr std::string_view kPlainVariants[] = {"fused", "cp_async", "swizzled", "pipelined",
                                               "q_in_registers"};
constexpr Shape kShape = {.heads = 1, .seq_q = 128, .seq_kv = 256};

}  // namespace

TEST_CASE("one launch reads Q once, K and V once a block of rows, and writes O once") {
  for (const std::string_view name : kPlainVariants) {
    for (const int head_dim : {32, 64, 96, 128}) {
      CAPTURE(name, head_dim);
      Shape shape = kShape;
      shape.head_dim = head_dim;
      const emulator::Counters total = kernel_of(name, shape).total;
      const std::uint64_t row_bytes = 2 * head_dim;
      CHECK(total.global_load_bytes == (128 + 2 * (256 + 256)) * row_bytes);
      CHECK(total.global_store_bytes == 128 * row_bytes);
    }
  }
}

TEST_CASE("cp.async passes the registers by") {
  const emulator::Counters fused = kernel_of("fused", kShape).total;
  CHECK(fused.cp_async == 0);
  CHECK(fused.shared_store_bytes == fused.global_load_bytes);
  const emulator::Counters cp_async = kernel_of("cp_async", kShape).total;
  CHECK(cp_async.async_bytes == fused.shared_store_bytes);
  CHECK(cp_async.shared_store_bytes == 0);
  CHECK(cp_async.max_groups_in_flight == 1);
}

TEST_CASE("linear tiles conflict, swizzled ones do not") {
  for (const int head_dim : {32, 64, 96, 128}) {
    CAPTURE(head_dim);
    Shape shape = kShape;
    shape.head_dim = head_dim;
    const emulator::Counters linear = kernel_of("cp_async", shape).total;
    // Rows of 64 B and 192 B begin in two places alternately, so only four of eight meet.
    CHECK(linear.shared_load_wavefronts ==
          (head_dim % 64 == 0 ? 8 : 4) * linear.shared_load_wavefronts_ideal);
    for (const std::string_view name : {"swizzled", "pipelined", "q_in_registers"}) {
      CAPTURE(name);
      const emulator::Counters total = kernel_of(name, shape).total;
      CHECK(total.shared_load_wavefronts == total.shared_load_wavefronts_ideal);
      CHECK(total.async_store_wavefronts == total.async_store_wavefronts_ideal);
      CHECK(total.shared_store_wavefronts == total.shared_store_wavefronts_ideal);
    }
    CHECK(kernel_of("swizzled", shape).total.shared_load_bytes == linear.shared_load_bytes);
  }
}

TEST_CASE("the next tile is asked for before this one is multiplied") {
  // Copies of warp 0 before its first product: the tiles of Q, K and V are 64 rows, 8 chunks, 4 warps: 4
  // copies each.
  const auto copies_before_mma = [](std::string_view name) {
    int copies = 0;
    for (const emulator::Event& event : kernel_of(name, kShape).events) {
      if (event.warp != 0) continue;
      if (event.kind == emulator::EventKind::mma) break;
      if (event.kind == emulator::EventKind::cp_async) ++copies;
    }
    return copies;
  };
  CHECK(copies_before_mma("swizzled") == 3 * 4);
  CHECK(copies_before_mma("pipelined") == 5 * 4);
  CHECK(kernel_of("swizzled", kShape).total.max_groups_in_flight == 1);
  CHECK(kernel_of("pipelined", kShape).total.max_groups_in_flight > 1);
}

TEST_CASE("Q leaves the loop, and so do stores of half a sector") {
  const emulator::Counters pipelined = kernel_of("pipelined", kShape).total;
  const emulator::Counters lean = kernel_of("q_in_registers", kShape).total;
  // 8 warps, 4 tiles of keys, 4 pieces of Q.
  CHECK(pipelined.ldmatrix - lean.ldmatrix == 8 * (4 - 1) * 4);
  CHECK(pipelined.global_store_sectors == 2 * pipelined.global_store_sectors_ideal);
  CHECK(lean.global_store_sectors == lean.global_store_sectors_ideal);
  // Row sums cost a product for each 16 keys, and save two additions a score.
  CHECK(lean.mma - pipelined.mma == 8 * 256 / 16);
}

TEST_CASE("`fitted` reads less for each product on large grids, and uses more blocks on small ones") {
  const Shape large = {.heads = 2 * current_device().sm_count, .seq_q = 128, .seq_kv = 64};
  const emulator::KernelProfile wide = kernel_of("fitted", large);
  const emulator::KernelProfile plain = kernel_of("q_in_registers", large);
  CHECK(wide.total.mma == plain.total.mma);
  CHECK(wide.blocks == plain.blocks / 2);
  // Without the reads of Q, once a row in both, half as many.
  const std::uint64_t q_reads = large.heads * (128 / 16) * (64 / 16);
  CHECK(2 * (wide.total.ldmatrix - q_reads) == plain.total.ldmatrix - q_reads);

  CHECK(kernel_of("q_in_registers", {}).blocks == 8 * 512 / 64);
  CHECK(kernel_of("fitted", {}).blocks == 8 * 512 / 32);
}
