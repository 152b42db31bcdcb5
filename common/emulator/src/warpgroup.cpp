#include "warpgroup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "half_floats.hpp"
#include "tensor_map.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

constexpr int kRows = 16;  // of a warp
constexpr int kDepth = 16;
constexpr int kMostColumns = 256;

// ---- Tiles ----

// A descriptor of the PTX ISA, "Matrix Descriptor Format"; lengths in bytes.
struct Tile {
  std::ptrdiff_t start, leading, stride;
  explicit Tile(std::uint64_t descriptor)
      : start(std::ptrdiff_t(descriptor & 0x3fff) << 4),
        leading(std::ptrdiff_t(descriptor >> 16 & 0x3fff) << 4),
        stride(std::ptrdiff_t(descriptor >> 32 & 0x3fff) << 4) {}
  static bool has_128_byte_swizzle(std::uint64_t descriptor) { return descriptor >> 62 == 1; }

  // Offset of 8 elements in a row, of an operand stored by rows (m or n) of which k is contiguous ...
  std::ptrdiff_t chunk_of_row(int row, int k) const {
    return swizzled_128(start + row / 8 * stride + row % 8 * 128 + k * 2);
  }
  // ... and of one stored by k, of which m or n is contiguous, in panels of 64.
  std::ptrdiff_t chunk_of_k(int k, int column) const {
    return swizzled_128(start + column / 64 * leading + k / 8 * stride + k % 8 * 128 + column % 64 * 2);
  }
};

// Reads 16-byte chunks of tiles on behalf of one warp.
class Reader {
 public:
  Reader(Worker& worker, const Thread& first, const WarpProduct& product)
      : worker_(worker), first_(first), product_(product) {}

  void read(std::ptrdiff_t offset, float* eight) {
    if (offset + 16 > worker_.smem.bytes()) {
      report({.kind = ReportKind::out_of_bounds,
              .site = product_.site,
              .message = fmt::format("{} warp {}: wgmma reads 16 bytes at {}, outside shared memory",
                                     worker_.name(), first_.warp(), worker_.smem.name_of(offset)),
              .threads = {first_.linear}});
      worker_.fail();
    }
    if (Tracer* tracer = worker_.tracer()) tracer->proxy_read(first_, product_.pc, offset, 16);
    halves_to_floats(reinterpret_cast<const std::uint16_t*>(worker_.smem.at(offset)), eight, 8);
  }

  // b[k][n], of `columns` columns.
  void read_b(float (&b)[kDepth][kMostColumns], int columns) {
    const Tile tile(product_.what.b_tile);
    if (product_.what.b_major == OperandMajor::mn) {
      for (int k = 0; k < kDepth; ++k) {
        for (int n = 0; n < columns; n += 8) read(tile.chunk_of_k(k, n), &b[k][n]);
      }
      return;
    }
    float row[kDepth];
    for (int n = 0; n < columns; ++n) {
      for (int k = 0; k < kDepth; k += 8) read(tile.chunk_of_row(n, k), row + k);
      for (int k = 0; k < kDepth; ++k) b[k][n] = row[k];
    }
  }

  // a[m][k], the warp's rows.
  void read_a(float (&a)[kRows][kDepth]) {
    const int first_row = first_.warp() % 4 * kRows;
    const Tile tile(product_.what.a_tile);
    if (product_.what.a) {
      // As of mma.m16n8k16.
      for (int lane = 0; lane < 32; ++lane) {
        float pairs[8];
        halves_to_floats(reinterpret_cast<const std::uint16_t*>(product_.a[lane]), pairs, 8);
        for (int r = 0; r < 4; ++r) {
          float* to = &a[lane / 4 + r % 2 * 8][lane % 4 * 2 + r / 2 * 8];
          to[0] = pairs[2 * r];
          to[1] = pairs[2 * r + 1];
        }
      }
    } else if (product_.what.a_major == OperandMajor::k) {
      for (int m = 0; m < kRows; ++m) {
        for (int k = 0; k < kDepth; k += 8) read(tile.chunk_of_row(first_row + m, k), &a[m][k]);
      }
    } else {
      float column[kRows];
      for (int k = 0; k < kDepth; ++k) {
        for (int m = 0; m < kRows; m += 8) read(tile.chunk_of_k(k, first_row + m), column + m);
        for (int m = 0; m < kRows; ++m) a[m][k] = column[m];
      }
    }
  }

 private:
  Worker& worker_;
  const Thread& first_;
  const WarpProduct& product_;
};

// Calls function(two neighbouring registers of a lane, their place in 16 rows of 2 * count values): register
// 4 j + 2 h + c of a lane is row lane / 4 + 8 h, column 8 j + 2 (lane % 4) + c.
template <typename Function>
void for_each_pair(float* const (&of_lane)[32], int count, Function function) {
  const int columns = 2 * count;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < count; i += 2) {
      const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2;
      function(of_lane[lane] + i, std::size_t(row * columns + column));
    }
  }
}

}  // namespace

