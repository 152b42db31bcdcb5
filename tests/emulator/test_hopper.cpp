// Hopper's operations against scalar models written from the PTX ISA. The same tests run on a GPU of
// compute capability 9.0.

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <random>

#include "attention/device.hpp"
#include "attention/device_buffer.hpp"
#include "catch.hpp"
#include "hopper.hpp"
#include "operation_test.hpp"

using attention::DeviceBuffer;
using namespace operation_test;
using hopper::Box;
using hopper::Operand;

namespace {

std::vector<half> numbered(std::size_t count) {
  std::vector<half> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = __ushort_as_half((unsigned short)(i % 30000 + 1));
  return values;
}

// Where element (row, column) of a box lies in its tile.
std::size_t place_in_tile(const Box& box, int row, int column) {
  const int panel = column / 64, chunk = column % 64 / 8;
  return std::size_t((panel * box.box_rows + row) * 64 + (chunk ^ row % 8) * 8 + column % 8);
}

// The tensor's element that element (row, column) of a box is, or -1 outside.
std::ptrdiff_t place_in_tensor(const Box& box, int row, int column) {
  const int tensor_row = box.row + row, tensor_column = box.panel * 64 + column;
  const bool inside = tensor_row >= 0 && tensor_row < box.rows && tensor_column >= 0 &&
                      tensor_column < box.head_dim && box.head >= 0 && box.head < box.heads;
  return inside ? (std::ptrdiff_t(box.head) * box.rows + tensor_row) * box.head_dim + tensor_column : -1;
}

constexpr Box kBoxes[] = {
    {1, 64, 64, 64, 64, 0, 0, 0},      // all of the tensor
    {3, 100, 128, 64, 128, 0, 64, 1},  // past the end, two panels, the next head after it
    {2, 40, 192, 8, 64, 2, 35, 1},     // the last panel
    {2, 50, 64, 256, 64, 0, 0, 0},     // more rows than there are
    {2, 30, 64, 16, 64, 0, 30, 0},     // nothing inside
    {2, 30, 64, 16, 64, 0, -5, 1},     // begins before the first row: a GPU loads it, and refuses to store it
};

}  // namespace

TEST_CASE("mbarriers hand tiles from warp to warp, phase after phase") {
  constexpr int kTiles = 21;
  std::vector<float> values(kTiles * 32);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto in = on_device(values);
  DeviceBuffer<float> out(values.size(), kBands);
  run(hopper::hand_over(in.data(), out.data(), kTiles));
  const std::vector<float> got = out.to_host();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == values[i / 32 * 32 + 31 - i % 32]);
}

TEST_CASE("bulk copies of bytes, counted by one mbarrier") {
  std::vector<unsigned char> bytes(4096 + 16);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = (unsigned char)(i * 7 + i / 256);
  const auto in = on_device(bytes);
  DeviceBuffer<unsigned char> out(bytes.size(), kBands);
  run(hopper::bulk_lines(in.data(), out.data()));
  CHECK(out.to_host() == bytes);
}

