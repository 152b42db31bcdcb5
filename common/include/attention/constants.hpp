#pragma once

namespace attention {

/// log2(e): exp(x) = exp2(x * kLog2e), and exp2 is the
/// exponential that the SM's special function units compute.
inline constexpr float kLog2e = 1.4426950408889634f;

}  // namespace attention
