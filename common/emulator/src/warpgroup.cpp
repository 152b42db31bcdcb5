// wgmma and setmaxnreg. A product is carried out when its warp waits for it: its accumulators hold NaN until
// then, so that a register read too early is a wrong answer, and its tiles are read as late as a GPU may read
// them, so that a tile that was given back too early is one too.

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

constexpr unsigned kFullMask = 0xffffffffu;
constexpr int kRows = 16;  // of a warp
constexpr int kDepth = 16;
constexpr int kMostColumns = 256;

// Whoever calls is the last lane of its warp to arrive.
[[noreturn]] void refuse(Worker& worker, const Thread& thread, ReportKind kind, const std::string& what) {
  report({.kind = kind,
          .site = thread.site,
          .message = fmt::format("{} warp {}: ", worker.block_name(), thread.warp()) + what,
          .threads = {thread.linear}});
  worker.fail();
}

void need_whole_warp(Worker& worker, const Thread* lanes, unsigned mask) {
  if (mask == kFullMask) return;
  refuse(worker, lanes[__builtin_ctz(mask)], ReportKind::bad_mask,
         fmt::format("{} needs all 32 lanes, only {:08x} are there",
                     lanes[__builtin_ctz(mask)].operation->name, mask));
}

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
  Reader(Worker& worker, Thread* lanes, const WarpProducts::Product& product)
      : worker_(worker), first_(lanes[0]), product_(product) {}

  void read(std::ptrdiff_t offset, float* eight) {
    if (offset + 16 > worker_.smem_bytes()) {
      report({.kind = ReportKind::out_of_bounds,
              .site = product_.site,
              .message = fmt::format("{} warp {}: wgmma reads 16 bytes at {}, outside shared memory",
                                     worker_.block_name(), first_.warp(), worker_.shared_name(offset)),
              .threads = {first_.linear}});
      worker_.fail();
    }
    if (worker_.tracer) worker_.tracer->proxy_read(first_, product_.pc, offset, 16);
    halves_to_floats(reinterpret_cast<const std::uint16_t*>(worker_.shared_at(offset)), eight, 8);
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
  const WarpProducts::Product& product_;
};

// ---- Accumulators: register 4 j + 2 h + c of a lane is row lane / 4 + 8 h, column 8 j + 2 (lane % 4) + c
// ----

// Calls function(two neighbouring registers, their place in `values`).
template <typename Function>
void for_each_pair(const WarpProducts::Accumulators& accumulators, Function function) {
  const int columns = 2 * accumulators.count;
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < accumulators.count; i += 2) {
      const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2;
      function(accumulators.of_lane[lane] + i, std::size_t(row * columns + column));
    }
  }
}

// Takes the registers' values and poisons them. True: they are not what the last product left.
bool take(WarpProducts::Accumulators& accumulators) {
  bool changed = false;
  for_each_pair(accumulators, [&](const float* registers, std::size_t at) {
    changed = changed || std::memcmp(registers, &accumulators.values[at], 2 * sizeof(float)) != 0;
    std::memcpy(&accumulators.values[at], registers, 2 * sizeof(float));
  });
  for (float* registers : accumulators.of_lane)
    std::memset(registers, 0xff, std::size_t(accumulators.count) * sizeof(float));
  return changed;
}

void give_back(WarpProducts::Accumulators& accumulators) {
  for_each_pair(accumulators, [&](float* registers, std::size_t at) {
    std::memcpy(registers, &accumulators.values[at], 2 * sizeof(float));
  });
}

void multiply(Worker& worker, Thread* lanes, WarpProducts::Accumulators& accumulators,
              const WarpProducts::Product& product) {
  const int columns = 2 * accumulators.count;
  alignas(64) float a[kRows][kDepth], b[kDepth][kMostColumns];
  Reader reader(worker, lanes, product);
  reader.read_a(a);
  reader.read_b(b, columns);
  if (!product.what.accumulate) std::fill(accumulators.values.begin(), accumulators.values.end(), 0.0f);
  for (int m = 0; m < kRows; ++m) {
    float* d = &accumulators.values[std::size_t(m * columns)];
    for (int k = 0; k < kDepth; ++k) {
      for (int n = 0; n < columns; ++n) d[n] += a[m][k] * b[k][n];
    }
  }
}

// ---- The instructions ----

struct ProductArguments {
  const WarpgroupProduct& what;
  std::uintptr_t pc;
};

WarpProducts& products_of(Worker& worker, const Thread* lanes) {
  return worker.products[std::size_t(lanes[0].warp())];
}

