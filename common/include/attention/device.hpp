#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace attention {

/// The device that this build runs on, as far as a stage may ask about it.
struct Device {
  std::string name;
  bool emulated;           ///< the CPU in the role of a GPU: right answers and counts, no times
  int compute_capability;  ///< 10 * major + minor: 90 on Hopper
  int sm_count;
  std::size_t smem_per_block_bytes;  ///< largest dynamic shared memory a block may opt in to
  std::size_t l2_bytes;
  std::size_t persisting_l2_bytes;  ///< largest part of L2 that can be set aside; 0 where there is none
  std::size_t memory_bytes;         ///< global memory in all
};

/// The current device. @throws NoDevice in the runtime's own words where none answers.
Device current_device();

/// Bytes of global memory free now.
std::size_t free_memory_bytes();

/// What only the emulated device can be asked to do.
struct EmulatorOptions {
  std::optional<std::uint64_t> schedule_seed;  ///< order in which lanes, warps and blocks run
  bool check_memory = false;                   ///< look for races, uninitialised and out-of-bounds accesses
  bool profile = false;                        ///< count sectors, wavefronts, instructions
  int profile_blocks = 0;                      ///< trace only this many blocks of a launch; 0: all
};

/// Sets the options. @throws InvalidInput on a GPU, naming the option that needs the emulated device.
void configure_device(const EmulatorOptions& options);

}  // namespace attention
