#pragma once

#include <cuda_fp16.h>

#include <span>
#include <vector>

#include "attention/compare.hpp"
#include "attention/inputs.hpp"
#include "attention/problem.hpp"

namespace attention::reference {

/// O = softmax(scale * Q K^T) V in float64, from the same half inputs that a device sees:
/// [batch, heads, seq_q, head_dim]. A row that sees no key is zero. Masked keys are not read, and otherwise
/// NaN and Inf propagate as in the formula: a score of NaN or +Inf, or nothing but -Inf, makes its row NaN.
/// Threaded over rows; the result does not depend on the number of threads.
/// @throws std::logic_error where the inputs are not of the problem's shape.
std::vector<double> attention(const Problem& problem, const Inputs& inputs);

/// The same, unfused, as a careful FP16 implementation would: products accumulated in float, scaled scores
/// rounded to half, softmax in float, probabilities rounded to half, output rounded to half. Its error sets
/// the tolerance, as in flash-attention's own tests.
/// @throws std::logic_error where the inputs are not of the problem's shape.
std::vector<half> attention_fp16(const Problem& problem, const Inputs& inputs);

/// Everything a check of one problem needs, computed once for all variants.
struct Expected {
  std::vector<double> o;
  Tolerance tolerance;                      ///< for error_factor 1
  std::vector<unsigned char> tainted_rows;  ///< one flag a query row: see tainted_rows()
};

/// One flag a query row, [batch, heads, seq_q]: the row's own query, or any key or value of its head, masked
/// or not, has NaN or Inf. Only there may an output be non-finite where the reference is not: a tiled kernel
/// computes 0 * NaN for a masked key. A row of Q never reaches another row's output.
std::vector<unsigned char> tainted_rows(const Problem& problem, const Inputs& inputs);

/// Bounds on the tolerance. The floor admits what rounds to nothing in half. The caps are for inputs on which
/// FP16 itself fails, where twice its error would admit anything: with scores in the thousands, rounding them
/// to half changes probabilities by factors, yet a kernel with float scores is right to three digits.
inline constexpr double kToleranceFloor = 1e-5;
inline constexpr double kLargestAbsToleranceOfV = 1e-2;  ///< times the largest finite |v|
inline constexpr double kLargestRelativeTolerance = 1e-2;

/// tolerance = 2 x the error of attention_fp16 against attention, + 1e-5 (absolute, and relative Frobenius);
/// after Dao-AILab/flash-attention, tests/test_flash_attn.py. Where attention_fp16 is non-finite without
/// cause, or that far off, the caps above hold instead.
Expected expect(const Problem& problem, const Inputs& inputs);

}  // namespace attention::reference