bool perform_product(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  WarpProducts& warp = products_of(worker, lanes);
  const auto argument = [&](int lane) -> const WarpgroupProduct& {
    return static_cast<const ProductArguments*>(lanes[lane].arguments)->what;
  };
  WarpProducts::Product product = {.accumulators = 0,
                                   .what = argument(0),
                                   .a = {},
                                   .site = lanes[0].site,
                                   .pc = static_cast<const ProductArguments*>(lanes[0].arguments)->pc};
  for (const std::uint64_t tile : {product.what.a_tile, product.what.b_tile}) {
    if (tile != 0 && !Tile::has_128_byte_swizzle(tile)) {
      refuse(worker, lanes[0], ReportKind::misaligned,
             "a wgmma tile without the 128-byte swizzle, which is the only one there is here");
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    const WarpgroupProduct& of_lane = argument(lane);
    if (of_lane.a_tile != product.what.a_tile || of_lane.b_tile != product.what.b_tile ||
        of_lane.accumulate != product.what.accumulate) {
      refuse(worker, lanes[lane], ReportKind::divergent_barrier,
             fmt::format("lanes 0 and {} give wgmma different tiles", lane));
    }
    if (of_lane.a) std::memcpy(product.a[lane], of_lane.a, sizeof(product.a[lane]));
  }

  auto known = std::find_if(warp.accumulators.begin(), warp.accumulators.end(), [&](const auto& entry) {
    return entry.of_lane[0] == product.what.d && entry.count == product.what.count;
  });
  if (known == warp.accumulators.end()) {
    known = warp.accumulators.insert(known, WarpProducts::Accumulators{{}, product.what.count, {}, 0});
    known->values.assign(std::size_t(kRows * 2 * product.what.count), NAN);
    for (int lane = 0; lane < 32; ++lane) known->of_lane[lane] = argument(lane).d;
  }
  product.accumulators = std::size_t(known - warp.accumulators.begin());
  const bool changed = known->pending == 0 && take(*known);
  ++known->pending;
  // Only a product that adds to what the last one left may go without.
  if (!warp.fenced && (changed || product.what.a || !product.what.accumulate) &&
      worker.first_time(ReportKind::missing_fence, std::uintptr_t(product.site.line))) {
    report({.kind = ReportKind::missing_fence,
            .site = product.site,
            .message = fmt::format(
                "{} warp {}: a wgmma without a wgmma_fence() behind the last wgmma_wait_group() and the "
                "accesses to its registers",
                worker.block_name(), lanes[0].warp()),
            .threads = {lanes[0].linear}});
  }
  if (worker.tracer) {
    const int warp_id = lanes[0].warp();
    const auto columns = 2 * std::uint64_t(product.what.count);
    worker.tracer->count(warp_id, EventKind::wgmma, product.site, 1, 2 * kRows * kDepth * columns);
    // 128 bytes each: A's rows of this warp, unless they are in registers, and B, which all four share.
    constexpr std::uint64_t kBytesOfRow = kDepth * 2, kWavefrontBytes = 128;
    const std::uint64_t a_rows = product.what.a ? 0 : kRows, b_rows = warp_id % 4 == 0 ? columns : 0;
    worker.tracer->count_wgmma_wavefronts(warp_id, product.site,
                                          (a_rows + b_rows) * kBytesOfRow / kWavefrontBytes);
  }
  ++warp.issued;
  warp.products.push_back(product);
  return true;
}
constexpr WarpOperation kProduct = {"wgmma", true, perform_product};

bool perform_fence(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  products_of(worker, lanes).fenced = true;
  return true;
}
constexpr WarpOperation kFence = {"wgmma_fence", true, perform_fence};

bool perform_commit(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  WarpProducts& warp = products_of(worker, lanes);
  int committed = 0;
  for (const int size : warp.groups) committed += size;
  warp.groups.push_back(int(warp.products.size()) - committed);
  return true;
}
constexpr WarpOperation kCommit = {"wgmma_commit_group", true, perform_commit};

bool perform_wait(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  WarpProducts& warp = products_of(worker, lanes);
  const int outstanding = *static_cast<const int*>(lanes[0].arguments);
  const int done = std::max(0, int(warp.groups.size()) - outstanding);
  int count = 0;
  for (int i = 0; i < done; ++i) count += warp.groups[std::size_t(i)];
  // The reads of the tiles are a step of their own in the order of what the warp does.
  if (worker.tracer) worker.tracer->warp_barrier_passed(lanes[0].warp());
  for (int i = 0; i < count; ++i) {
    const WarpProducts::Product& product = warp.products[std::size_t(i)];
    WarpProducts::Accumulators& accumulators = warp.accumulators[product.accumulators];
    multiply(worker, lanes, accumulators, product);
    if (--accumulators.pending == 0) give_back(accumulators);
  }
  warp.products.erase(warp.products.begin(), warp.products.begin() + count);
  warp.groups.erase(warp.groups.begin(), warp.groups.begin() + done);
  warp.fenced = false;
  if (!worker.tracer) return true;
  worker.tracer->warp_barrier_passed(lanes[0].warp());
  worker.tracer->count(lanes[0].warp(), EventKind::wgmma_wait_group, lanes[0].site);
  return true;
}
constexpr WarpOperation kWait = {"wgmma_wait_group", true, perform_wait};

// ---- setmaxnreg ----

bool take_registers(Worker& worker, int warp, int registers) {
  const int more = registers - worker.warps[warp].registers;
  if (more > worker.free_registers) return false;
  worker.free_registers -= more;
  worker.warps[warp].registers = registers;
  return true;
}

bool perform_grow(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const int registers = *static_cast<const int*>(lanes[0].arguments), warp = lanes[0].warp();
  if (registers < worker.warps[warp].registers) {
    refuse(worker, lanes[0], ReportKind::bad_registers,
           fmt::format("setmaxnreg_inc to {}, of {} already", registers, worker.warps[warp].registers));
  }
  if (take_registers(worker, warp, registers)) return true;
  for (int lane = 0; lane < 32; ++lane) lanes[lane].state = State::at_register_pool;
  worker.wanted_registers.emplace_back(warp, registers);
  return false;
}
constexpr WarpOperation kGrow = {"setmaxnreg_inc", true, perform_grow};

bool perform_shrink(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const int registers = *static_cast<const int*>(lanes[0].arguments);
  Warp& warp = worker.warps[lanes[0].warp()];
  if (registers > warp.registers) {
    refuse(worker, lanes[0], ReportKind::bad_registers,
           fmt::format("setmaxnreg_dec to {}, of only {}", registers, warp.registers));
  }
  worker.free_registers += warp.registers - registers;
  warp.registers = registers;
  auto& wanted = worker.wanted_registers;
  const auto served = [&](const std::pair<int, int>& want) {
    if (!take_registers(worker, want.first, want.second)) return false;
    for (int lane = 0; lane < 32; ++lane) worker.make_ready(worker.threads[want.first * 32 + lane]);
    return true;
  };
  wanted.erase(std::remove_if(wanted.begin(), wanted.end(), served), wanted.end());
  return true;
}
constexpr WarpOperation kShrink = {"setmaxnreg_dec", true, perform_shrink};

}  // namespace