// ---- Accumulators ----

// Takes the registers' values and poisons them. True: they are not what the last product left.
bool WarpProducts::Accumulators::take() {
  bool changed = false;
  for_each_pair(of_lane, count, [&](const float* registers, std::size_t at) {
    changed = changed || std::memcmp(registers, &values[at], 2 * sizeof(float)) != 0;
    std::memcpy(&values[at], registers, 2 * sizeof(float));
  });
  for (float* registers : of_lane) std::memset(registers, 0xff, std::size_t(count) * sizeof(float));
  return changed;
}

void WarpProducts::Accumulators::give_back() {
  for_each_pair(of_lane, count, [&](float* registers, std::size_t at) {
    std::memcpy(registers, &values[at], 2 * sizeof(float));
  });
}

void WarpProducts::Accumulators::add(Worker& worker, const Thread* lanes, const WarpProduct& product) {
  const int columns = 2 * count;
  alignas(64) float a[kRows][kDepth], b[kDepth][kMostColumns];
  Reader reader(worker, lanes[0], product);
  reader.read_a(a);
  reader.read_b(b, columns);
  if (!product.what.accumulate) std::fill(values.begin(), values.end(), 0.0f);
  for (int m = 0; m < kRows; ++m) {
    float* d = &values[std::size_t(m * columns)];
    for (int k = 0; k < kDepth; ++k) {
      for (int n = 0; n < columns; ++n) d[n] += a[m][k] * b[k][n];
    }
  }
}

// ---- The products of a warp ----

void WarpProducts::begin_block() {
  accumulators_.clear();
  products_.clear();
  groups_.clear();
  fenced_ = false;
  issued_ = 0;
}

std::size_t WarpProducts::accumulators_at(float* const (&d)[32], int count) {
  const auto known = std::find_if(accumulators_.begin(), accumulators_.end(), [&](const Accumulators& entry) {
    return entry.of_lane[0] == d[0] && entry.count == count;
  });
  if (known != accumulators_.end()) return std::size_t(known - accumulators_.begin());
  Accumulators& added = accumulators_.emplace_back(Accumulators{{}, count, {}, 0});
  added.values.assign(std::size_t(kRows * 2 * count), NAN);
  std::copy(std::begin(d), std::end(d), added.of_lane);
  return accumulators_.size() - 1;
}

bool WarpProducts::issue(const WarpProduct& product, float* const (&d)[32]) {
  const std::size_t index = accumulators_at(d, product.what.count);
  Accumulators& accumulators = accumulators_[index];
  const bool changed = accumulators.pending == 0 && accumulators.take();
  ++accumulators.pending;
  ++issued_;
  products_.push_back({product, index});
  // Only a product that adds to what the last one left may go without.
  return !fenced_ && (changed || product.what.a || !product.what.accumulate);
}

void WarpProducts::commit() {
  int committed = 0;
  for (const int size : groups_) committed += size;
  groups_.push_back(int(products_.size()) - committed);
}

void WarpProducts::wait(Worker& worker, const Thread* lanes, int groups) {
  const int done = std::max(0, int(groups_.size()) - groups);
  int count = 0;
  for (int i = 0; i < done; ++i) count += groups_[std::size_t(i)];
  for (int i = 0; i < count; ++i) {
    const Outstanding& outstanding = products_[std::size_t(i)];
    Accumulators& accumulators = accumulators_[outstanding.accumulators];
    accumulators.add(worker, lanes, outstanding.product);
    if (--accumulators.pending == 0) accumulators.give_back();
  }
  products_.erase(products_.begin(), products_.begin() + count);
  groups_.erase(groups_.begin(), groups_.begin() + done);
  fenced_ = false;
}

bool WarpProducts::is_pending(int lane, const void* address, int bytes) const {
  if (products_.empty()) return false;
  const char* at = static_cast<const char*>(address);
  return std::any_of(accumulators_.begin(), accumulators_.end(), [&](const Accumulators& entry) {
    const char* begin = reinterpret_cast<const char*>(entry.of_lane[lane]);
    return entry.pending > 0 && at < begin + entry.count * int(sizeof(float)) && begin < at + bytes;
  });
}

// ---- The instructions ----

