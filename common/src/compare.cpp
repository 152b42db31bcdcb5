#include "attention/compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace attention {
namespace {

void check_sizes(std::span<const half> got, const Expected& expected) {
  const std::size_t elements = expected.o.size();
  if (got.size() != elements) {
    throw std::logic_error(
        fmt::format("compare: {} elements against a reference of {}", got.size(), elements));
  }
  if (got.empty()) throw std::logic_error("compare: nothing to compare");
  const std::size_t head_dim = expected.head_dim;
  const std::size_t rows = head_dim == 0 ? 0 : elements / head_dim;
  if (rows * head_dim != elements || expected.scale.size() != elements ||
      expected.allowed.size() != elements || expected.allowed_norm.size() != rows ||
      expected.tainted_rows.size() != rows) {
    throw std::logic_error(
        fmt::format("compare: allowances do not fit {} elements in rows of {}", elements, head_dim));
  }
}

// Is an output right whose reference, or which itself, is not finite?
bool right_kind(double got, double want, bool tainted) {
  if (std::isfinite(want)) return std::isfinite(got) || tainted;
  if (std::isnan(want)) return std::isnan(got);
  return got == want || (tainted && std::isnan(got));
}

// How much of what it is allowed an error takes; more than 1 is wrong, and so is NaN, in either, which counts as
// infinite.
double share(double error, double allowed) {
  if (error == 0 && allowed >= 0) return 0;
  const double share = error / allowed;
  return share >= 0 ? share : std::numeric_limits<double>::infinity();
}

}  // namespace

Comparison compare(std::span<const half> got, const Expected& expected, double extra_roundings) {
  check_sizes(got, expected);
  Comparison result;
  bool kind_differs = false;
  std::size_t worst_row = 0;
  double largest_share = -1, largest_row_share = -1;
  for (std::size_t row = 0; row < expected.allowed_norm.size(); ++row) {
    double error_squares = 0, scale_squares = 0;
    for (std::size_t i = row * expected.head_dim; i < (row + 1) * expected.head_dim; ++i) {
      const double value = __half2float(got[i]), want = expected.o[i];
      if (!right_kind(value, want, expected.tainted_rows[row] != 0)) {
        ++result.wrong_elements;
        if (kind_differs) continue;
        kind_differs = true;
        result.worst_index = i;
        result.error = std::abs(value - want);  // NaN or infinite
        result.allowed = 0;
        continue;
      }
      if (!std::isfinite(value) || !std::isfinite(want)) continue;

      ++result.compared;
      const double error = std::abs(value - want);
      const double allowed =
          expected.allowed[i] + extra_roundings * (kHalfRounding * expected.scale[i] + 2 * kHalfSmallest);
      error_squares += error * error;
      scale_squares += double(expected.scale[i]) * expected.scale[i];
      if (share(error, allowed) > 1) ++result.wrong_elements;
      if (!kind_differs && share(error, allowed) > largest_share) {
        largest_share = share(error, allowed);
        result.error = error;
        result.allowed = allowed;
        result.worst_index = i;
      }
    }
    const double error = std::sqrt(error_squares);
    const double allowed = expected.allowed_norm[row] +
                           extra_roundings * (kHalfRounding * std::sqrt(scale_squares) +
                                              kHalfSmallest / 2 * std::sqrt(double(expected.head_dim)));
    if (share(error, allowed) > 1) ++result.wrong_rows;
    if (share(error, allowed) > largest_row_share) {
      largest_row_share = share(error, allowed);
      result.row_error = error;
      result.row_allowed = allowed;
      worst_row = row;
    }
  }

  result.ok = result.wrong_elements == 0 && result.wrong_rows == 0;
  if (result.ok) return result;
  if (result.wrong_elements > 0) {
    const std::size_t i = result.worst_index;
    result.message = fmt::format(
        "element {} (row {}, column {}): got {:.6g}, want {:.6g} +- {:.2g}; {} of {} "
        "elements are wrong",
        i, i / expected.head_dim, i % expected.head_dim, __half2float(got[i]), expected.o[i], result.allowed,
        result.wrong_elements, got.size());
  } else {
    result.message = fmt::format(
        "row {}: the error of the row is {:.3g}, above {:.3g}, although each of its "
        "elements is near enough; {} of {} rows are wrong",
        worst_row, result.row_error, result.row_allowed, result.wrong_rows, expected.allowed_norm.size());
  }
  return result;
}

}  // namespace attention
