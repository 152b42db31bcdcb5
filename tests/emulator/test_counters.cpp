// Counters against numbers worked out by hand.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "attention/device_buffer.hpp"
#include "catch.hpp"
#include "counted.hpp"
#include "emulator/emulator.hpp"
#include "hopper.hpp"

using attention::DeviceBuffer;
using attention::RawDeviceBuffer;
using emulator::Counters;
using emulator::EventKind;

namespace {

struct Buffers {
  DeviceBuffer<float> in{4096, RawDeviceBuffer::Guards::none};
  DeviceBuffer<float> out{4096, RawDeviceBuffer::Guards::none};
  DeviceBuffer<half> halves{8192, RawDeviceBuffer::Guards::none};
};

// The profile of what `launch` does, with all checks on as well: neither may disturb the other.
template <typename Launch>
emulator::KernelProfile profile_of(Launch launch,
                                   emulator::Options options = {.check = true, .profile = true}) {
  emulator::configure(options);
  emulator::clear_profile();
  emulator::clear_reports();
  Buffers buffers;
  CUDA_CHECK(cudaMemset(buffers.in.data(), 0, buffers.in.bytes()));
  CUDA_CHECK(cudaMemset(buffers.halves.data(), 0, buffers.halves.bytes()));
  CUDA_CHECK(launch(buffers));
  CUDA_CHECK(cudaDeviceSynchronize());
  CHECK(emulator::report_count() == 0);
  const emulator::Profile profile = emulator::profile();
  emulator::configure({});
  REQUIRE(profile.kernels.size() == 1);
  return profile.kernels.front();
}

}  // namespace

TEST_CASE("sectors of a strided load") {
  for (const auto& [stride, sectors] :
       {std::pair(0, 1), std::pair(1, 4), std::pair(2, 8), std::pair(8, 32), std::pair(32, 32)}) {
    CAPTURE(stride);
    const auto profile = profile_of(
        [stride = stride](Buffers& b) { return counted::strided_load(b.in.data(), b.out.data(), stride); });
    CHECK(profile.total.global_load_requests == 1);
    CHECK(profile.total.global_load_sectors == std::uint64_t(sectors));
    CHECK(profile.total.global_load_sectors_ideal == std::uint64_t(stride == 0 ? 1 : 4));
    CHECK(profile.total.global_load_bytes == 128);
    CHECK(profile.total.global_store_requests == 1);
    CHECK(profile.total.global_store_sectors == 4);
  }
}

TEST_CASE("a float4 is one access, to load and to store") {
  const auto profile = profile_of([](Buffers& b) { return counted::wide_copy(b.in.data(), b.out.data()); });
  CHECK(profile.total.global_load_requests == 1);
  CHECK(profile.total.global_load_sectors == 16);
  CHECK(profile.total.global_store_requests == 1);
  CHECK(profile.total.global_store_sectors == 16);
  CHECK(profile.total.global_store_bytes == 512);
}

TEST_CASE("bank conflicts of a transpose, and none with padding") {
  const auto conflicts =
      profile_of([](Buffers& b) { return counted::transpose(b.in.data(), b.out.data(), false); });
  CHECK(conflicts.total.shared_load_requests == 32);
  CHECK(conflicts.total.shared_load_wavefronts == 32 * 32);
  CHECK(conflicts.total.shared_load_wavefronts_ideal == 32);
  CHECK(conflicts.total.shared_store_wavefronts == 32);
  CHECK(conflicts.total.warp_barriers == 1);
  const auto padded =
      profile_of([](Buffers& b) { return counted::transpose(b.in.data(), b.out.data(), true); });
  CHECK(padded.total.shared_load_wavefronts == 32);

  // The line that wastes most comes first, with its text.
  REQUIRE(!conflicts.lines.empty());
  CHECK(conflicts.lines.front().text.find("tile[threadIdx.x][column]") != std::string::npos);
}

TEST_CASE("wide shared loads take a wavefront per quarter warp, per half where neighbours agree") {
  // As an H200 counts them: lanes on 32, 16 or 4 different addresses, none of which conflict.
  const auto wavefronts = [](int sharing) {
    return profile_of(
               [=](Buffers& b) { return counted::shared_wide_load(b.in.data(), b.out.data(), sharing); })
        .total.shared_load_wavefronts;
  };
  CHECK(wavefronts(1) == 4);
  CHECK(wavefronts(2) == 2);
  CHECK(wavefronts(8) == 2);
}

