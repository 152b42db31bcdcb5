#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <span>
#include <string>

namespace attention {

/// How far an output may be from the float64 reference. Both bounds must hold.
struct Tolerance {
  double max_abs_error;   ///< largest |got - want| of any element
  double relative_error;  ///< ||got - want|| / ||want||, Frobenius, over elements where both are finite
};

/// The outcome of a comparison. A NaN in either error never passes.
struct Comparison {
  /// NaN or Inf where an element is non-finite and should not be, or the other way round.
  double max_abs_error = 0;
  /// The same; where `want` is all zero: 0 if `got` is too, else Inf.
  double relative_error = 0;
  /// The element with the largest error, or the first one that is non-finite and should not be.
  std::size_t worst_index = 0;
  /// Elements beyond the tolerance, or non-finite where the reference is not, or the other way round.
  std::size_t wrong_elements = 0;
  bool ok = false;
  /// One line for people where not ok: which element, what we got, what is right.
  std::string message;
};

/// Compares an output with the reference, element by element, on the host. `got` and `want` have the same
/// shape, rows of `row_length` elements.
///
/// Where the reference is non-finite, the output must be non-finite too. `may_be_non_finite` is empty, or has
/// one flag per row: set for rows whose head has NaN or Inf among its inputs. There a non-finite output is
/// accepted where the reference is finite, because a tiled kernel computes 0 * NaN for a masked key.
/// @throws std::logic_error where the sizes differ, there is
///   nothing to compare, or the flags do not match the rows.
Comparison compare(std::span<const half> got, std::span<const double> want, const Tolerance& tolerance,
                   std::span<const unsigned char> may_be_non_finite = {}, std::size_t row_length = 1);

}  // namespace attention
