// The drawings show what the instructions do: layouts.hpp against the emulated device.
#include "layouts.hpp"

#include <bit>
#include <functional>
#include <set>
#include <vector>

#include "attention/device_buffer.hpp"
#include "catch.hpp"
#include "emulator/emulator.hpp"
#include "test_layouts.hpp"

using attention::DeviceBuffer;
using attention::RawDeviceBuffer;

namespace {

// What one call counts.
emulator::Counters counted(const std::function<cudaError_t()>& call) {
  emulator::clear_profile();
  CUDA_CHECK(call());
  CUDA_CHECK(cudaDeviceSynchronize());
  return emulator::profile().total;
}

std::uint64_t ldmatrix_wavefronts(const std::function<int(int row, int chunk)>& offset) {
  std::vector<int> offsets(32);
  for (int lane = 0; lane < 32; ++lane)
    offsets[std::size_t(lane)] = offset(lane % 8, lane / 8);  // four matrices: chunks 0 to 3
  const DeviceBuffer<int> offsets_gmem{std::span<const int>(offsets)};
  const DeviceBuffer<std::uint32_t> out(128, RawDeviceBuffer::Guards::bands);
  const emulator::Counters c = counted([&] { return book::read_matrices(offsets_gmem.data(), out.data()); });
  return c.shared_load_wavefronts;
}

// Turns of shared memory for the 16-byte rows of one matrix, by the formula that drawings go by.
int turns(const std::function<int(int row, int chunk)>& offset) {
  int most = 0;
  for (int bank = 0; bank < 32; ++bank) {
    std::set<int> words;
    for (int row = 0; row < 8; ++row) {
      for (int byte = 0; byte < 16; byte += 4) {
        if (book::bank_of(offset(row, 0) + byte) == bank) words.insert((offset(row, 0) + byte) / 4);
      }
    }
    most = std::max(most, int(words.size()));
  }
  return most;
}

}  // namespace

TEST_CASE("fragments are where the drawing says") {
  emulator::configure({.profile = true});
  float a[16][16], b[16][8];
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 16; ++j) a[i][j] = float((7 * i + 3 * j * j) % 11 - 5);
    for (int j = 0; j < 8; ++j) b[i][j] = float((5 * i * i + j) % 13 - 6);
  }
  const auto pack = [](float low, float high) {
    return std::uint32_t(std::bit_cast<std::uint16_t>(__float2half(high))) << 16 |
           std::bit_cast<std::uint16_t>(__float2half(low));
  };
  std::vector<std::uint32_t> a_frags, b_frags;
  for (int lane = 0; lane < 32; ++lane) {
    const auto of = [&](const auto& matrix, book::Place place) { return matrix[place.row][place.column]; };
    for (int reg = 0; reg < 4; ++reg)
      a_frags.push_back(pack(of(a, book::a_fragment(lane, reg, 0)), of(a, book::a_fragment(lane, reg, 1))));
    for (int reg = 0; reg < 2; ++reg)
      b_frags.push_back(pack(of(b, book::b_fragment(lane, reg, 0)), of(b, book::b_fragment(lane, reg, 1))));
  }
  const DeviceBuffer<std::uint32_t> a_gmem{std::span<const std::uint32_t>(a_frags)},
      b_gmem{std::span<const std::uint32_t>(b_frags)};
  const DeviceBuffer<float> d_gmem(128, RawDeviceBuffer::Guards::bands);
  CUDA_CHECK(book::multiply(a_gmem.data(), b_gmem.data(), d_gmem.data()));
  CUDA_CHECK(cudaDeviceSynchronize());
  const std::vector<float> d = d_gmem.to_host();

  std::set<std::pair<int, int>> seen;
  for (int lane = 0; lane < 32; ++lane) {
    for (int reg = 0; reg < 4; ++reg) {
      const book::Place place = book::d_fragment(lane, reg);
      float want = 0;
      for (int k = 0; k < 16; ++k) want += a[place.row][k] * b[k][place.column];
      CAPTURE(lane, reg);
      REQUIRE(d[std::size_t(4 * lane + reg)] == want);
      seen.insert({place.row, place.column});
    }
  }
  REQUIRE(seen.size() == 16 * 8);
}

TEST_CASE("banks and the swizzle are as drawn") {
  emulator::configure({.profile = true});
  const auto linear = [](int row, int chunk) { return 128 * row + 16 * chunk; };
  const auto padded = [](int row, int chunk) { return 144 * row + 16 * chunk; };
  const auto swizzled = [](int row, int chunk) { return 128 * row + 16 * book::swizzled_chunk(row, chunk); };
  REQUIRE(turns(linear) == 8);
  REQUIRE(turns(padded) == 1);
  REQUIRE(turns(swizzled) == 1);
  REQUIRE(ldmatrix_wavefronts(linear) == 4 * 8);  // an x4 is four matrices
  REQUIRE(ldmatrix_wavefronts(padded) == 4);
  REQUIRE(ldmatrix_wavefronts(swizzled) == 4);
}

TEST_CASE("sectors are as drawn") {
  emulator::configure({.profile = true});
  const DeviceBuffer<unsigned char> from(32 * 128, RawDeviceBuffer::Guards::bands);
  const DeviceBuffer<half> out(32, RawDeviceBuffer::Guards::bands);
  for (const int stride : {2, 128}) {
    std::vector<int> offsets(32);
    std::set<long> sectors;
    for (int lane = 0; lane < 32; ++lane) {
      offsets[std::size_t(lane)] = stride * lane;
      sectors.insert(book::sector_of(stride * lane));
    }
    const DeviceBuffer<int> offsets_gmem{std::span<const int>(offsets)};
    const emulator::Counters c =
        counted([&] { return book::load_halves(offsets_gmem.data(), from.data(), out.data()); });
    REQUIRE(c.global_load_sectors == 4 + sectors.size());  // 4 for the offsets themselves
  }
}