namespace {

struct ProductArguments {
  const WarpgroupProduct& what;
  std::uintptr_t pc;
};

// wgmma's wavefronts are 128 bytes each: A's rows of this warp, unless they are in registers, and B, which
// all four warps share and the first one counts.
std::uint64_t wavefronts(const WarpgroupProduct& product, int warp) {
  constexpr std::uint64_t kRowBytes = kDepth * 2, kWavefrontBytes = 128;
  const std::uint64_t a_rows = product.a ? 0 : kRows;
  const std::uint64_t b_rows = warp % 4 == 0 ? 2 * std::uint64_t(product.count) : 0;
  return (a_rows + b_rows) * kRowBytes / kWavefrontBytes;
}

bool perform_product(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const auto argument = [&](int lane) -> const WarpgroupProduct& {
    return static_cast<const ProductArguments*>(lanes[lane].arguments)->what;
  };
  WarpProduct product = {.what = argument(0),
                         .a = {},
                         .site = lanes[0].site,
                         .pc = static_cast<const ProductArguments*>(lanes[0].arguments)->pc};
  for (const std::uint64_t tile : {product.what.a_tile, product.what.b_tile}) {
    if (tile != 0 && !Tile::has_128_byte_swizzle(tile)) {
      worker.refuse_warp(ReportKind::misaligned, lanes[0],
                         "a wgmma tile without the 128-byte swizzle, which is the only one there is here");
    }
  }
  float* d[32];
  for (int lane = 0; lane < 32; ++lane) {
    const WarpgroupProduct& of_lane = argument(lane);
    if (of_lane.a_tile != product.what.a_tile || of_lane.b_tile != product.what.b_tile ||
        of_lane.accumulate != product.what.accumulate) {
      worker.refuse_warp(ReportKind::divergent_barrier, lanes[lane],
                         fmt::format("lanes 0 and {} give wgmma different tiles", lane));
    }
    if (of_lane.a) std::memcpy(product.a[lane], of_lane.a, sizeof(product.a[lane]));
    d[lane] = of_lane.d;
  }

  const int warp = lanes[0].warp();
  const bool lacks_fence = worker.products(warp).issue(product, d);
  if (lacks_fence && worker.faults.first_time(ReportKind::missing_fence, std::uintptr_t(product.site.line))) {
    report({.kind = ReportKind::missing_fence,
            .site = product.site,
            .message =
                fmt::format("{} warp {}: a wgmma without a wgmma_fence() after the last wgmma_wait_group() "
                            "and the accesses to its registers",
                            worker.name(), warp),
            .threads = {lanes[0].linear}});
  }
  if (Tracer* tracer = worker.tracer()) {
    const std::uint64_t columns = 2 * std::uint64_t(product.what.count);
    tracer->count(warp, EventKind::wgmma, product.site, 1, 2 * kRows * kDepth * columns);
    tracer->count_wgmma_wavefronts(warp, product.site, wavefronts(product.what, warp));
  }
  return true;
}
constexpr WarpOperation kProduct = {"wgmma", true, perform_product};

bool perform_fence(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  worker.products(lanes[0].warp()).fence();
  return true;
}
constexpr WarpOperation kFence = {"wgmma_fence", true, perform_fence};

bool perform_commit(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  worker.products(lanes[0].warp()).commit();
  return true;
}
constexpr WarpOperation kCommit = {"wgmma_commit_group", true, perform_commit};

bool perform_wait(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const int warp = lanes[0].warp(), groups = *static_cast<const int*>(lanes[0].arguments);
  Tracer* tracer = worker.tracer();
  // The reads of the tiles are a step of their own in the order of what the warp does.
  if (tracer) tracer->warp_barrier_passed(warp);
  worker.products(warp).wait(worker, lanes, groups);
  if (!tracer) return true;
  tracer->warp_barrier_passed(warp);
  tracer->count(warp, EventKind::wgmma_wait_group, lanes[0].site);
  return true;
}
constexpr WarpOperation kWait = {"wgmma_wait_group", true, perform_wait};

}  // namespace

// ---- For kernels ----

std::uint64_t matrix_descriptor(const void* tile, int leading_bytes, int stride_bytes, Site site) {
  constexpr std::uint64_t kSwizzle128B = 1;
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.smem.offset_of(tile);
  if (offset < 0 || offset >= 1 << 18 || offset % 16 != 0) {
    worker.refuse_thread(
        offset < 0 ? ReportKind::out_of_bounds : ReportKind::misaligned, site,
        fmt::format(
            "a wgmma tile at {}, which is not a multiple of 16 bytes in the first 256 KB of shared memory",
            tile));
  }
  return std::uint64_t(offset >> 4) | std::uint64_t(leading_bytes >> 4) << 16 |
         std::uint64_t(stride_bytes >> 4) << 32 | kSwizzle128B << 62;
}

void warpgroup_multiply(const WarpgroupProduct& product, Site site) {
  ProductArguments arguments{product, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))};
  current_worker->join(kProduct, kAllLanes, &arguments, site);
}
void warpgroup_fence(Site site) {
  current_worker->join(kFence, kAllLanes, nullptr, site);
}
void warpgroup_commit(Site site) {
  current_worker->join(kCommit, kAllLanes, nullptr, site);
}
void warpgroup_wait(int groups, Site site) {
  current_worker->join(kWait, kAllLanes, &groups, site);
}

}  // namespace emulator
