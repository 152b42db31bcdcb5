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

/// Compares outputs of one problem with the float64 reference, each element and row within what
/// reference::expect() allows it.
///
/// Every element of a small problem is compared. The reference of a large problem would take minutes, so
/// there we require that every element is finite (outputs are poisoned with NaN before a call, so an element
/// that was not written shows) and compare samples: blocks of neighbouring rows from heads spread over the
/// batch, among them first and last rows.
class Verifier {
 public:
  /// Problems with at most this many multiplications in Q K^T are compared whole.
  static constexpr std::size_t kLargestWhole = std::size_t(1) << 29;

  /// Computes the reference on the host. The inputs must be finite.
  Verifier(const Problem& problem, const Inputs& inputs, std::size_t largest_whole = kLargestWhole);

  /// One line that says what is wrong with an output, or nothing.
  std::optional<std::string> complaint(std::span<const half> o, double extra_roundings) const;

 private:
  struct Sample {
    std::size_t first_element;  // of the output
    std::string where;          // in words; empty for a whole problem
    Expected expected;
  };

  void add_sample(const Problem& problem, const Inputs& inputs, int head, int first_row, int rows);

  std::vector<Sample> samples_;
};

}  // namespace attention::bench
