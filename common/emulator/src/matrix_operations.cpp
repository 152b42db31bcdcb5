// ldmatrix, mma.sync and wmma, performed once per warp by the last lane to arrive.
//
// Products of halves are exact in float; sums are taken in float, in order of k. Tensor cores sum several
// products at once with wider, truncated intermediates, so the last bits differ.

#include "emulator/matrix_operations.hpp"

#include <fmt/format.h>

#include <cstring>

#include "half_floats.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

using Half = Float16;

float half_to_float(std::uint16_t bits) {
  Half half;
  std::memcpy(&half, &bits, sizeof(half));
  return float(half);
}

std::uint16_t float_to_half(float value) {
  const Half half = Half(value);
  std::uint16_t bits;
  std::memcpy(&bits, &half, sizeof(bits));
  return bits;
}

std::uint32_t pack(std::uint16_t low, std::uint16_t high) {
  return low | std::uint32_t(high) << 16;
}

// D (16 x N) += A (16 x K) B (K x N).
template <int N, int K>
void multiply_add(float (&d)[16][N], const float (&a)[16][K], const float (&b)[K][N]) {
  for (int i = 0; i < 16; ++i) {
    for (int k = 0; k < K; ++k) {
      for (int j = 0; j < N; ++j) d[i][j] += a[i][k] * b[k][j];
    }
  }
}

void count_mma(Worker& worker, const Thread* lanes, int instructions, std::uint64_t flop) {
  if (Tracer* tracer = worker.tracer()) {
    tracer->count(lanes[0].warp(), EventKind::mma, lanes[0].site, std::uint64_t(instructions), flop);
  }
}

// ---- ldmatrix ----

struct LoadMatrices {
  std::uint32_t* registers;
  const void* row;
  int count;
  bool transposed;
};

bool perform_load_matrices(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  const auto arguments_of = [&](int lane) -> LoadMatrices& {
    return *static_cast<LoadMatrices*>(lanes[lane].arguments);
  };
  const int count = arguments_of(0).count;
  const bool transposed = arguments_of(0).transposed;
  for (int m = 0; m < count; ++m) {
    std::uint16_t matrix[8][8];
    for (int row = 0; row < 8; ++row) std::memcpy(matrix[row], arguments_of(m * 8 + row).row, 16);
    for (int lane = 0; lane < 32; ++lane) {
      const int row = lane / 4, column = lane % 4 * 2;
      arguments_of(lane).registers[m] = transposed ? pack(matrix[column][row], matrix[column + 1][row])
                                                   : pack(matrix[row][column], matrix[row][column + 1]);
    }
  }
  return true;
}
constexpr WarpOperation kLoadMatrices = {"ldmatrix", true, perform_load_matrices};

// ---- mma.sync ----

struct Multiply {
  void* d;
  bool d_is_float;
  const std::uint32_t* a;
  const std::uint32_t* b;
};

template <int K>
bool perform_multiply(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  count_mma(worker, lanes, 1, 2 * 16 * 8 * K);
  const auto arguments_of = [&](int lane) -> Multiply& {
    return *static_cast<Multiply*>(lanes[lane].arguments);
  };
  std::uint16_t a_halves[16][K], b_halves[K][8];
  alignas(64) float a[16][K], b[K][8], d[16][8];
  const bool d_is_float = arguments_of(0).d_is_float;
  for (int lane = 0; lane < 32; ++lane) {
    const Multiply& arguments = arguments_of(lane);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int r = 0; r < K / 4; ++r) {
      const int row = g + r % 2 * 8, column = t + r / 2 * 8;
      std::memcpy(&a_halves[row][column], &arguments.a[r], 4);
    }
    for (int r = 0; r < K / 8; ++r) {
      b_halves[t + r * 8][g] = std::uint16_t(arguments.b[r]);
      b_halves[t + r * 8 + 1][g] = std::uint16_t(arguments.b[r] >> 16);
    }
    for (int r = 0; r < 2; ++r) {
      if (d_is_float) {
        std::memcpy(&d[g + r * 8][t], static_cast<const float*>(arguments.d) + 2 * r, 2 * sizeof(float));
      } else {
        const std::uint32_t pair = static_cast<const std::uint32_t*>(arguments.d)[r];
        d[g + r * 8][t] = half_to_float(std::uint16_t(pair));
        d[g + r * 8][t + 1] = half_to_float(std::uint16_t(pair >> 16));
      }
    }
  }
  halves_to_floats(a_halves[0], a[0], 16 * K);
  halves_to_floats(b_halves[0], b[0], K * 8);
  multiply_add(d, a, b);
  for (int lane = 0; lane < 32; ++lane) {
    const Multiply& arguments = arguments_of(lane);
    const int g = lane / 4, t = lane % 4 * 2;
    for (int r = 0; r < 2; ++r) {
      if (d_is_float) {
        std::memcpy(static_cast<float*>(arguments.d) + 2 * r, &d[g + r * 8][t], 2 * sizeof(float));
      } else {
        static_cast<std::uint32_t*>(arguments.d)[r] =
            pack(float_to_half(d[g + r * 8][t]), float_to_half(d[g + r * 8][t + 1]));
      }
    }
  }
  return true;
}
constexpr WarpOperation kMultiplyK8 = {"mma.m16n8k8", true, perform_multiply<8>};
constexpr WarpOperation kMultiplyK16 = {"mma.m16n8k16", true, perform_multiply<16>};

