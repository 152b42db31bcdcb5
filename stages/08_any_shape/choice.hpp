#pragma once

#include <span>
#include <string_view>

#include "attention/stage.hpp"

// Which variant of all stages does a problem fastest.
namespace attention::any_shape {

/// What a kernel's blocks take. Times are microseconds, measured on an H200.
struct Cost {
  int blocks_per_sm;  ///< that run at once
  int tile;           ///< keys of a step: a block takes as long as if its keys were a multiple of this
  double launch_us;   ///< once
  double block_us;    ///< per block, whatever it has to do
  double key_us;      ///< per key that the block sees, while it has an SM to itself ...
  double full_us;     ///< ... and while as many of them as fit share one
};

/// A variant that may be chosen.
struct Candidate {
  const Stage* stage;
  std::string_view name;
  int rows;            ///< query rows per block
  bool longest_first;  ///< in a causal problem, do the row blocks that see the most keys start first?
  double mask_us;      ///< what the mask of a causal problem costs, in microseconds
  Cost narrow, wide;   ///< head_dim up to 64; more
  /// Over how many blocks the keys of a row are split, for variants that do so.
  int (*parts)(const Problem& problem) = nullptr;

  /// The variant itself. @throws std::logic_error where the stage has none of this name.
  const Variant& variant() const;
};

/// All candidates. The first supports every shape and device that any of them does.
std::span<const Candidate> candidates();

/// What one call takes, in microseconds, on a GPU with so many SMs.
double estimate_us(const Candidate& candidate, const Problem& problem, int sm_count);

/// The candidate that is estimated to be fastest of those that support the problem on the device; null where
/// none does. Of the device it looks at compute capability, SMs and shared memory alone.
const Candidate* choose(const Problem& problem, const Device& device,
                        std::span<const Candidate> among = candidates());

/// Device memory enough for whatever is chosen for the problem, on any device.
WorkspaceFunction chosen_workspace_bytes;

}  // namespace attention::any_shape
