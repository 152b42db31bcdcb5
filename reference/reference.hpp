#pragma once

#include <cuda_fp16.h>

#include <span>
#include <vector>

#include "attention/compare.hpp"
#include "attention/inputs.hpp"
#include "attention/problem.hpp"

namespace attention::reference {

/// Threads that the host can run at once, at least 1.
unsigned all_cores();

/// O = softmax(scale * Q K^T) V in float64, [batch, heads, seq_q, head_dim] in host memory, from the same
/// half inputs that a device gets. A row that sees no key is zero. Masked keys are not read; otherwise NaN
/// and Inf propagate as in the formula: a score of NaN or +Inf, or scores of -Inf only, make the row NaN.
/// `threads`, at least 1, share the rows; the result does not depend on their number.
/// @throws std::logic_error where the inputs do not have the problem's shape.
std::vector<double> attention(const Problem& problem, const Inputs& inputs, unsigned threads = all_cores());

/// The same, unfused, as a careful FP16 implementation computes it: products
/// accumulated in float, scaled scores rounded to half, softmax in float, probabilities
/// rounded to half, output rounded to half. Its error sets the tolerance, as in
/// flash-attention's own tests (Dao-AILab/flash-attention, tests/test_flash_attn.py).
/// @throws std::logic_error where the inputs do not have the problem's shape.
std::vector<half> attention_fp16(const Problem& problem, const Inputs& inputs);

/// Everything that a check of one problem needs, computed once for all variants.
struct Expected {
  std::vector<double> o;                    ///< [batch, heads, seq_q, head_dim]
  Tolerance tolerance;                      ///< for variants whose error_factor is 1
  std::vector<unsigned char> tainted_rows;  ///< [batch, heads, seq_q]: see tainted_rows()
};

/// One flag per query row, [batch, heads, seq_q]: set where the row's own query, or any key or value of its
/// head, masked or not, has NaN or Inf. Only these rows may be non-finite where the reference is finite: a
/// tiled kernel computes 0 * NaN for a masked key. A row of Q never reaches the output of another row.
/// @throws std::logic_error where the inputs do not have the problem's shape.
std::vector<unsigned char> tainted_rows(const Problem& problem, const Inputs& inputs);

/// Bounds of the tolerance. The floor admits outputs that round to nothing in half. The caps are for inputs
/// on which FP16 itself fails, where twice its error would admit anything: when scores are in the thousands,
/// rounding them to half changes probabilities by factors, yet a kernel that keeps scores in float is right
/// to three digits.
inline constexpr double kToleranceFloor = 1e-5;
inline constexpr double kLargestAbsToleranceOfV = 1e-2;  ///< times the largest finite |v|
inline constexpr double kLargestRelativeTolerance = 1e-2;

/// Reference, tolerance and flags of one problem. The tolerance is twice the error of attention_fp16()
/// against attention(), plus 1e-5, both absolute and relative (Frobenius norm), after
/// Dao-AILab/flash-attention, tests/test_flash_attn.py. Where attention_fp16() is that far off, or not finite
/// without cause, the caps above hold instead.
/// @throws std::logic_error where the inputs do not have the problem's shape.
Expected expect(const Problem& problem, const Inputs& inputs);

}  // namespace attention::reference
