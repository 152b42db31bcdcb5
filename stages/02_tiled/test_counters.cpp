// What each memory lesson claims, as the emulated device counts it. Compiled for that device alone.
#include "counting.hpp"

using namespace attention;

namespace {

constexpr Shape kShape = {.heads = 1, .seq_q = 256, .seq_kv = 256};

emulator::Counters total_of(std::string_view name) {
  return profile_of(name, kShape).total;
}

// What the launch counts whose kernel's name contains `kernel`: "scores", "softmax" or "output".
emulator::Counters counters_of(std::string_view name, std::string_view kernel) {
  for (const emulator::KernelProfile& profile : profile_of(name, kShape).kernels) {
    if (profile.kernel.find(kernel) != std::string::npos) return profile.total;
  }
  FAIL(name << " launches no " << kernel);
  throw;
}

}  // namespace

TEST_CASE("coalesced touches no sector more than its bytes need") {
  const emulator::Counters total = total_of("coalesced");
  CHECK(total.global_load_sectors == total.global_load_sectors_ideal);
  CHECK(total.global_store_sectors == total.global_store_sectors_ideal);
}

TEST_CASE("tiled reads K once for 64 rows and V once for 32") {
  const auto bytes = [](std::string_view name, std::string_view kernel) {
    return counters_of(name, kernel).global_load_bytes;
  };
  constexpr std::uint64_t kRowBytes = 64 * 2, kScoreBytes = 256 * 256 * 4;
  CHECK(bytes("coalesced", "scores") == (256 + 256 * 256) * kRowBytes);  // Q once, K for every row
  CHECK(bytes("tiled", "scores") ==
        (256 / 64) * (256 + 256) * kRowBytes);  // Q and K for every 64 of the other
  CHECK(bytes("tiled", "output") == kScoreBytes + (256 / 32) * 256 * kRowBytes);
}

TEST_CASE("wide needs an eighth of the load instructions for halves, a quarter for floats") {
  for (const char* kernel : {"scores", "output"}) {
    CAPTURE(kernel);
    const emulator::Counters tiled = counters_of("tiled", kernel), wide = counters_of("wide", kernel);
    CHECK(wide.global_load_bytes == tiled.global_load_bytes);
    CHECK(wide.global_load_bytes ==
          wide.global_load_requests * 32 * 16);  // 16 bytes per lane, without exception
    CHECK(wide.global_load_requests * 4 < tiled.global_load_requests);
    CHECK(wide.shared_load_requests * 4 < tiled.shared_load_requests);
  }
  CHECK(counters_of("wide", "scores").global_load_requests * 8 ==
        counters_of("tiled", "scores").global_load_requests);
  CHECK(counters_of("wide", "softmax").global_load_requests ==
        counters_of("tiled", "softmax").global_load_requests);
}

TEST_CASE("wide_softmax needs a quarter of the softmax's requests, and leaves the products alone") {
  const emulator::Counters narrow = counters_of("wide", "softmax"),
                           wide = counters_of("wide_softmax", "softmax");
  CHECK(narrow.global_load_bytes ==
        3 * 256 * 256 * 4);  // a maximum, a sum and P: three passes over the scores
  CHECK(wide.global_load_bytes == narrow.global_load_bytes);
  CHECK(wide.global_store_bytes == narrow.global_store_bytes);
  CHECK(wide.global_load_requests * 4 == narrow.global_load_requests);
  CHECK(wide.global_store_requests * 4 == narrow.global_store_requests);
  CHECK(wide.global_load_sectors == narrow.global_load_sectors);  // whole ones before, too

  for (const char* kernel : {"scores", "output"}) {
    CAPTURE(kernel);
    CHECK(named_values(counters_of("wide", kernel)) == named_values(counters_of("wide_softmax", kernel)));
  }
  const emulator::Counters total = total_of("wide_softmax");
  CHECK(total.global_load_bytes ==
        total.global_load_requests * 32 * 16);  // 16 bytes per lane in all launches
}

TEST_CASE("padded has no bank conflict where wide_softmax has") {
  const emulator::Counters wide = total_of("wide_softmax"), padded = total_of("padded");
  CHECK(wide.shared_load_requests == padded.shared_load_requests);
  CHECK(wide.shared_load_wavefronts > 3 * wide.shared_load_wavefronts_ideal);
  CHECK(padded.shared_load_wavefronts == padded.shared_load_wavefronts_ideal);
  CHECK(padded.shared_store_wavefronts == padded.shared_store_wavefronts_ideal);
}

TEST_CASE("l2_persist marks K and V in the launches that read them, and puts the limit back") {
  std::size_t before = 0, after = 0;
  REQUIRE(cudaDeviceGetLimit(&before, cudaLimitPersistingL2CacheSize) == cudaSuccess);
  profile_of("l2_persist", kShape);
  REQUIRE(cudaDeviceGetLimit(&after, cudaLimitPersistingL2CacheSize) == cudaSuccess);
  CHECK(after == before);

  const auto launches = emulator::launches();
  REQUIRE(launches.size() == 3);
  for (const std::size_t reads : {0, 2}) {
    const cudaLaunchAttributeValue* value = launches[reads].attribute(cudaLaunchAttributeAccessPolicyWindow);
    REQUIRE(value);
    CHECK(value->accessPolicyWindow.num_bytes == 256 * 64 * 2);
    CHECK(value->accessPolicyWindow.hitProp == cudaAccessPropertyPersisting);
    CHECK(value->accessPolicyWindow.hitRatio == 1.f);
  }
  CHECK_FALSE(launches[1].attribute(cudaLaunchAttributeAccessPolicyWindow));

  profile_of("padded", kShape);
  for (const auto& launch : emulator::launches()) {
    CHECK_FALSE(launch.attribute(cudaLaunchAttributeAccessPolicyWindow));
  }
}