// ---- wmma: a fragment's element e of a lane is the one that mma.m16n8k16's layout puts there ----

struct Position {
  int row, column;
};
Position position_in_a(int lane, int element) {
  return {lane / 4 + element / 2 % 2 * 8, lane % 4 * 2 + element % 2 + element / 4 * 8};
}
Position position_in_b(int lane, int element) {
  const Position transposed = position_in_a(lane, element);
  return {transposed.column, transposed.row};
}
Position position_in_accumulator(int lane, int element) {
  return position_in_a(lane, element);
}

std::size_t offset_in(const WmmaTile& tile, Position at) {
  return tile.row_major ? std::size_t(at.row) * tile.leading_dimension + std::size_t(at.column)
                        : std::size_t(at.column) * tile.leading_dimension + std::size_t(at.row);
}

bool perform_wmma_access(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  return true;
}
constexpr WarpOperation kWmmaLoad = {"wmma::load_matrix_sync", true, perform_wmma_access};
constexpr WarpOperation kWmmaStore = {"wmma::store_matrix_sync", true, perform_wmma_access};

// The documented conditions: a tile on a 32-byte boundary, rows a multiple of 16 bytes apart.
void check_wmma_tile(const WmmaTile& tile, std::size_t element_bytes, const char* operation, Site site) {
  const bool address_fits = reinterpret_cast<std::uintptr_t>(tile.memory) % 32 == 0;
  const bool stride_fits = tile.leading_dimension * element_bytes % 16 == 0;
  if (address_fits && stride_fits) return;
  current_worker->refuse_thread(
      ReportKind::misaligned, site,
      fmt::format(
          "{} of a tile at {} with a leading dimension of {}; the tile must begin at a multiple of 32 bytes, "
          "and its rows must lie a multiple of 16 bytes apart",
          operation, tile.memory, tile.leading_dimension));
}

struct WmmaMultiply {
  void* d;
  bool d_is_float;
  const void *a, *b, *c;
  bool c_is_float;
};

bool perform_wmma_multiply(Worker& worker, Thread* lanes, unsigned mask) {
  need_whole_warp(worker, lanes, mask);
  count_mma(worker, lanes, 2, 2 * 16 * 16 * 16);  // two 16x8x16 on the chip
  alignas(64) float a[16][16], b[16][16], d[16][16];
  for (int lane = 0; lane < 32; ++lane) {
    const WmmaMultiply& arguments = *static_cast<WmmaMultiply*>(lanes[lane].arguments);
    float a_elements[8], b_elements[8];
    halves_to_floats(static_cast<const std::uint16_t*>(arguments.a), a_elements, 8);
    halves_to_floats(static_cast<const std::uint16_t*>(arguments.b), b_elements, 8);
    for (int e = 0; e < 8; ++e) {
      const Position in_a = position_in_a(lane, e), in_b = position_in_b(lane, e);
      const Position in_d = position_in_accumulator(lane, e);
      a[in_a.row][in_a.column] = a_elements[e];
      b[in_b.row][in_b.column] = b_elements[e];
      d[in_d.row][in_d.column] = arguments.c_is_float
                                     ? static_cast<const float*>(arguments.c)[e]
                                     : half_to_float(static_cast<const std::uint16_t*>(arguments.c)[e]);
    }
  }
  multiply_add(d, a, b);
  for (int lane = 0; lane < 32; ++lane) {
    const WmmaMultiply& arguments = *static_cast<WmmaMultiply*>(lanes[lane].arguments);
    for (int e = 0; e < 8; ++e) {
      const Position at = position_in_accumulator(lane, e);
      if (arguments.d_is_float)
        static_cast<float*>(arguments.d)[e] = d[at.row][at.column];
      else
        static_cast<std::uint16_t*>(arguments.d)[e] = float_to_half(d[at.row][at.column]);
    }
  }
  return true;
}
constexpr WarpOperation kWmmaMultiply = {"wmma::mma_sync", true, perform_wmma_multiply};

}  // namespace

