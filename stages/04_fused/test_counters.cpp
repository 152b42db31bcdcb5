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

constexpr std::string_view kBlocksOf64Rows[] = {"fused",        "cp_async",       "swizzled",
                                                "pipelined",    "q_in_registers", "exp2",
                                                "lazy_rescale", "mma_row_sums",   "wide_stores"};
constexpr Shape kShape = {.heads = 1, .seq_q = 128, .seq_kv = 256};
constexpr std::uint64_t kWarps = 8;  // of kShape: two blocks of four warps
constexpr std::uint64_t kTiles = 4;  // of 64 keys

}  // namespace

TEST_CASE("one launch reads Q once, K and V once per block of rows, and writes O once") {
  for (const std::string_view name : kBlocksOf64Rows) {
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

TEST_CASE("cp.async bypasses the registers") {
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
    for (const std::string_view name :
         {"swizzled", "pipelined", "wide_stores", "two_row_tiles", "split_keys"}) {
      CAPTURE(name);
      const emulator::Counters total = kernel_of(name, shape).total;
      CHECK(total.shared_load_wavefronts == total.shared_load_wavefronts_ideal);
      CHECK(total.async_store_wavefronts == total.async_store_wavefronts_ideal);
      CHECK(total.shared_store_wavefronts == total.shared_store_wavefronts_ideal);
    }
    CHECK(kernel_of("swizzled", shape).total.shared_load_bytes == linear.shared_load_bytes);
  }
}

TEST_CASE("the next tile's copy is issued before this one is multiplied") {
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

TEST_CASE(
    "q_in_registers reads the fragments of Q once, not once per tile, and gives their shared memory back") {
  const emulator::KernelProfile pipelined = kernel_of("pipelined", kShape);
  const std::size_t pipelined_smem_bytes = emulator::launches().at(0).dynamic_smem_bytes;
  const emulator::KernelProfile held = kernel_of("q_in_registers", kShape);
  CHECK(pipelined.total.ldmatrix - held.total.ldmatrix == kWarps * (kTiles - 1) * 4);  // 4 fragments of Q
  CHECK(pipelined_smem_bytes - emulator::launches().at(0).dynamic_smem_bytes == 64 * 64 * 2);
}

TEST_CASE("exp2 makes no pass over Q's signs unless the scale is negative") {
  const emulator::Counters held = kernel_of("q_in_registers", kShape).total;
  CHECK(kernel_of("exp2", kShape).total.shared_store_bytes == held.shared_store_bytes);
  Shape negative = kShape;
  negative.scale = -1.f;
  CHECK(kernel_of("exp2", negative).total.shared_store_bytes - held.shared_store_bytes == 128 * 64 * 2);
}

TEST_CASE("lazy_rescale decides by one vote per warp and tile") {
  CHECK(kernel_of("exp2", kShape).total.votes == 0);
  CHECK(kernel_of("lazy_rescale", kShape).total.votes == kWarps * kTiles);
}

TEST_CASE("mma_row_sums takes a product more per 16 keys and reduces no sum over the quad") {
  const emulator::Counters added = kernel_of("lazy_rescale", kShape).total;
  const emulator::Counters multiplied = kernel_of("mma_row_sums", kShape).total;
  CHECK(multiplied.mma - added.mma == kWarps * 256 / 16);
  CHECK(added.shuffles - multiplied.shuffles == kWarps * 2 * 2);  // of two rows per lane, two steps each
}

TEST_CASE("wide_stores writes whole sectors where each store wrote halves") {
  const emulator::Counters halves = kernel_of("mma_row_sums", kShape).total;
  const emulator::Counters whole = kernel_of("wide_stores", kShape).total;
  CHECK(halves.global_store_sectors == 2 * halves.global_store_sectors_ideal);
  CHECK(whole.global_store_sectors == whole.global_store_sectors_ideal);
}

TEST_CASE("two_row_tiles reads half as many fragments of K and V for the same products") {
  for (const int head_dim : {64, 128}) {
    CAPTURE(head_dim);
    Shape shape = kShape;
    shape.head_dim = head_dim;
    const emulator::KernelProfile one = kernel_of("wide_stores", shape);
    const emulator::KernelProfile two = kernel_of("two_row_tiles", shape);
    CHECK(two.total.mma == one.total.mma);
    CHECK(2 * two.blocks == one.blocks);
    // Fragments of Q are read once, or per tile where the registers cannot hold them.
    const std::uint64_t q_once = 128 / 16 * (head_dim / 16);
    const std::uint64_t q_of_two = head_dim == 64 ? q_once : kTiles * q_once;
    CHECK(2 * (two.total.ldmatrix - q_of_two) == one.total.ldmatrix - q_once);
  }
}

TEST_CASE("split_keys makes twice the blocks, and each of their warps takes a quarter of the keys") {
  const emulator::KernelProfile whole = kernel_of("wide_stores", kShape);
  const emulator::KernelProfile split = kernel_of("split_keys", kShape);
  CHECK(split.blocks == 2 * whole.blocks);
  CHECK(split.total.mma == whole.total.mma);
  REQUIRE(whole.warps.size() == 4);
  REQUIRE(split.warps.size() == 8);
  const std::uint64_t mma_per_block = whole.warps[0].mma / whole.blocks;
  for (const emulator::Counters& warp : split.warps) CHECK(4 * warp.mma / split.blocks == mma_per_block);
}
