#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>
#include <vector>

#include "attention/timing.hpp"

// Facts about a GPU that the emulated device does not have.
// CMake compiles gpu_facts_gpu.cpp or gpu_facts_emulated.cpp.
namespace attention::bench {

struct LaunchGrid {
  dim3 grid, block;
};

/// The grid and block of each kernel that one call launches,
/// in the order of capture; found by capturing the call.
/// @throws CudaError
std::vector<LaunchGrid> launch_grids(const Enqueue& call);

/// Names and values for the context of a results file: the chip, its limits, driver and CUDA.
std::vector<std::pair<std::string, std::string>> gpu_context();

/// Clocks, temperature and power now, as nvidia-smi prints them, or one line saying that it does not answer.
std::string gpu_state();

}  // namespace attention::bench
