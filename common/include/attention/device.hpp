#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace attention {

/// Properties of the device that this build runs on, for stages to base decisions on.
struct Device {
  std::string name;
  bool emulated;           ///< the CPU stands in for a GPU: results and counts are right, there are no times
  int compute_capability;  ///< 10 * major + minor: 90 on Hopper
  int sm_count;
  std::size_t smem_per_block_bytes;  ///< largest dynamic shared memory that a block may opt in to
  std::size_t l2_bytes;
  std::size_t persisting_l2_bytes;  ///< largest part of L2 that can be set aside; 0 where none can
  std::size_t memory_bytes;         ///< all of global memory
};

/// The current device. @throws NoDevice with the runtime's
/// message where no device answers, CudaError otherwise.
Device current_device();

/// Bytes of global memory that are free now. @throws CudaError
std::size_t free_memory_bytes();

/// Options that only the emulated device has.
struct EmulatorOptions {
  std::optional<std::uint64_t> schedule_seed;  ///< order in which lanes, warps and blocks run
  bool check_memory = false;                   ///< report races, uninitialised reads, out-of-bounds accesses
  bool profile = false;                        ///< count sectors, wavefronts, instructions
  int profile_blocks = 0;                      ///< count in this many blocks of each launch; 0: in all
};

/// Sets the options for the launches that follow. @throws InvalidInput on a GPU, naming the option that needs
/// the emulated device.
void configure_device(const EmulatorOptions& options);

}  // namespace attention
