#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

namespace attention {

/// Q, K and V in host memory: q [batch, heads, seq_q, head_dim], k and v [batch, kv_heads, seq_kv, head_dim].
struct Inputs {
  std::vector<half> q, k, v;
};

/// Ways to fill Q, K and V. All but `normal` are adversarial: each breaks a kernel that is careless in one
/// way. V is N(0, 1) unless said otherwise. Where the caller chose a scale, the adversarial keys make up for it.
/// Scaled scores stay below 60000 in magnitude for any scale of 1e-3 to 100, so that even kernels that keep
/// them in half see finite ones; except in domain_edge.
enum class Distribution {
  normal,        ///< independent N(0, 1), what speed and error are stated for
  large_logits,  ///< scaled scores N(0, 500): exp overflows unless the maximum is subtracted
  equal_keys,   ///< every key of a head the same: uniform probabilities, so every key must count exactly once
  outlier_key,  ///< one key about 40 above the rest, for every query: the last one, so that running maxima
                ///< must be corrected late; in a causal problem the key that half of the rows with keys see
  underflow_rows,    ///< scaled scores near -1500 in odd rows, near 0 in even ones: sums vanish unless the
                     ///< maximum of each row is subtracted
  constant,          ///< Q, K and V constant, each element of O is V's: sums that drift show
  one_hot,           ///< each query meets one key about 100 above all others: O is that key's row of V
  positive_values,   ///< V all positive, between 1 and 5: nothing cancels, so an error of the sum shows whole
  value_outlier,     ///< one element of V of each head is 60000, the others N(0, 1)
  mixed_magnitudes,  ///< V scaled by a power of 2 from 2^-16 to 2^13, another for each head and column
  subnormal_values,  ///< V about 1e-6, subnormal in FP16
  domain_edge,       ///< scores all about 9e7, near the largest that a stage promises (stage.hpp)
};

/// All distributions, in the order of their declaration.
std::span<const Distribution> all_distributions();
/// The enumerator's name, for tests and messages.
std::string_view name(Distribution distribution);

/// The distribution of this name, or nothing.
std::optional<Distribution> distribution_named(std::string_view name);

/// Inputs for `problem`. Q, K and V come from three separate streams of random numbers, so that changing the
/// number of keys does not change the queries.
///
/// The same seed gives the same values on every machine and with every compiler. The generator is
/// std::mt19937_64, whose output the standard fixes. We make normals by the polar method (Marsaglia and Bray
/// 1964), because std::normal_distribution differs between standard libraries. The method's one inexact step
/// is a logarithm; where its last bit differs, about one value in 10^12 changes, by one unit in the last
/// place of a half.
Inputs make_inputs(const Problem& problem, Distribution distribution, std::uint64_t seed);

}  // namespace attention