TEST_CASE("what each warp does can be told apart") {
  constexpr std::uint64_t kTiles = 6;
  const auto profile =
      profile_of([](Buffers& b) { return counted::specialized(b.halves.data(), b.out.data(), int(kTiles)); });
  REQUIRE(profile.warps.size() == 4);
  for (int warp = 0; warp < 4; ++warp) {
    CAPTURE(warp);
    const Counters& counters = profile.warps[std::size_t(warp)];
    const bool is_producer = warp < 2;
    CHECK(counters.cp_async == (is_producer ? kTiles : 0));
    CHECK(counters.global_load_requests == (is_producer ? kTiles : 0));
    CHECK(counters.mma == (is_producer ? 0 : kTiles));
    CHECK(counters.ldmatrix == (is_producer ? 0 : 2 * kTiles));
    CHECK(counters.named_barriers == 2 * kTiles - 2);
  }
  CHECK(profile.total.tensor_flop == 2 * kTiles * 2 * 16 * 8 * 16);
  CHECK(profile.total.max_groups_in_flight == 1);
  CHECK(profile.total.shared_load_wavefronts == 2 * kTiles * 6);  // a wavefront a matrix
}

TEST_CASE("wgmma by warp, bulk copies and their bytes, mbarriers") {
  const auto profile = profile_of([](Buffers& b) {
    using hopper::Operand;
    return hopper::wgmma(b.halves.data(), Operand::k_major, b.halves.data(), Operand::k_major, b.out.data(),
                         64, false);
  });
  constexpr std::uint64_t kWarps = 4, kSteps = 64 / 16;
  CHECK(profile.total.wgmma == kWarps * kSteps);
  CHECK(profile.total.tensor_flop == 2 * 64 * 64 * 64);
  CHECK(profile.total.mma == 0);
  // K is 16 a step: 32 bytes of each row of both tiles.
  CHECK(profile.total.wgmma_wavefronts == kSteps * (64 + 64) * 32 / 128);
  CHECK(profile.total.bulk_loads == 2);
  CHECK(profile.total.bulk_load_bytes == 2 * 64 * 64 * sizeof(half));
  CHECK(profile.total.mbarrier_arrivals == 1);
  CHECK(profile.total.mbarrier_waits == kWarps);
  REQUIRE(profile.warps.size() == kWarps);
  CHECK(profile.warps[0].bulk_loads == 2);
  CHECK(profile.warps[1].bulk_loads == 0);
  CHECK(profile.warps[1].wgmma == kSteps);
  CHECK(profile.warps[0].wgmma_wavefronts == kSteps * (16 + 64) * 32 / 128);
  CHECK(profile.warps[1].wgmma_wavefronts == kSteps * 16 * 32 / 128);
}

TEST_CASE("TMA loads zeros for what is outside the tensor, and stores what is inside") {
  // 16 rows of 128 bytes from row 10 of 20, the second of two panels.
  const hopper::Box box = {.heads = 1,
                           .rows = 20,
                           .head_dim = 128,
                           .box_rows = 16,
                           .box_columns = 64,
                           .panel = 1,
                           .row = 10,
                           .head = 0};
  const auto loaded =
      profile_of([&](Buffers& b) { return hopper::tile_load(b.halves.data(), b.halves.data() + 4096, box); });
  CHECK(loaded.total.bulk_loads == 1);
  CHECK(loaded.total.bulk_load_bytes == 16 * 128);
  CHECK(loaded.total.bulk_stores == 0);
  const auto stored = profile_of(
      [&](Buffers& b) { return hopper::tile_store(b.halves.data() + 4096, b.halves.data(), box); });
  CHECK(stored.total.bulk_loads == 0);
  CHECK(stored.total.bulk_stores == 1);
  CHECK(stored.total.bulk_store_bytes == 10 * 128);
}

TEST_CASE("stores to other blocks, by instruction of a warp") {
  // Each of the two warps makes one of 16 bytes and one of 8 bytes per thread.
  const auto profile = profile_of([](Buffers& b) { return hopper::neighbours(b.out.data(), 2, 2); });
  CHECK(profile.total.remote_stores == 2 * 2);
  CHECK(profile.total.bulk_loads == 0);
  CHECK(profile.total.shared_store_requests == 0);
}

TEST_CASE("events keep the order of each warp's instructions") {
  const auto profile =
      profile_of([](Buffers& b) { return counted::specialized(b.halves.data(), b.out.data(), 3); });
  std::vector<EventKind> consumer, producer;
  for (const emulator::Event& event : profile.events) {
    if (event.warp == 0) producer.push_back(event.kind);
    if (event.warp == 3 && event.kind != EventKind::global_store) consumer.push_back(event.kind);
  }
  const std::vector<EventKind> a_tile = {EventKind::named_barrier, EventKind::ldmatrix, EventKind::ldmatrix,
                                         EventKind::mma};
  std::vector<EventKind> want;
  for (int tile = 0; tile < 3; ++tile) {
    for (const EventKind kind : a_tile) want.push_back(kind);
    if (tile == 0) want.push_back(EventKind::named_barrier);  // its buffer is empty again
  }
  CHECK(consumer == want);
  CHECK(std::count(producer.begin(), producer.end(), EventKind::cp_async) == 3);
  CHECK(std::count(producer.begin(), producer.end(), EventKind::mma) == 0);

  // The two buffers are different places in shared memory.
  std::vector<std::uint64_t> begins;
  for (const emulator::Event& event : profile.events) {
    if (event.kind == EventKind::cp_async && event.warp == 0) begins.push_back(event.begin);
  }
  REQUIRE(begins.size() == 3);
  CHECK(begins[0] != begins[1]);
  CHECK(begins[0] == begins[2]);
}

