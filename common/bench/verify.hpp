#pragma once

#include <cuda_fp16.h>

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention/inputs.hpp"
#include "attention/problem.hpp"
#include "reference.hpp"

namespace attention::bench {

/// Holds outputs of one problem against the float64 reference, with what reference::expect() allows.
///
/// Every element of a small problem is compared. Of a large one, whose reference would take minutes, every
/// element must be finite (outputs are poisoned with NaN before a call, so one that nobody wrote shows), and
/// rows are compared in samples: blocks of neighbouring rows of heads spread over the batch, first and last
/// rows of a head among them.
class Verifier {
 public:
  /// Problems of at most this many products of Q K^T are compared whole.
  static constexpr std::size_t kLargestWhole = std::size_t(1) << 29;

  /// The inputs must be finite.
  Verifier(const Problem& problem, const Inputs& inputs, std::size_t largest_whole = kLargestWhole);

  /// One line that says what is wrong with an output, or nothing.
  std::optional<std::string> complaint(std::span<const half> o, double extra_roundings) const;

 private:
  struct Sample {
    std::size_t first_element;  // of the output
    std::string where;
    Expected expected;
  };

  void add_sample(const Problem& problem, const Inputs& inputs, int head, int first_row, int rows);

  std::vector<Sample> samples_;
};

}  // namespace attention::bench
