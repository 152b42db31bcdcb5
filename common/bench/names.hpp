#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "attention/problem.hpp"

// The names of benchmarks: "01_naive/one_pass/B1_H8_S512_D64_causal/chain". Recorded results are found again
// by these, so they do not change.
namespace attention::bench {

/// How a call is timed; see attention/timing.hpp.
enum class Mode { chain, single, cold, streams };

std::string_view name(Mode mode);
std::optional<Mode> mode_named(std::string_view name);

/// "B1_H8_S512_D64", "H8-2" where there are fewer key/value heads, "S17x257" where seq_q and seq_kv differ,
/// "_causal" at the end. The scale is always the usual one.
std::string shape_name(const Problem& problem);

/// The problem that a shape is the name of. @throws InvalidInput with the form that is expected.
Problem parse_shape(std::string_view shape);

/// What any implementation must move: Q, K and V read once, O written once.
std::size_t compulsory_bytes(const Problem& problem);

struct Name {
  std::string who;      ///< a stage, "pytorch", "floor" or "ceiling"
  std::string variant;  ///< or the back end of a rival
  std::string shape;
  std::string mode;
};

std::string join(const Name& name);

/// Takes a name apart; what Google Benchmark appends ("/iterations:1/manual_time") is left out. Nothing where
/// it has not four parts.
std::optional<Name> split(std::string_view name);

/// Whose variants are timed on a shape: those that stages stand for, these and all of the last stage, all, or
/// all of the last stage alone and no rivals.
enum class Who { defaults, defaults_and_last, all, only_last };

/// A shape and what is to be timed on it.
struct Case {
  Problem problem;
  std::vector<Mode> modes;
  Who who;
};

/// What `bench` measures unless told otherwise. Full: the headline shape, full and causal, every variant in
/// every mode; one batch of 8 heads from S = 128 to 16384; 16384 tokens of 2048 channels in all, D = 64 and
/// 128, S = 2048 to 16384, full and causal, with every variant of the last stage at S = 8192. Quick: every
/// variant on the headline shape, `chain`.
std::vector<Case> plan(bool quick);

/// What the last stage's choice among its variants is held against: 1 to 64 heads, S = 128 to 4096, and few
/// rows with many keys.
std::vector<Case> survey();

}  // namespace attention::bench
