#pragma once

namespace emulator {

/// IEEE binary16. Convert to it from float, or from what rounds_to_float16() makes of a double.
#if defined(__x86_64__) && defined(__clang__) && __clang_major__ < 15
using Float16 = __fp16;  // clang 14 knows no _Float16 there

// For a double, clang 14 calls libgcc, with another calling convention than libgcc's. So make a float of it,
// and where that is inexact make its last bit odd: then it rounds to the same half as the double.
constexpr float rounds_to_float16(double x) {
  const float nearest = float(x);
  if (double(nearest) == x || x != x) return nearest;
  const unsigned bits = __builtin_bit_cast(unsigned, nearest);
  const bool too_large = (double(nearest) > x) == (x > 0);  // in magnitude
  return __builtin_bit_cast(float, bits & 1 ? bits : too_large ? bits - 1 : bits + 1);
}
#else
#if defined(__aarch64__) && !defined(__clang__) && __GNUC__ < 13
using Float16 = __fp16;  // g++ 12 knows _Float16 there in C only
#else
using Float16 = _Float16;
#endif

constexpr double rounds_to_float16(double x) {
  return x;
}
#endif

}  // namespace emulator
