// The runtime API of the emulated device: what a GPU would refuse, what launches and graphs record.

#include <algorithm>
#include <cmath>

#include "attention/device_buffer.hpp"
#include "attention/launch.hpp"
#include "catch.hpp"
#include "emulator/emulator.hpp"
#include "runtime_kernels.hpp"

using attention::DeviceBuffer;
using attention::RawDeviceBuffer;

namespace {

constexpr auto kNoBands = RawDeviceBuffer::Guards::none;

}  // namespace

TEST_CASE("launches that a GPU refuses are refused") {
  CHECK(runtime_kernels::fill(dim3(1), dim3(1024), 0, nullptr, nullptr, 0) == cudaSuccess);
  CHECK(runtime_kernels::fill(dim3(1), dim3(1025), 0, nullptr, nullptr, 0) == cudaErrorInvalidConfiguration);
  CHECK(runtime_kernels::fill(dim3(1), dim3(32, 33), 0, nullptr, nullptr, 0) ==
        cudaErrorInvalidConfiguration);
  CHECK(runtime_kernels::fill(dim3(1), dim3(1, 1, 65), 0, nullptr, nullptr, 0) ==
        cudaErrorInvalidConfiguration);
  CHECK(runtime_kernels::fill(dim3(0), dim3(32), 0, nullptr, nullptr, 0) == cudaErrorInvalidConfiguration);
  CHECK(runtime_kernels::fill(dim3(1, 65536), dim3(32), 0, nullptr, nullptr, 0) ==
        cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("shared memory is limited to 48 KB, and to 227 KB by opting in") {
  CHECK(runtime_kernels::fill_without_opt_in(48 * 1024) == cudaSuccess);
  CHECK(runtime_kernels::fill_without_opt_in(48 * 1024 + 1) == cudaErrorInvalidValue);
  CHECK(runtime_kernels::fill(dim3(1), dim3(32), 227 * 1024, nullptr, nullptr, 0) == cudaSuccess);
  CHECK(runtime_kernels::fill(dim3(1), dim3(32), 227 * 1024 + 1, nullptr, nullptr, 0) ==
        cudaErrorInvalidValue);
  // Static shared memory counts too.
  CHECK(runtime_kernels::with_static_smem(227 * 1024 - 1024) == cudaSuccess);
  CHECK(runtime_kernels::with_static_smem(227 * 1024 - 1023) == cudaErrorInvalidValue);
  cudaFuncAttributes attributes;
  CHECK(runtime_kernels::attributes_of_static(&attributes) == cudaSuccess);
  CHECK(attributes.sharedSizeBytes == 1024);
  (void)cudaGetLastError();
}

TEST_CASE("launches are recorded, with their attributes") {
  emulator::clear_launches();
  DeviceBuffer<float> buffer(64, kNoBands);
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreate(&stream));
  cudaStreamAttrValue value = {};
  value.accessPolicyWindow = {buffer.data(), buffer.bytes(), 1.0f, cudaAccessPropertyPersisting,
                              cudaAccessPropertyStreaming};
  CUDA_CHECK(cudaStreamSetAttribute(stream, cudaStreamAttributeAccessPolicyWindow, &value));
  CUDA_CHECK(runtime_kernels::fill(dim3(2), dim3(32), 128, stream, buffer.data(), 3.0f));
  CUDA_CHECK(runtime_kernels::fill_dependent(stream, buffer.data()));
  CUDA_CHECK(cudaStreamDestroy(stream));

  const std::vector<emulator::Launch> launches = emulator::launches();
  REQUIRE(launches.size() == 2);
  CHECK(launches[0].kernel == "runtime_kernels::fill_kernel");
  CHECK(launches[0].grid.x == 2);
  CHECK(launches[0].block.x == 32);
  CHECK(launches[0].dynamic_smem_bytes == 128);
  CHECK_FALSE(launches[0].from_graph);
  REQUIRE(launches[0].attribute(cudaLaunchAttributeAccessPolicyWindow));
  CHECK(launches[0].attribute(cudaLaunchAttributeAccessPolicyWindow)->accessPolicyWindow.num_bytes == 256);
  CHECK_FALSE(launches[0].attribute(cudaLaunchAttributeProgrammaticStreamSerialization));
  REQUIRE(launches[1].attribute(cudaLaunchAttributeProgrammaticStreamSerialization));
  CHECK(cudaStreamSynchronize(stream) == cudaErrorInvalidResourceHandle);
  (void)cudaGetLastError();
}

TEST_CASE("a graph captures launches and copies and replays them") {
  DeviceBuffer<float> buffer(64, RawDeviceBuffer::Guards::bands);
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreate(&stream));
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  CUDA_CHECK(cudaMemsetAsync(buffer.data(), 0, buffer.bytes(), stream));
  for (int i = 0; i < 3; ++i) CUDA_CHECK(runtime_kernels::add(stream, buffer.data(), 2.0f));
  CHECK(cudaStreamSynchronize(stream) == cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  CHECK(std::isnan(buffer.to_host()[0]));  // nothing has run

  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
  CHECK(count == 4);
  cudaGraphExec_t executable = nullptr;
  CUDA_CHECK(cudaGraphInstantiate(&executable, graph, 0));
  CUDA_CHECK(cudaGraphDestroy(graph));
  emulator::clear_launches();
  for (int replay = 0; replay < 2; ++replay) {
    CUDA_CHECK(cudaGraphLaunch(executable, stream));
    CUDA_CHECK(cudaStreamSynchronize(stream));
    for (const float value : buffer.to_host()) CHECK(value == 6.0f);
  }
  CHECK(emulator::launches().size() == 6);
  CHECK(emulator::launches().front().from_graph);
  CUDA_CHECK(cudaGraphExecDestroy(executable));
  CUDA_CHECK(cudaStreamDestroy(stream));
}

TEST_CASE("copies that leave an allocation, or go the wrong way, are refused") {
  DeviceBuffer<float> buffer(64, kNoBands);
  std::vector<float> host(128);
  CHECK(cudaMemcpy(buffer.data(), host.data(), 256, cudaMemcpyHostToDevice) == cudaSuccess);
  CHECK(cudaMemcpy(buffer.data(), host.data(), 257, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(buffer.data(), host.data(), 256, cudaMemcpyDeviceToHost) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host.data(), 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaMemset(buffer.data() + 1, 0, 256) == cudaErrorInvalidValue);
  (void)cudaGetLastError();
}

TEST_CASE("the device is a chip with Hopper's limits, and does not time") {
  cudaDeviceProp properties;
  CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  CHECK(properties.multiProcessorCount == 132);
  CHECK(properties.sharedMemPerBlockOptin == 227 * 1024);
  CHECK(cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, std::size_t(1) << 30) == cudaErrorInvalidValue);
  CHECK(cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 1 << 20) == cudaSuccess);
  std::size_t bytes = 0;
  CUDA_CHECK(cudaDeviceGetLimit(&bytes, cudaLimitPersistingL2CacheSize));
  CHECK(bytes == 1 << 20);
  CUDA_CHECK(cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 0));
  (void)cudaGetLastError();

  cudaEvent_t begin = nullptr, end = nullptr;
  CUDA_CHECK(cudaEventCreate(&begin));
  CUDA_CHECK(cudaEventCreate(&end));
  CUDA_CHECK(cudaEventRecord(begin));
  CUDA_CHECK(cudaEventRecord(end));
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess);
  CHECK(milliseconds == 0.0f);
  CUDA_CHECK(cudaEventDestroy(begin));
  CUDA_CHECK(cudaEventDestroy(end));
}

