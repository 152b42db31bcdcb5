// Every operation of a warp or a block against a scalar model written from the CUDA C++ Programming Guide and
// the PTX ISA. The same tests run on a GPU.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "attention/device_buffer.hpp"
#include "catch.hpp"
#include "operation_test.hpp"
#include "operations.hpp"

using attention::DeviceBuffer;
using namespace operation_test;

TEST_CASE("shuffles of every kind, width and distance") {
  std::vector<float> values(32);
  for (int lane = 0; lane < 32; ++lane) values[std::size_t(lane)] = 100.0f + float(lane);
  const auto in = on_device(values);
  DeviceBuffer<float> out(32, kBands);
  using operations::ShuffleKind;
  for (const auto kind :
       {ShuffleKind::index, ShuffleKind::up, ShuffleKind::down, ShuffleKind::exclusive_or}) {
    for (const int width : {32, 16, 8, 4, 2}) {
      for (const int argument : {0, 1, 2, 3, 7, 15, 16, 31}) {
        CAPTURE(int(kind), width, argument);
        run(operations::shuffle(kind, in.data(), out.data(), argument, width));
        const std::vector<float> got = out.to_host();
        for (int lane = 0; lane < 32; ++lane) {
          const int first = lane / width * width, last = first + width - 1;
          int source = lane;
          switch (kind) {
            case ShuffleKind::index:
              source = first + argument % width;
              break;
            case ShuffleKind::up:
              source = lane - argument < first ? lane : lane - argument;
              break;
            case ShuffleKind::down:
              source = lane + argument > last ? lane : lane + argument;
              break;
            case ShuffleKind::exclusive_or:
              source = (lane ^ argument) > last ? lane : lane ^ argument;
              break;
          }
          CHECK(got[std::size_t(lane)] == values[std::size_t(source)]);
        }
      }
    }
  }
}

TEST_CASE("votes, matches and reductions of the lanes of a mask") {
  std::vector<unsigned> values(32);
  for (unsigned lane = 0; lane < 32; ++lane) values[lane] = lane * 7 % 5;
  const auto in = on_device(values);
  for (const unsigned mask : {0xffffffffu, 0x0000ffffu, 0x80000001u, 0x12345678u, 0x00000100u}) {
    CAPTURE(mask);
    DeviceBuffer<unsigned> out(160, kBands);
    run(operations::votes(in.data(), out.data(), mask));
    const std::vector<unsigned> got = out.to_host();
    unsigned ballot = 0, sum = 0;
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (!(mask >> lane & 1)) continue;
      ballot |= unsigned(values[lane] > 2) << lane;
      sum += values[lane];
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      if (!(mask >> lane & 1)) {
        CHECK(got[lane] == 0xffffffffu);
        continue;
      }
      unsigned equal = 0;
      for (unsigned other = 0; other < 32; ++other) {
        if ((mask >> other & 1) && values[other] == values[lane]) equal |= 1u << other;
      }
      CHECK(got[lane] == ballot);
      CHECK(got[32 + lane] == unsigned(ballot != 0));
      CHECK(got[64 + lane] == unsigned(ballot == mask));
      CHECK(got[96 + lane] == equal);
      CHECK(got[128 + lane] == sum);
    }
  }
}

TEST_CASE("warp reductions over groups of lanes") {
  std::vector<float> values(32);
  for (int lane = 0; lane < 32; ++lane) values[std::size_t(lane)] = float(lane * 37 % 32 - 10);
  const auto in = on_device(values);
  for (const int lanes : {2, 4, 8, 16, 32}) {
    CAPTURE(lanes);
    DeviceBuffer<float> out(64, kBands);
    run(operations::reductions(in.data(), out.data(), lanes));
    const std::vector<float> got = out.to_host();
    for (int lane = 0; lane < 32; ++lane) {
      const auto first = values.begin() + lane / lanes * lanes;
      CHECK(got[std::size_t(lane)] == std::accumulate(first, first + lanes, 0.0f));
      CHECK(got[std::size_t(32 + lane)] == *std::max_element(first, first + lanes));
    }
  }
}

