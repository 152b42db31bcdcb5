#pragma once

#include <cuda_fp16.h>

#include <span>
#include <vector>

#include "attention/compare.hpp"
#include "attention/inputs.hpp"
#include "attention/problem.hpp"

namespace attention::reference {

/// O in float64 from the same half inputs that a device sees: [batch, heads, seq_q, head_dim].
/// Threaded over rows. A row that sees no key is zero. NaN and Inf propagate as in the formula.
std::vector<double> attention(const Problem& problem, const Inputs& inputs);

/// The same, unfused, as a careful FP16 implementation would: scores rounded to half, softmax in float,
/// probabilities rounded to half, products accumulated in float, output rounded to half. Its error sets the
/// tolerance, as in flash-attention's own tests.
std::vector<half> attention_fp16(const Problem& problem, const Inputs& inputs);

/// Everything a check of one problem needs, computed once for all variants.
struct Expected {
  std::vector<double> o;
  Tolerance tolerance;                       ///< for error_factor 1
  std::vector<unsigned char> tainted_rows;   ///< one flag a query row: its head has NaN or Inf among its inputs
};

/// tolerance = 2 x the error of attention_fp16 against attention, + 1e-5 (absolute, and relative Frobenius);
/// after Dao-AILab/flash-attention, tests/test_flash_attn.py.
Expected expect(const Problem& problem, const Inputs& inputs);

}  // namespace attention::reference
