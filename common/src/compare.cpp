#include "attention/compare.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <stdexcept>

namespace attention {
namespace {

std::string place(std::size_t index, std::size_t row_length) {
  if (row_length == 1) return fmt::format("element {}", index);
  return fmt::format("element {} (row {}, column {})", index, index / row_length, index % row_length);
}

}  // namespace

Comparison compare(std::span<const half> got, std::span<const double> want, const Tolerance& tolerance,
                   std::span<const unsigned char> may_be_non_finite, std::size_t row_length) {
  if (got.size() != want.size()) {
    throw std::logic_error(
        fmt::format("compare: {} elements against a reference of {}", got.size(), want.size()));
  }
  if (got.empty()) throw std::logic_error("compare: nothing to compare");
  if (row_length == 0 || got.size() % row_length != 0 ||
      (!may_be_non_finite.empty() && may_be_non_finite.size() != got.size() / row_length)) {
    throw std::logic_error(fmt::format("compare: {} row flags for {} elements in rows of {}",
                                       may_be_non_finite.size(), got.size(), row_length));
  }

  Comparison result;
  bool finiteness_differs = false;
  double error_squares = 0;
  double want_squares = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double value = __half2float(got[i]);
    const bool got_finite = std::isfinite(value);
    const bool want_finite = std::isfinite(want[i]);
    if (got_finite != want_finite) {
      if (want_finite && !may_be_non_finite.empty() && may_be_non_finite[i / row_length]) continue;
      ++result.wrong_elements;
      if (!finiteness_differs) {
        finiteness_differs = true;
        result.worst_index = i;
        result.max_abs_error = std::abs(value - want[i]);  // NaN or Inf: beyond every tolerance
      }
      continue;
    }
    if (!want_finite) continue;

    const double error = std::abs(value - want[i]);
    error_squares += error * error;
    want_squares += want[i] * want[i];
    if (!(error <= tolerance.max_abs_error)) ++result.wrong_elements;
    if (!finiteness_differs && error > result.max_abs_error) {
      result.max_abs_error = error;
      result.worst_index = i;
    }
  }

  if (finiteness_differs) {
    result.relative_error = result.max_abs_error;
  } else if (error_squares == 0) {
    result.relative_error = 0;
  } else if (want_squares == 0) {
    result.relative_error = std::numeric_limits<double>::infinity();
  } else {
    result.relative_error = std::sqrt(error_squares / want_squares);
  }

  // Written so that a NaN anywhere, in a tolerance too, fails: NaN <= x is false.
  const bool elements_ok = result.wrong_elements == 0 && result.max_abs_error <= tolerance.max_abs_error;
  const bool norm_ok = result.relative_error <= tolerance.relative_error;
  result.ok = elements_ok && norm_ok;
  if (result.ok) return result;

  const std::size_t i = result.worst_index;
  result.message =
      fmt::format("{}: got {:g}, want {:g}", place(i, row_length), __half2float(got[i]), want[i]);
  if (!elements_ok) {
    result.message += fmt::format(" +- {:g}; {} of {} elements are wrong", tolerance.max_abs_error,
                                  result.wrong_elements, got.size());
  } else {
    result.message += fmt::format(" (the largest error, within {:g})", tolerance.max_abs_error);
  }
  if (!norm_ok) {
    result.message += fmt::format("; the relative error {:g} is above {:g}", result.relative_error,
                                  tolerance.relative_error);
  }
  return result;
}

}  // namespace attention