TEST_CASE("global memory is NaN until written, and can be had again and again") {
  for (int i = 0; i < 3000; ++i) {  // more than the freed ranges that are kept from use
    void* pointer = nullptr;
    CUDA_CHECK(cudaMalloc(&pointer, std::size_t(100'000)));
    CHECK(reinterpret_cast<std::uintptr_t>(pointer) % 256 == 0);
    unsigned char first = 0;
    CUDA_CHECK(cudaMemcpy(&first, pointer, 1, cudaMemcpyDeviceToHost));
    CHECK(int(first) == 0xff);
    CUDA_CHECK(cudaFree(pointer));
  }
  void* too_much = nullptr;
  CHECK(cudaMalloc(&too_much, std::size_t(1) << 45) == cudaErrorMemoryAllocation);
  CHECK(too_much == nullptr);
  (void)cudaGetLastError();
}

TEST_CASE("the seed decides the schedule") {
  DeviceBuffer<float> out(1, kNoBands);
  std::vector<float> last;
  for (int round = 0; round < 2; ++round) {
    std::vector<float> of_seed;
    for (std::uint64_t seed = 1; seed <= 8; ++seed) {
      emulator::configure({.schedule_seed = seed, .worker_threads = 1});
      CUDA_CHECK(runtime_kernels::last_writer(out.data()));
      of_seed.push_back(out.to_host()[0]);
    }
    if (round == 1) CHECK(of_seed == last);
    last = of_seed;
  }
  emulator::configure({});
  std::sort(last.begin(), last.end());
  CHECK(std::unique(last.begin(), last.end()) - last.begin() > 4);  // and different seeds differ
}
