#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

namespace attention {

/// Host copies of Q, K and V, shaped as Problem says.
struct Inputs {
  std::vector<half> q, k, v;
};

/// Ways to fill Q, K and V. All but `normal` are adversarial: each breaks a kernel that is careless in one way.
enum class Distribution {
  normal,          ///< independent N(0, 1), what speed and error are stated for
  large_logits,    ///< scaled scores up to some thousands: exp overflows unless the maximum is subtracted
  equal_keys,      ///< every key the same: uniform probabilities, so every key must count exactly once
  outlier_key,     ///< one key far above the rest, in the last tile: running maxima must be corrected late
  underflow_rows,  ///< scores far below zero: sums vanish unless the maximum is subtracted
};

/// Every distribution, and its name in tests and messages.
std::span<const Distribution> all_distributions();
std::string_view name(Distribution distribution);

/// Host inputs for `problem`; the same seed gives the same values on every machine and compiler.
Inputs make_inputs(const Problem& problem, Distribution distribution, std::uint64_t seed);

}  // namespace attention
