#pragma once

namespace attention {

/// log2(e): exp(x) is exp2(x * kLog2e), and exp2 is what the chip's special function unit computes.
inline constexpr float kLog2e = 1.4426950408889634f;

}  // namespace attention
