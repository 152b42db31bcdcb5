#pragma once

#include <cuda_runtime.h>

#include <string>
#include <utility>
#include <vector>

#include "attention/timing.hpp"

// What a benchmark asks of a GPU that the emulated device has no answer to: gpu_facts_gpu.cpp and
// gpu_facts_emulated.cpp; CMake picks one.
namespace attention::bench {

struct LaunchGrid {
  dim3 grid, block;
};

/// The grids of the kernels that one call launches, in the order of capture.
std::vector<LaunchGrid> launch_grids(const Enqueue& call);

/// Names and values for the context of a results file: chip, its limits, driver, CUDA.
std::vector<std::pair<std::string, std::string>> gpu_context();

/// Clocks, temperature and power now, in nvidia-smi's words; says so where nvidia-smi does not answer.
std::string gpu_state();

}  // namespace attention::bench