void WarpProducts::clear() {
  accumulators.clear();
  products.clear();
  groups.clear();
  fenced = false;
  issued = 0;
}

bool WarpProducts::is_pending(int lane, const void* address, int bytes) const {
  const char* at = static_cast<const char*>(address);
  return std::any_of(accumulators.begin(), accumulators.end(), [&](const Accumulators& entry) {
    const char* begin = reinterpret_cast<const char*>(entry.of_lane[lane]);
    return entry.pending > 0 && at < begin + entry.count * int(sizeof(float)) && begin < at + bytes;
  });
}

// ---- For kernels ----

std::uint64_t matrix_descriptor(const void* tile, int leading_bytes, int stride_bytes, Site site) {
  constexpr std::uint64_t kSwizzle128B = 1;
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.shared_offset(tile);
  if (offset < 0 || offset >= 1 << 18 || offset % 16 != 0) {
    report({.kind = offset < 0 ? ReportKind::out_of_bounds : ReportKind::misaligned,
            .site = site,
            .message = fmt::format(
                "{} thread {}: a wgmma tile at {}, which is not a multiple of 16 bytes in the first 256 KB "
                "of shared memory",
                worker.block_name(), worker.current->linear, tile),
            .threads = {worker.current->linear}});
    worker.fail();
  }
  return std::uint64_t(offset >> 4) | std::uint64_t(leading_bytes >> 4) << 16 |
         std::uint64_t(stride_bytes >> 4) << 32 | kSwizzle128B << 62;
}

void warpgroup_multiply(const WarpgroupProduct& product, Site site) {
  ProductArguments arguments{product, reinterpret_cast<std::uintptr_t>(__builtin_return_address(0))};
  current_worker->join(kProduct, kFullMask, &arguments, site);
}
void warpgroup_fence(Site site) {
  current_worker->join(kFence, kFullMask, nullptr, site);
}
void warpgroup_commit(Site site) {
  current_worker->join(kCommit, kFullMask, nullptr, site);
}
void warpgroup_wait(int groups, Site site) {
  current_worker->join(kWait, kFullMask, &groups, site);
}

void setmaxnreg_inc(int registers, Site site) {
  current_worker->join(kGrow, kFullMask, &registers, site);
}
void setmaxnreg_dec(int registers, Site site) {
  current_worker->join(kShrink, kFullMask, &registers, site);
}

}  // namespace emulator