TEST_CASE("lanes that diverge make requests of their own") {
  const auto profile = profile_of([](Buffers& b) { return counted::diverging(b.in.data(), b.out.data()); });
  CHECK(profile.total.global_load_requests == 3);
  CHECK(profile.total.global_load_sectors == 12);
  CHECK(profile.total.global_load_bytes == 4 * (32 + 16 + 32));
  CHECK(profile.total.global_store_requests == 1);
}

TEST_CASE("commit groups in flight, empty ones not counted") {
  const auto profile =
      profile_of([](Buffers& b) { return counted::three_in_flight(b.in.data(), b.out.data()); });
  CHECK(profile.total.max_groups_in_flight == 3);
  CHECK(profile.total.cp_async == 4);
  CHECK(profile.total.cp_async_commits == 5);
  CHECK(profile.total.cp_async_waits == 2);
  CHECK(profile.total.async_bytes == 4 * 512);
}

TEST_CASE("a warp's commits and waits are counted once, whichever lanes make them and when they return") {
  for (const unsigned seed : {1u, 2u, 3u}) {
    const auto profile =
        profile_of([](Buffers& b) { return counted::waits_alone(b.in.data(), b.out.data()); },
                   {.schedule_seed = seed, .check = true, .profile = true});
    constexpr std::uint64_t kWarps = 2 * 2;
    CHECK(profile.total.cp_async_commits == kWarps * 3);
    CHECK(profile.total.cp_async_waits == kWarps * (3 + 1));
    REQUIRE(profile.warps.size() == 2);
    CHECK(profile.warps[1].cp_async_waits == 2 * (3 + 1));
  }
}

TEST_CASE("a loop longer than a log of accesses is counted whole") {
  const auto profile = profile_of([](Buffers& b) { return counted::long_loop(b.in.data(), b.out.data()); });
  CHECK(profile.total.global_load_requests == 2000);
  CHECK(profile.total.global_load_sectors == 8000);
  CHECK(profile.total.global_store_requests == 1);
}

TEST_CASE("only some blocks are counted where so asked") {
  const auto all =
      profile_of([](Buffers& b) { return counted::many_blocks(b.in.data(), b.out.data(), 100); });
  CHECK(all.traced_blocks == 100);
  CHECK(all.total.global_load_requests == 100);
  const auto some =
      profile_of([](Buffers& b) { return counted::many_blocks(b.in.data(), b.out.data(), 100); },
                 {.profile = true, .traced_blocks = 7});
  CHECK(some.blocks == 100);
  CHECK(some.traced_blocks == 7);
  CHECK(some.total.global_load_requests == 7);
}

TEST_CASE("one seed is one schedule and one count, whatever the number of workers") {
  for (const int workers : {1, 2, 5}) {
    const auto profile =
        profile_of([](Buffers& b) { return counted::specialized(b.halves.data(), b.out.data(), 6); },
                   {.schedule_seed = 9, .worker_threads = workers, .check = true, .profile = true});
    CHECK(profile.total.mma == 12);
    static std::vector<std::pair<EventKind, int>> first_order;
    std::vector<std::pair<EventKind, int>> order;
    for (const emulator::Event& event : profile.events) order.emplace_back(event.kind, event.warp);
    if (first_order.empty()) first_order = order;
    CHECK(order == first_order);
  }
}

TEST_CASE("profiles as JSON and as a table") {
  emulator::configure({.profile = true});
  emulator::clear_profile();
  Buffers buffers;
  CUDA_CHECK(counted::transpose(buffers.in.data(), buffers.out.data(), false));
  const emulator::Profile profile = emulator::profile();
  emulator::configure({});
  const auto json = nlohmann::json::parse(emulator::profile_json(profile));
  REQUIRE(json["kernels"].size() == 1);
  CHECK(json["kernels"][0]["kernel"] == "counted::transpose_kernel<0>");
  CHECK(json["total"]["shared_load_wavefronts"] == 1024);
  std::ostringstream table;
  emulator::print_profile(table, profile);
  CHECK(table.str().find("x32.00") != std::string::npos);
  CHECK(table.str().find("tile[threadIdx.x][column]") != std::string::npos);
}
