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
/// rounded to half, output rounded to half. Its error sets what is allowed, as in
/// flash-attention's own tests (Dao-AILab/flash-attention, tests/test_flash_attn.py).
/// @throws std::logic_error where the inputs do not have the problem's shape.
std::vector<half> attention_fp16(const Problem& problem, const Inputs& inputs);

/// One flag per query row, [batch, heads, seq_q]: set where the row's own query, or any key or value of its
/// head, masked or not, has NaN or Inf. Only these rows may be non-finite where the reference is finite: a
/// tiled kernel computes 0 * NaN for a masked key. A row of Q never reaches the output of another row.
/// @throws std::logic_error where the inputs do not have the problem's shape.
std::vector<unsigned char> tainted_rows(const Problem& problem, const Inputs& inputs);

/// The error of the FP16 version counts up to this share of the scale. Beyond it FP16 itself fails, and twice
/// its error would admit anything: with scores in the thousands, rounding them to half changes probabilities by
/// factors, yet a kernel with float scores is right to three digits.
inline constexpr double kLargestRelativeError = 5e-3;
/// Rounding of a score that is summed in float, as a share of |q| |k|: 2^-24 for each of 16 partial sums.
inline constexpr double kScoreRounding = 16 * 0x1p-24;

/// Everything that a check of one problem needs, computed once for all variants: the float64 output, and for
/// each element and row what it may be off by.
///
/// With u = kHalfRounding and A = sum over keys of p |v| (the scale of the element), an element may be off by
///
///   A (2 r + 3 u) + S + 2 kHalfSmallest
///
/// where r is the largest error of attention_fp16 in that row, as a share of A, after flash-attention's own
/// tests (tests/test_flash_attn.py: twice the error of FP16). 3 u A admits what any FP16 kernel does: P rounded
/// to half, partial results rounded to half, the output rounded to half. S = sum over keys of p d |v - o| + e |v|
/// has what rounding of float scores does, each by d = scale kScoreRounding |q| |k|, and what rounding of p does
/// where it is subnormal in FP16, e = kHalfSmallest / 2. A row may be off, in norm, by
///
///   2 |error of attention_fp16| + u (2 |o| + B + |A| / 4) + |S| + 2 kHalfSmallest sqrt(head_dim)
///
/// with B^2 = sum over keys of p^2 |v|^2: rounding errors of many keys are independent, so they add up as
/// squares do. That catches what is spread thinly, such as a wrong scale. `threads`, at least 1, share the rows.
/// @throws std::logic_error where the inputs are not of the problem's shape.
Expected expect(const Problem& problem, const Inputs& inputs, unsigned threads = all_cores());

}  // namespace attention::reference
