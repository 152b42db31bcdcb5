#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <span>
#include <string>

namespace attention {

/// How far an output may be from the float64 reference. Both bounds hold at once.
struct Tolerance {
  double max_abs_error;   ///< largest |got - want| of any element
  double relative_error;  ///< ||got - want|| / ||want||, Frobenius, over the elements where both are finite
};

/// The outcome of a comparison. NaN in either error never passes.
struct Comparison {
  double max_abs_error = 0;   ///< NaN or Inf where an element is non-finite and should not be, or the reverse
  double relative_error = 0;  ///< likewise; where `want` is all zero: 0 if `got` is too, else Inf
  std::size_t worst_index =
      0;  ///< element with the largest error, or the first that is non-finite and should not be
  std::size_t wrong_elements =
      0;  ///< beyond the tolerance, or non-finite where the reference is not (or the reverse)
  bool ok = false;
  std::string message;  ///< one line for people when not ok: where, what was got, what is right
};

/// Compares an output with the reference, element by element.
///
/// A non-finite reference element wants a non-finite one. `may_be_non_finite`, where not empty, has one flag
/// a row of `row_length` elements: set for rows whose head has NaN or Inf among its inputs, where a finite
/// reference element also accepts a non-finite one (0 * NaN of a masked key is NaN in a tiled kernel).
/// @throws std::logic_error where the sizes differ, there is nothing to compare, or the flags do not fit the
/// rows.
Comparison compare(std::span<const half> got, std::span<const double> want, const Tolerance& tolerance,
                   std::span<const unsigned char> may_be_non_finite = {}, std::size_t row_length = 1);

}  // namespace attention
