#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

namespace attention {

/// Host copies of Q, K and V, shaped as Problem says.
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

/// Every distribution, and its name in tests and messages.
std::span<const Distribution> all_distributions();
std::string_view name(Distribution distribution);

/// The distribution of this name, or nothing.
std::optional<Distribution> distribution_named(std::string_view name);

/// Host inputs for `problem`. Q, K and V are three streams of numbers, so that changing the number of keys
/// leaves the queries as they were.
///
/// The same seed gives the same values on every machine and compiler: the generator is std::mt19937_64, whose
/// output the standard fixes, and normals are made here by the polar method (Marsaglia and Bray 1964),
/// because std::normal_distribution differs between standard libraries. Its one inexact step is a logarithm;
/// libraries that differ in its last bit would change one in about 10^12 values, by one unit in the last
/// place of a half.
Inputs make_inputs(const Problem& problem, Distribution distribution, std::uint64_t seed);

}  // namespace attention
