#pragma once

#include <cuda_fp16.h>

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace attention {

/// Half a unit in the last place of a half, as a share of its value: what rounding to half may change.
inline constexpr double kHalfRounding = 0x1p-11;
/// The smallest number of FP16, a subnormal. Rounding changes half of it at the least.
inline constexpr double kHalfSmallest = 0x1p-24;
/// The smallest number of FP16 that has all its digits.
inline constexpr double kHalfSmallestNormal = 0x1p-14;

/// The right output of a problem, and how far from it each element and each row may be. All vectors are on the
/// host; a row is the head_dim elements of one query.
struct Expected {
  std::vector<double> o;       ///< [rows, head_dim], float64
  std::vector<float> scale;    ///< [rows, head_dim], sum over keys of p * |v|: what rounding errors grow with
  std::vector<float> allowed;  ///< [rows, head_dim], the largest |got - o|
  std::vector<float> allowed_norm;          ///< [rows], the largest ||got - o|| of a row (Euclidean)
  std::vector<unsigned char> tainted_rows;  ///< [rows], 1 where inputs of the row's head are NaN or infinite
  std::size_t head_dim = 0;
};

/// The outcome of a comparison.
struct Comparison {
  double error =
      0;  ///< |got - want| of the element that comes nearest to, or goes furthest past, its allowance
  double allowed = 0;      ///< of that element
  double row_error = 0;    ///< ||got - want|| of the row that comes nearest to its allowance, likewise
  double row_allowed = 0;  ///< of that row
  std::size_t worst_index =
      0;  ///< that element, or the first that is of another kind (NaN for a number, say)
  std::size_t wrong_elements = 0;  ///< past their allowance, or of another kind than the reference's
  std::size_t wrong_rows = 0;      ///< past their allowance
  std::size_t compared = 0;        ///< elements of which both the reference and the output are finite
  bool ok = false;
  std::string message;  ///< one line for people when not ok: where, what was got, what is right
};

/// Compares an output with the reference, element by element and row by row. Each is held against an allowance
/// of its own, so that large values in one head, row or column hide nothing in another.
///
/// Where the reference is NaN, +infinity or -infinity, the output must be the same. Only in a tainted row may
/// the output be non-finite where the reference is finite, or NaN where it is infinite: a tiled kernel computes
/// 0 * NaN, or 0 * infinity, for a key that is masked. Where nothing was left to compare, as with inputs that
/// are all NaN, `compared` is 0.
///
/// @param extra_roundings how often more than usual a sum is rounded to half (Variant::extra_roundings); each
///   allows half a unit in the last place of Expected::scale more
/// @throws std::logic_error where the sizes do not fit together, or there is nothing at all.
Comparison compare(std::span<const half> got, const Expected& expected, double extra_roundings = 0);

}  // namespace attention
