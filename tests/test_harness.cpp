// The harness on the device of this build: buffers, guard bands, streams, graphs, support.
#include <cstring>
#include <numeric>

#include "attention/device_buffer.hpp"
#include "attention/inputs.hpp"
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"

using namespace attention;
using Guards = RawDeviceBuffer::Guards;

TEST_CASE("a device buffer starts poisoned and carries what is uploaded") {
  DeviceBuffer<half> buffer(1000, Guards::bands);
  for (const half value : buffer.to_host()) CHECK(__half_as_ushort(value) == 0xFFFF);

  std::vector<half> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = __float2half(float(i));
  buffer.upload(values.data());
  CHECK(std::memcmp(buffer.to_host().data(), values.data(), 2000) == 0);
  CHECK_FALSE(buffer.damage());

  buffer.poison();
  CHECK(__half_as_ushort(buffer.to_host()[999]) == 0xFFFF);
  CHECK_FALSE(buffer.damage());
}

TEST_CASE("a write outside a buffer's payload is found and placed") {
  DeviceBuffer<unsigned char> buffer(100, Guards::bands);
  REQUIRE_FALSE(buffer.damage());
  SECTION("after") {
    CUDA_CHECK(cudaMemset(buffer.data() + 102, 0, 1));
    REQUIRE(buffer.damage());
    CHECK(*buffer.damage() == "written 2 bytes past its end");
  }
  SECTION("before") {
    CUDA_CHECK(cudaMemset(buffer.data() - 3, 0, 1));
    REQUIRE(buffer.damage());
    CHECK(*buffer.damage() == "written 3 bytes before its start");
  }
}

TEST_CASE("payloads are aligned for the widest access") {
  for (const Guards guards : {Guards::none, Guards::bands}) {
    for (const std::size_t bytes : {2, 30, 4096, 5000}) {
      const RawDeviceBuffer buffer(bytes, guards);
      CAPTURE(bytes);
      CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 256 == 0);
    }
  }
}

TEST_CASE("memory that is not there is refused in words") {
  try {
    const RawDeviceBuffer buffer(std::size_t(1) << 50, Guards::none);
    FAIL("a pebibyte was allocated");
  } catch (const InvalidInput& error) {
    CHECK_THAT(error.what(), Catch::Contains("1.0 PiB"));
  }
  CUDA_CHECK(cudaGetLastError());  // and the failure is not left behind
}

TEST_CASE("an error names file, line and expression") {
  try {
    CUDA_CHECK(cudaErrorInvalidValue);
    FAIL("no error was thrown");
  } catch (const CudaError& error) {
    CHECK_THAT(error.what(),
               Catch::Contains("test_harness.cpp:") && Catch::Contains("cudaErrorInvalidValue"));
  }
}

namespace {

constexpr std::size_t kHuge = std::size_t(1) << 50;

// A variant that misbehaves as told, without a kernel:
// memory operations are enough to show that a check bites.
template <int kFault>
cudaError_t misbehave(const Problem& problem, const Tensors& tensors, void* workspace, cudaStream_t stream) {
  const std::size_t bytes = problem.q_elements() * sizeof(half);
  switch (kFault) {
    case 1:
      return cudaMemsetAsync(tensors.o, 0, bytes + 2, stream);
    case 2:
      return cudaMemsetAsync(const_cast<half*>(tensors.k), 0, 2, stream);
    case 3:
      return cudaMemsetAsync(static_cast<char*>(workspace) - 1, 0, 1, stream);
    case 4:
      return cudaErrorInvalidValue;
    default:
      return cudaMemsetAsync(tensors.o, 0, bytes, stream);
  }
}

}  // namespace

TEST_CASE("a session reports what a variant should not have done") {
  const Problem problem({.heads = 2, .seq_q = 5, .seq_kv = 7});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 1);
  const auto run = [&](LaunchFunction* launch) {
    Session session(problem, inputs);  // a fresh one: damage stays
    return session.run({.name = "test", .idea = "", .launch = launch, .supports = supports_usual_shapes});
  };
  CHECK(run(misbehave<0>).damage.empty());
  CHECK(run(misbehave<1>).damage == std::vector<std::string>{"O was written 0 bytes past its end"});
  CHECK_THROWS_AS(run(misbehave<4>), CudaError);
  CHECK(run(misbehave<3>).damage ==
        std::vector<std::string>{"the workspace was written 1 bytes before its start"});
  CHECK(run(misbehave<2>).damage == std::vector<std::string>{"K, an input, was changed"});
}

TEST_CASE("what does not fit in the device's memory is refused with its size") {
  const Variant greedy = {.name = "greedy",
                          .idea = "",
                          .launch = misbehave<0>,
                          .supports = supports_usual_shapes,
                          .workspace_bytes = [](const Problem&) { return kHuge; }};
  const Support support = check_support(greedy, Problem(), current_device());
  CHECK_FALSE(support.ok);
  CHECK_THAT(support.reason, Catch::Contains("1.0 PiB of workspace"));
}

TEST_CASE("a captured graph replays its work") {
  DeviceBuffer<unsigned char> buffer(64, Guards::bands);
  const Graph graph([&](cudaStream_t stream) { CUDA_CHECK(cudaMemsetAsync(buffer.data(), 7, 64, stream)); });
  CHECK(buffer.to_host()[0] == 0xFF);  // captured, not run
  const Stream stream;
  graph.replay(stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
  CHECK(buffer.to_host() == std::vector<unsigned char>(64, 7));
}