TEST_CASE("ldmatrix puts each element where the PTX ISA says") {
  std::vector<half> matrices(256);
  for (std::size_t i = 0; i < matrices.size(); ++i) matrices[i] = __ushort_as_half((unsigned short)(i + 1));
  const auto in = on_device(matrices);
  for (const int count : {1, 2, 4}) {
    for (const bool transposed : {false, true}) {
      CAPTURE(count, transposed);
      DeviceBuffer<std::uint32_t> out(128, kBands);
      run(operations::ldmatrix(in.data(), out.data(), count, transposed));
      const std::vector<std::uint32_t> got = out.to_host();
      for (int lane = 0; lane < 32; ++lane) {
        for (int m = 0; m < count; ++m) {
          const auto element = [&](int row, int column) {
            if (transposed) std::swap(row, column);
            return std::uint32_t(m * 64 + row * 8 + column + 1);
          };
          const int row = lane / 4, column = lane % 4 * 2;
          CHECK(got[std::size_t(lane * 4 + m)] == (element(row, column) | element(row, column + 1) << 16));
        }
      }
    }
  }
}

namespace {

template <typename Accumulator>
void test_mma(int k) {
  const std::vector<half> a = small_numbers(std::size_t(16 * k), 1), b = small_numbers(std::size_t(k * 8), 2);
  const std::vector<half> c = small_numbers(128, 3);
  std::vector<Accumulator> d(128);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] = Accumulator(__half2float(c[i]));
  const auto a_device = on_device(a), b_device = on_device(b);
  auto d_device = on_device(d);
  run(operations::mma(a_device.data(), b_device.data(), d_device.data(), k));
  const std::vector<Accumulator> got = d_device.to_host();
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      float want = __half2float(c[std::size_t(i * 8 + j)]);
      for (int n = 0; n < k; ++n) {
        want += __half2float(a[std::size_t(i * k + n)]) * __half2float(b[std::size_t(n * 8 + j)]);
      }
      CAPTURE(i, j);
      CHECK(float(got[std::size_t(i * 8 + j)]) == want);
    }
  }
}

template <typename Accumulator>
void test_wmma(bool a_column_major, bool b_column_major) {
  const std::vector<half> a = small_numbers(256, 4), b = small_numbers(256, 5), c = small_numbers(256, 6);
  std::vector<Accumulator> d(256);
  for (std::size_t i = 0; i < d.size(); ++i) d[i] = Accumulator(__half2float(c[i]));
  const auto a_device = on_device(a), b_device = on_device(b);
  auto d_device = on_device(d);
  run(operations::wmma(a_device.data(), a_column_major, b_device.data(), b_column_major, d_device.data()));
  const std::vector<Accumulator> got = d_device.to_host();
  const auto at = [](const std::vector<half>& matrix, bool column_major, int row, int column) {
    return __half2float(matrix[std::size_t(column_major ? column * 16 + row : row * 16 + column)]);
  };
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) {
      float want = __half2float(c[std::size_t(i * 16 + j)]);
      for (int n = 0; n < 16; ++n) want += at(a, a_column_major, i, n) * at(b, b_column_major, n, j);
      CAPTURE(i, j);
      CHECK(float(got[std::size_t(i * 16 + j)]) == want);
    }
  }
}

}  // namespace

TEST_CASE("mma.sync m16n8k16 and m16n8k8, FP32 and FP16 accumulators") {
  for (const int k : {8, 16}) {
    CAPTURE(k);
    test_mma<float>(k);
    test_mma<half>(k);
  }
}

TEST_CASE("wmma 16x16x16 in every layout, FP32 and FP16 accumulators") {
  for (const bool a_column_major : {false, true}) {
    for (const bool b_column_major : {false, true}) {
      CAPTURE(a_column_major, b_column_major);
      test_wmma<float>(a_column_major, b_column_major);
      test_wmma<half>(a_column_major, b_column_major);
    }
  }
}