TEST_CASE("TMA loads a box in panels, swizzled, with zeros for rows outside") {
  for (const Box& box : kBoxes) {
    CAPTURE(box.rows, box.head_dim, box.box_rows, box.box_columns, box.panel, box.row, box.head);
    const std::vector<half> tensor = numbered(std::size_t(box.heads * box.rows * box.head_dim));
    const auto in = on_device(tensor);
    DeviceBuffer<half> out(box.elements(), kBands);
    run(hopper::tile_load(in.data(), out.data(), box));
    const std::vector<half> got = out.to_host();
    int wrong = 0;
    for (int row = 0; row < box.box_rows; ++row) {
      for (int column = 0; column < box.box_columns; ++column) {
        const std::ptrdiff_t from = place_in_tensor(box, row, column);
        const unsigned short want = from < 0 ? 0 : __half_as_ushort(tensor[std::size_t(from)]);
        wrong += __half_as_ushort(got[place_in_tile(box, row, column)]) != want;
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("TMA stores a box and leaves out the rows outside") {
  for (const Box& box : kBoxes) {
    if (box.row < 0) continue;
    CAPTURE(box.rows, box.head_dim, box.box_rows, box.box_columns, box.panel, box.row, box.head);
    const std::vector<half> tile = numbered(box.elements());
    const std::vector<half> before(std::size_t(box.heads * box.rows * box.head_dim), __float2half(7.0f));
    const auto in = on_device(tile);
    auto tensor = on_device(before);
    run(hopper::tile_store(in.data(), tensor.data(), box));
    std::vector<half> want = before;
    for (int row = 0; row < box.box_rows; ++row) {
      for (int column = 0; column < box.box_columns; ++column) {
        const std::ptrdiff_t to = place_in_tensor(box, row, column);
        if (to >= 0) want[std::size_t(to)] = tile[place_in_tile(box, row, column)];
      }
    }
    const std::vector<half> got = tensor.to_host();
    int wrong = 0;
    for (std::size_t i = 0; i < got.size(); ++i)
      wrong += __half_as_ushort(got[i]) != __half_as_ushort(want[i]);
    CHECK(wrong == 0);
  }
}

TEST_CASE("wgmma with A in shared memory either way round and in registers, B either way round") {
  constexpr int kDepth = 64;
  for (const int columns : {32, 64, 128, 192}) {
    for (const Operand a_kind : {Operand::k_major, Operand::mn_major, Operand::registers}) {
      for (const Operand b_kind : {Operand::k_major, Operand::mn_major}) {
        if (a_kind == Operand::registers && columns == 192) continue;  // hopper.cuh has no such wrapper
        for (const bool accumulate : {false, true}) {
          CAPTURE(columns, int(a_kind), int(b_kind), accumulate);
          const int pitch = (columns + 63) / 64 * 64;
          const std::vector<half> a = small_numbers(64 * kDepth, 1);
          const std::vector<half> b = small_numbers(std::size_t(kDepth * pitch), 2);
          std::vector<float> d(std::size_t(64 * columns));
          std::iota(d.begin(), d.end(), -1000.0f);
          const auto a_device = on_device(a), b_device = on_device(b);
          auto d_device = on_device(d);
          run(hopper::wgmma(a_device.data(), a_kind, b_device.data(), b_kind, d_device.data(), columns,
                            accumulate));
          const std::vector<float> got = d_device.to_host();
          int wrong = 0;
          for (int m = 0; m < 64; ++m) {
            for (int n = 0; n < columns; ++n) {
              float want = accumulate ? d[std::size_t(m * columns + n)] : 0.0f;
              for (int k = 0; k < kDepth; ++k) {
                const half of_a = a[std::size_t(a_kind == Operand::mn_major ? k * 64 + m : m * kDepth + k)];
                const half of_b =
                    b[std::size_t(b_kind == Operand::mn_major ? k * pitch + n : n * kDepth + k)];
                want += __half2float(of_a) * __half2float(of_b);
              }
              wrong += got[std::size_t(m * columns + n)] != want;
            }
          }
          CHECK(wrong == 0);
        }
      }
    }
  }
}

TEST_CASE("two wgmma groups, the first used while the second is in flight") {
  const std::vector<half> a = small_numbers(64 * 64, 3), b = small_numbers(128 * 64, 4);
  const auto a_device = on_device(a), b_device = on_device(b);
  DeviceBuffer<float> out(2 * 64 * 64, kBands);
  run(hopper::wgmma_groups(a_device.data(), b_device.data(), out.data()));
  const std::vector<float> got = out.to_host();
  int wrong = 0;
  for (int group = 0; group < 2; ++group) {
    for (int m = 0; m < 64; ++m) {
      for (int n = 0; n < 64; ++n) {
        float want = 0.0f;
        for (int k = 0; k < 64; ++k) {
          want += __half2float(a[std::size_t(m * 64 + k)]) *
                  __half2float(b[std::size_t((group * 64 + n) * 64 + k)]);
        }
        wrong += got[std::size_t((group * 64 + m) * 64 + n)] != want;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("warpgroups hand registers to one another") {
  DeviceBuffer<int> out(384, kBands);
  run(hopper::registers(out.data()));
  const std::vector<int> got = out.to_host();
  for (int i = 0; i < 384; ++i) CHECK(got[std::size_t(i)] == i);
}

TEST_CASE("one thread of each warp is elected, the same each time") {
  DeviceBuffer<int> out(128, kBands);
  run(hopper::elect(out.data()));
  const std::vector<int> got = out.to_host();
  for (std::size_t warp = 0; warp < 4; ++warp) {
    const auto first = got.begin() + std::ptrdiff_t(32 * warp);
    CHECK(std::count(first, first + 32, 2) == 1);
    CHECK(std::count(first, first + 32, 0) == 31);
  }
}

TEST_CASE("blocks of a cluster write into each other's shared memory") {
  for (const int size : {1, 2, 4, 8}) {
    CAPTURE(size);
    constexpr int kBlocks = 16;
    DeviceBuffer<float> out(256 * kBlocks, kBands);
    run(hopper::neighbours(out.data(), kBlocks, size));
    const std::vector<float> got = out.to_host();
    int wrong = 0;
    for (int block = 0; block < kBlocks; ++block) {
      const int rank = block % size, left = block - rank + (rank + size - 1) % size;
      const float* mine = &got[std::size_t(256 * block)];
      for (int thread = 0; thread < 32; ++thread) {
        const float base = 1000.0f * float(left) + float(31 - thread);
        for (int i = 0; i < 4; ++i) wrong += mine[4 * thread + i] != base + 0.25f * float(i);
        for (int i = 0; i < 2; ++i) wrong += mine[128 + 2 * thread + i] != -base - 0.5f * float(i);
        wrong += mine[192 + thread] != float(rank);
      }
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("one load for all blocks of a cluster") {
  const Box box = {1, 64, 64, 64, 64, 0, 0, 0};
  const std::vector<half> tensor = numbered(64 * 64);
  const auto in = on_device(tensor);
  DeviceBuffer<half> out(2 * 64 * 64, kBands);
  run(hopper::multicast(in.data(), out.data()));
  const std::vector<half> got = out.to_host();
  int wrong = 0;
  for (int row = 0; row < 64; ++row) {
    for (int column = 0; column < 64; ++column) {
      const unsigned short want = __half_as_ushort(tensor[std::size_t(row * 64 + column)]);
      for (std::size_t block = 0; block < 2; ++block) {
        wrong += __half_as_ushort(got[block * 64 * 64 + place_in_tile(box, row, column)]) != want;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("a launch without clusters after one with them") {
  const std::vector<unsigned char> bytes(4096 + 16, 5);
  const auto in = on_device(bytes);
  constexpr int kBlocks = 256;  // enough for every worker of the emulated device to run some
  DeviceBuffer<float> gathered(256 * kBlocks, kBands);
  DeviceBuffer<unsigned char> out(bytes.size(), kBands);
  run(hopper::neighbours(gathered.data(), kBlocks, 4));
  run(hopper::bulk_lines(in.data(), out.data()));
  CHECK(out.to_host() == bytes);
}

TEST_CASE("clusters that do not divide the grid, or are too large, are refused") {
  DeviceBuffer<float> out(256 * 48, kBands);
  CHECK(hopper::neighbours(out.data(), 4, 3) != cudaSuccess);
  CHECK(hopper::neighbours(out.data(), 48, 16) != cudaSuccess);
  (void)cudaGetLastError();
  run(hopper::neighbours(out.data(), 6, 3));
}
