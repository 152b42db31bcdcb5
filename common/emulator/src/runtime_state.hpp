#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "emulator/emulator.hpp"
#include "emulator/launch.hpp"

namespace emulator {

/// Something that a stream does. It is done at once, or kept where the stream is being captured.
struct StreamOperation {
  cudaGraphNodeType type;
  std::function<cudaError_t()> run;
};

/// Does the operation now, or adds it to the graph that the stream is being captured into.
cudaError_t submit(cudaStream_t stream, StreamOperation operation);

/// The error that a failed kernel left behind, for calls that wait for the device.
cudaError_t device_error();
/// Keeps `error`, which a kernel has just made, for the calls to come.
void set_device_error(cudaError_t error);
/// Keeps an error for cudaGetLastError() and returns it.
cudaError_t remember(cudaError_t error);

/// Attributes that launches on a stream inherit.
std::vector<cudaLaunchAttribute> stream_attributes(cudaStream_t stream);

/// True while a graph is being replayed on this host thread.
bool replaying_graph();

// The chip that the emulated device stands for.
inline constexpr int kMultiprocessors = 132;
inline constexpr int kMaxGridX = 2147483647;
inline constexpr int kMaxGridYZ = 65535;
inline constexpr std::size_t kDefaultSmemBytes = 48 * 1024;
inline constexpr std::size_t kMaxPersistingL2Bytes = 37 * 1024 * 1024 + 512 * 1024;
inline constexpr std::size_t kMaxAccessPolicyWindowBytes = 128 * 1024 * 1024;

}  // namespace emulator
