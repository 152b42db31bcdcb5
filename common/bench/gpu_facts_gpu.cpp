#include <fmt/format.h>

#include <cstdio>

#include "attention/cuda_check.hpp"
#include "attention/device.hpp"
#include "gpu_facts.hpp"

namespace attention::bench {
namespace {

// What nvidia-smi prints for these fields of the current
// device; empty where it does not answer. It only reads.
std::string nvidia_smi(const std::string& fields) {
  int device = 0;
  char bus_id[32] = "";
  CUDA_CHECK(cudaGetDevice(&device));
  CUDA_CHECK(cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, device));
  const std::string command =
      fmt::format("nvidia-smi --query-gpu={} --format=csv,noheader --id={} 2>/dev/null", fields, bus_id);
  FILE* pipe = popen(command.c_str(), "r");
  if (!pipe) return "";
  char line[512] = "";
  const bool answered = std::fgets(line, sizeof line, pipe) != nullptr;
  if (pclose(pipe) != 0 || !answered) return "";
  std::string text = line;
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string cuda_version(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

std::vector<LaunchGrid> launch_grids(const Enqueue& call) {
  const Stream stream;
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  call(stream);
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  std::size_t count = 0;
  CUDA_CHECK(cudaGraphGetNodes(graph, nullptr, &count));
  std::vector<cudaGraphNode_t> nodes(count);
  CUDA_CHECK(cudaGraphGetNodes(graph, nodes.data(), &count));
  std::vector<LaunchGrid> grids;
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type;
    CUDA_CHECK(cudaGraphNodeGetType(node, &type));
    if (type != cudaGraphNodeTypeKernel) continue;
    cudaKernelNodeParams kernel;
    CUDA_CHECK(cudaGraphKernelNodeGetParams(node, &kernel));
    grids.push_back({kernel.gridDim, kernel.blockDim});
  }
  CUDA_CHECK(cudaGraphDestroy(graph));
  return grids;
}

std::vector<std::pair<std::string, std::string>> gpu_context() {
  const Device device = current_device();
  int driver = 0, runtime = 0;
  CUDA_CHECK(cudaDriverGetVersion(&driver));
  CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
  const std::string driver_version = nvidia_smi("driver_version");
  return {
      {"gpu", device.name},
      {"compute_capability",
       fmt::format("{}.{}", device.compute_capability / 10, device.compute_capability % 10)},
      {"sm_count", fmt::to_string(device.sm_count)},
      {"l2_bytes", fmt::to_string(device.l2_bytes)},
      {"memory_bytes", fmt::to_string(device.memory_bytes)},
      {"driver", driver_version.empty() ? fmt::format("for CUDA {}", cuda_version(driver)) : driver_version},
      {"cuda", cuda_version(runtime)},
      {"largest_clocks", nvidia_smi("clocks.max.sm,clocks.max.memory")}};
}

std::string gpu_state() {
  const std::string state = nvidia_smi("clocks.sm,clocks.mem,temperature.gpu,power.draw");
  if (state.empty()) return "nvidia-smi does not answer";
  return fmt::format("{} (SM clock, memory clock, degrees C, power)", state);
}

}  // namespace attention::bench