void load_matrices(std::uint32_t* registers, int count, bool transposed, const void* row, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  const Thread& self = worker.current();
  if (self.lane() < 8 * count) {
    const bool aligned = reinterpret_cast<std::uintptr_t>(row) % 16 == 0;
    if (!aligned || worker.smem.offset_of(row) < 0) {
      worker.refuse_thread(aligned ? ReportKind::out_of_bounds : ReportKind::misaligned, site,
                           fmt::format("ldmatrix of a row at {}, which is not {}", row,
                                       aligned ? "shared memory" : "a multiple of 16 bytes"));
    }
    if (Tracer* tracer = worker.tracer()) tracer->access(pc, row, 16, Access::ldmatrix);
  }
  LoadMatrices arguments{registers, row, count, transposed};
  worker.join(kLoadMatrices, kAllLanes, &arguments, site);
}

void multiply_matrices(MmaShape shape, void* d, bool d_is_float, const std::uint32_t* a,
                       const std::uint32_t* b, Site site) {
  Multiply arguments{d, d_is_float, a, b};
  current_worker->join(shape == MmaShape::m16n8k8 ? kMultiplyK8 : kMultiplyK16, kAllLanes, &arguments, site);
}

void wmma_load_operand(void* fragment, WmmaOperand operand, WmmaTile tile, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Tracer* tracer = worker.tracer();
  check_wmma_tile(tile, sizeof(Half), kWmmaLoad.name, site);
  const int lane = worker.current().lane();
  const auto* memory = static_cast<const std::uint16_t*>(tile.memory);
  auto* elements = static_cast<std::uint16_t*>(fragment);

  // From shared memory the chip loads such a tile by ldmatrix.x4: each lane gives half a row of the
  // 16 in memory.
  const bool in_shared = worker.smem.offset_of(memory) >= 0;
  if (tracer && in_shared) {
    const std::uint16_t* half_row = memory + std::size_t(lane % 16) * tile.leading_dimension + lane / 16 * 8;
    tracer->access(pc, half_row, 16, Access::ldmatrix);
  }
  const bool is_a = operand == WmmaOperand::a;
  const bool pairs_are_neighbours = is_a == tile.row_major;  // then two elements come by one load
  for (int e = 0; e < 8; ++e) {
    const std::uint16_t* element =
        memory + offset_in(tile, is_a ? position_in_a(lane, e) : position_in_b(lane, e));
    if (tracer && !in_shared && !(pairs_are_neighbours && e % 2 == 1)) {
      tracer->access(pc, element, pairs_are_neighbours ? 4 : 2, Access::load);
    }
    elements[e] = elements[e + 8] = *element;
  }
  worker.join(kWmmaLoad, kAllLanes, nullptr, site);
}

void wmma_load_accumulator(void* fragment, bool is_float, WmmaTile tile, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Tracer* tracer = worker.tracer();
  const std::size_t element_bytes = is_float ? 4 : 2;
  check_wmma_tile(tile, element_bytes, kWmmaLoad.name, site);
  const int lane = worker.current().lane();
  for (int e = 0; e < 8; ++e) {
    const char* element = static_cast<const char*>(tile.memory) +
                          offset_in(tile, position_in_accumulator(lane, e)) * element_bytes;
    if (tracer && !(tile.row_major && e % 2 == 1)) {
      tracer->access(pc, element, int(tile.row_major ? 2 * element_bytes : element_bytes), Access::load);
    }
    std::memcpy(static_cast<char*>(fragment) + std::size_t(e) * element_bytes, element, element_bytes);
  }
  worker.join(kWmmaLoad, kAllLanes, nullptr, site);
}

void wmma_store(const void* fragment, bool is_float, WmmaTile tile, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Tracer* tracer = worker.tracer();
  const std::size_t element_bytes = is_float ? 4 : 2;
  check_wmma_tile(tile, element_bytes, kWmmaStore.name, site);
  worker.join(kWmmaStore, kAllLanes, nullptr, site);
  const int lane = worker.current().lane();
  for (int e = 0; e < 8; ++e) {
    char* element = static_cast<char*>(const_cast<void*>(tile.memory)) +
                    offset_in(tile, position_in_accumulator(lane, e)) * element_bytes;
    if (tracer && !(tile.row_major && e % 2 == 1)) {
      tracer->access(pc, element, int(tile.row_major ? 2 * element_bytes : element_bytes), Access::store);
    }
    std::memcpy(element, static_cast<const char*>(fragment) + std::size_t(e) * element_bytes, element_bytes);
  }
}

void wmma_multiply(void* d, bool d_is_float, const void* a, const void* b, const void* c, bool c_is_float,
                   Site site) {
  WmmaMultiply arguments{d, d_is_float, a, b, c, c_is_float};
  current_worker->join(kWmmaMultiply, kAllLanes, &arguments, site);
}

}  // namespace emulator
