#pragma once

#include <cuda_fp16.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

namespace attention {

/// Q, K and V in host memory: q [batch, heads, seq_q, head_dim], k and v [batch, kv_heads, seq_kv, head_dim].
struct Inputs {
  std::vector<half> q, k, v;
};

/// Ways to fill Q, K and V. All but `normal` are adversarial: each one breaks a kernel that is careless in
/// one way. V is N(0, 1) in all of them. The adversarial keys compensate for a scale that the caller chose.
/// Scaled scores stay below 60000 in magnitude for any scale of 1e-3 to 100, so that they are finite even in
/// kernels that keep them in half.
enum class Distribution {
  /// Independent N(0, 1); speed and error are stated for these.
  normal,
  /// Scaled scores are N(0, 500): exp overflows unless the maximum is subtracted.
  large_logits,
  /// All keys of a head are the same. Probabilities are uniform, so every key must count exactly once.
  equal_keys,
  /// One key scores about 40 above the rest, for every query. It is the last key, so that running maxima must
  /// be corrected late; in a causal problem it is the key that half of the rows with keys see.
  outlier_key,
  /// Scaled scores are near -1500 in odd rows, near 0 in even
  /// rows: sums vanish unless each row's maximum is subtracted.
  underflow_rows,
};

/// All distributions, in the order of their declaration.
std::span<const Distribution> all_distributions();
/// The enumerator's name, for tests and messages.
std::string_view name(Distribution distribution);

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