TEST_CASE("cp.async of 4, 8 and 16 bytes, in groups, with zeros at the end") {
  std::vector<unsigned char> bytes(3 * 32 * 16);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = (unsigned char)(i * 7 + 1);
  const auto in = on_device(bytes);
  for (const int size : {4, 8, 16}) {
    for (const int source : {size, size / 2, 0}) {
      CAPTURE(size, source);
      DeviceBuffer<unsigned char> out(bytes.size(), kBands);
      run(operations::async_copies(in.data(), out.data(), size, source));
      const std::vector<unsigned char> got = out.to_host();
      for (int i = 0; i < 3 * 32 * size; ++i) {
        const int want = i % size < source ? bytes[std::size_t(i)] : 0;
        CHECK(int(got[std::size_t(i)]) == want);
      }
    }
  }
}

TEST_CASE("named barriers hand tiles from one warp to another") {
  constexpr int kTiles = 20;
  std::vector<float> values(kTiles * 32);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto in = on_device(values);
  DeviceBuffer<float> out(values.size(), kBands);
  run(operations::hand_over(in.data(), out.data(), kTiles));
  const std::vector<float> got = out.to_host();
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got[i] == values[i / 32 * 32 + 31 - i % 32]);
}

TEST_CASE("static and dynamic shared memory between the threads of a block") {
  std::vector<float> values(256);
  std::iota(values.begin(), values.end(), 1.0f);
  const auto in = on_device(values);
  DeviceBuffer<float> out(256, kBands);
  run(operations::reverse(in.data(), out.data()));
  const std::vector<float> got = out.to_host();
  for (std::size_t i = 0; i < 256; ++i) CHECK(got[i] == 2 * values[255 - i]);
}

TEST_CASE("block barriers that count") {
  for (const int positive : {0, 1, 50, 96}) {
    std::vector<int> values(96, -1);
    std::fill_n(values.begin(), positive, 3);
    const auto in = on_device(values);
    DeviceBuffer<int> out(3, kBands);
    run(operations::counting_barriers(in.data(), out.data()));
    CHECK(out.to_host() == std::vector<int>{positive, positive > 0, positive == 96});
  }
}

TEST_CASE("atomics of many blocks") {
  constexpr unsigned kBlocks = 50;
  std::vector<unsigned> values(64 * kBlocks);
  std::iota(values.begin(), values.end(), 0u);
  const auto in = on_device(values);
  auto out = on_device(std::vector<unsigned>{0, 0, 0});
  run(operations::atomics(in.data(), out.data(), int(kBlocks)));
  const unsigned count = 64 * kBlocks;
  CHECK(out.to_host() == std::vector<unsigned>{count * (count - 1) / 2, count, count - 1});
}

TEST_CASE("threads of a block in order of x, y, z") {
  DeviceBuffer<int> out(24, kBands);
  run(operations::thread_order(out.data()));
  const std::vector<int> got = out.to_host();
  for (int i = 0; i < 24; ++i) CHECK(got[std::size_t(i)] == i + 4000);
}

TEST_CASE("wide accesses and powers of two") {
  std::vector<float> values(128);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i) / 16.0f - 6.0f;
  const auto in = on_device(values);
  DeviceBuffer<float> out(128, kBands), powers(64, kBands);
  run(operations::wide_accesses(in.data(), out.data(), powers.data()));
  const std::vector<float> got = out.to_host(), got_powers = powers.to_host();
  for (std::size_t i = 0; i < 128; ++i) {
    const std::size_t swapped[] = {1, 0, 2, 3};
    CHECK(got[i] == values[i / 4 * 4 + swapped[i % 4]]);
  }
  for (std::size_t i = 0; i < 64; ++i) {
    const float relative = i % 2 == 0 ? 1e-6f : 2e-3f;  // single, and half precision
    CHECK(std::abs(got_powers[i] - std::exp2(values[i])) <= relative * std::exp2(values[i]));
  }
}
