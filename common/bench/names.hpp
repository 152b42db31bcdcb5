#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

// The names of benchmarks: "01_naive/one_pass/B1_H8_S512_D64_causal/chain". Tables find recorded results by
// these names, so they do not change.
namespace attention::bench {

/// How a call is timed; see attention/timing.hpp.
enum class Mode { chain, single, cold, streams };

std::string_view name(Mode mode);

/// "B1_H8_S512_D64", "H8-2" where there are fewer key/value heads, "S17x257" where seq_q and seq_kv differ,
/// "_causal" at the end. The scale is always the usual one.
std::string shape_name(const Problem& problem);

/// The problem with this shape_name(). @throws InvalidInput
/// with the form that is expected, or as Problem does.
Problem parse_shape(std::string_view shape);

/// Bytes that any implementation must move: Q, K and V read once, O written once, in half.
std::size_t compulsory_bytes(const Problem& problem);

struct Name {
  std::string who;      ///< a stage, "pytorch", "floor" or "ceiling"
  std::string variant;  ///< or a library that PyTorch calls
  std::string shape;
  std::string mode;
};

/// "who/variant/shape/mode".
std::string join(const Name& name);

/// The parts of a name, without what Google Benchmark appends ("/iterations:1/manual_time"). Nothing where
/// the name has fewer than four parts or an empty one.
std::optional<Name> split(std::string_view name);

/// Which variants are timed on a shape: every stage's default; these and all of 06_long; all; or all of the
/// stages from 04_fused on, which 08_any_shape may choose, and no libraries.
enum class Who { defaults, defaults_and_long, all, candidates };

/// A shape, and what is timed on it.
struct Case {
  Problem problem;
  std::vector<Mode> modes;
  Who who;
};

/// What `bench` measures by default.
/// - Quick: every variant on the headline shape, mode `chain`.
/// - Full: every variant on the headline shape, unmasked and causal, in every mode; then, in mode `chain`,
///   the stages' default variants on B=1 H=8 D=64 with S = 128 to 16384, and on 16384 tokens of 2048 channels
///   in all (D = 64 and 128, S = 2048 to 16384, unmasked and causal), there with every variant of
///   06_long at S = 8192.
std::vector<Case> plan(bool quick);

/// The shapes on which the choice of 08_any_shape is compared with every variant that it may choose: 1 to 64
/// heads with S = 128 to 4096, batches of models' shapes, and few query rows with many keys. Mode `chain`.
std::vector<Case> survey();

}  // namespace attention::bench
