#pragma once

// Stand-in for <cuda_fp16.h>: FP16 on the compiler's _Float16 (or __fp16 of old compilers; -mf16c makes a
// conversion one instruction). Every operation rounds once to nearest even, as CUDA's do: FP16 operands are
// exact in float, and float has more than 2 * 11 + 1 bits, so float-then-round is correctly rounded for + - *
// / and the square root.

#include "cuda_runtime.h"
#include "emulator/float16.hpp"

struct __half_raw {
  unsigned short x;
};

struct __half {
  ::emulator::Float16 value;

  __half() = default;
  constexpr __half(float x) : value(::emulator::Float16(x)) {}
  constexpr __half(double x) : value(::emulator::Float16(::emulator::rounds_to_float16(x))) {}
  constexpr __half(short x) : value(::emulator::Float16(x)) {}
  constexpr __half(unsigned short x) : value(::emulator::Float16(x)) {}
  constexpr __half(int x) : value(::emulator::Float16(x)) {}
  constexpr __half(unsigned x) : value(::emulator::Float16(x)) {}
  constexpr __half(long x) : value(::emulator::Float16(x)) {}
  constexpr __half(unsigned long x) : value(::emulator::Float16(x)) {}
  constexpr __half(long long x) : value(::emulator::Float16(x)) {}
  constexpr __half(unsigned long long x) : value(::emulator::Float16(x)) {}
  constexpr __half(const __half_raw& raw) : value(__builtin_bit_cast(::emulator::Float16, raw.x)) {}
  constexpr operator float() const { return float(value); }
  constexpr operator __half_raw() const { return {__builtin_bit_cast(unsigned short, value)}; }
};

struct alignas(4) __half2 {
  __half x, y;

  __half2() = default;
  constexpr __half2(const __half& x, const __half& y) : x(x), y(y) {}
  constexpr __half2(const __half2&) = default;
  EMULATOR_ASSIGN_AS_ONE_WORD(__half2)
};

typedef __half half;
typedef __half2 half2;

#define CUDART_NAN_FP16 __half(__half_raw{0x7FFFu})

// Conversions.

inline __half __ushort_as_half(unsigned short bits) {
  return __half(__half_raw{bits});
}
inline unsigned short __half_as_ushort(__half h) {
  return __builtin_bit_cast(unsigned short, h.value);
}

inline __half __float2half(float x) {
  return __half(x);
}
inline __half __float2half_rn(float x) {
  return __half(x);
}
inline float __half2float(__half h) {
  return float(h.value);
}

namespace emulator {

// The neighbour of `nearest` towards zero, or away from it.
inline __half step_from_zero(__half nearest, int steps) {
  return __ushort_as_half((unsigned short)(__half_as_ushort(nearest) + steps));
}
inline __half half_towards_zero(float x) {
  const __half nearest(x);
  return fabsf(float(nearest)) > fabsf(x) ? step_from_zero(nearest, -1) : nearest;
}
inline __half half_away_from_zero(float x) {
  const __half nearest(x);
  return fabsf(float(nearest)) < fabsf(x) ? step_from_zero(nearest, +1) : nearest;
}

}  // namespace emulator

inline __half __float2half_rz(float x) {
  return ::emulator::half_towards_zero(x);
}
inline __half __float2half_rd(float x) {
  return x < 0 ? ::emulator::half_away_from_zero(x) : ::emulator::half_towards_zero(x);
}
inline __half __float2half_ru(float x) {
  return x < 0 ? ::emulator::half_towards_zero(x) : ::emulator::half_away_from_zero(x);
}

inline __half2 make_half2(__half x, __half y) {
  return __half2(x, y);
}
inline __half2 __halves2half2(__half x, __half y) {
  return __half2(x, y);
}
inline __half2 __half2half2(__half h) {
  return __half2(h, h);
}
inline __half2 __float2half2_rn(float x) {
  return __half2(__half(x), __half(x));
}
inline __half2 __floats2half2_rn(float x, float y) {
  return __half2(__half(x), __half(y));
}
inline __half2 __float22half2_rn(float2 v) {
  return __half2(__half(v.x), __half(v.y));
}
inline float2 __half22float2(__half2 v) {
  return {float(v.x), float(v.y)};
}
inline float __low2float(__half2 v) {
  return float(v.x);
}
inline float __high2float(__half2 v) {
  return float(v.y);
}
inline __half __low2half(__half2 v) {
  return v.x;
}
inline __half __high2half(__half2 v) {
  return v.y;
}
inline __half2 __lowhigh2highlow(__half2 v) {
  return __half2(v.y, v.x);
}

// Arithmetic. A name ending in 2 does both halves.

#define EMULATOR_HALF_PAIRWISE(name, name2)         \
  inline __half2 name2(__half2 a, __half2 b) {      \
    return __half2(name(a.x, b.x), name(a.y, b.y)); \
  }
#define EMULATOR_HALF_BINARY(name, name2, expression) \
  inline __half name(__half ha, __half hb) {          \
    const float a = float(ha), b = float(hb);         \
    return __half(expression);                        \
  }                                                   \
  EMULATOR_HALF_PAIRWISE(name, name2)

EMULATOR_HALF_BINARY(__hadd, __hadd2, a + b)
EMULATOR_HALF_BINARY(__hsub, __hsub2, a - b)
EMULATOR_HALF_BINARY(__hmul, __hmul2, a* b)
EMULATOR_HALF_BINARY(__hdiv, __h2div, a / b)
// One NaN gives the other operand; the _nan forms give NaN.
EMULATOR_HALF_BINARY(__hmax, __hmax2, fmaxf(a, b))
EMULATOR_HALF_BINARY(__hmin, __hmin2, fminf(a, b))
EMULATOR_HALF_BINARY(__hmax_nan, __hmax2_nan, a != a ? a : b != b ? b : fmaxf(a, b))
EMULATOR_HALF_BINARY(__hmin_nan, __hmin2_nan, a != a ? a : b != b ? b : fminf(a, b))

// The product is exact in double, and so is any sum of it that FP16 could round two ways: one rounding.
inline __half __hfma(__half a, __half b, __half c) {
  return __half(std::fma(double(float(a)), double(float(b)), double(float(c))));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  return __half2(__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y));
}
inline __half __hneg(__half a) {
  return __half_raw{(unsigned short)(__half_as_ushort(a) ^ 0x8000)};
}
inline __half __habs(__half a) {
  return __half_raw{(unsigned short)(__half_as_ushort(a) & 0x7fff)};
}
inline __half2 __hneg2(__half2 v) {
  return __half2(__hneg(v.x), __hneg(v.y));
}
inline __half2 __habs2(__half2 v) {
  return __half2(__habs(v.x), __habs(v.y));
}

// Comparisons: false where an operand is NaN; the forms ending in u are true there.

inline bool __hisnan(__half a) {
  return float(a) != float(a);
}

#define EMULATOR_HALF_COMPARE(suffix, op)                                                   \
  inline bool __h##suffix(__half a, __half b) {                                             \
    return float(a) op float(b);                                                            \
  }                                                                                         \
  inline bool __h##suffix##u(__half a, __half b) {                                          \
    return __hisnan(a) || __hisnan(b) || float(a) op float(b);                              \
  }                                                                                         \
  inline __half2 __h##suffix##2(__half2 a, __half2 b) {                                     \
    return __half2(__half(int(__h##suffix(a.x, b.x))), __half(int(__h##suffix(a.y, b.y)))); \
  }                                                                                         \
  inline bool __hb##suffix##2(__half2 a, __half2 b) {                                       \
    return __h##suffix(a.x, b.x) && __h##suffix(a.y, b.y);                                  \
  }
EMULATOR_HALF_COMPARE(eq, ==)
EMULATOR_HALF_COMPARE(lt, <)
EMULATOR_HALF_COMPARE(le, <=)
EMULATOR_HALF_COMPARE(gt, >)
EMULATOR_HALF_COMPARE(ge, >=)
inline bool __hneu(__half a, __half b) {
  return float(a) != float(b);
}

// Functions, each rounded from float.

#define EMULATOR_HALF_FUNCTION(name, name2, expression) \
  inline __half name(__half h) {                        \
    const float a = float(h);                           \
    return __half(expression);                          \
  }                                                     \
  inline __half2 name2(__half2 v) {                     \
    return __half2(name(v.x), name(v.y));               \
  }
EMULATOR_HALF_FUNCTION(hexp, h2exp, expf(a))
EMULATOR_HALF_FUNCTION(hexp2, h2exp2, exp2f(a))
EMULATOR_HALF_FUNCTION(hsqrt, h2sqrt, sqrtf(a))
EMULATOR_HALF_FUNCTION(hrcp, h2rcp, 1.0f / a)

#undef EMULATOR_HALF_PAIRWISE
#undef EMULATOR_HALF_BINARY
#undef EMULATOR_HALF_COMPARE
#undef EMULATOR_HALF_FUNCTION

// Operators.

inline __half operator+(const __half& a, const __half& b) {
  return __hadd(a, b);
}
inline __half operator-(const __half& a, const __half& b) {
  return __hsub(a, b);
}
inline __half operator*(const __half& a, const __half& b) {
  return __hmul(a, b);
}
inline __half operator/(const __half& a, const __half& b) {
  return __hdiv(a, b);
}
inline __half& operator+=(__half& a, const __half& b) {
  return a = a + b;
}
inline __half& operator-=(__half& a, const __half& b) {
  return a = a - b;
}
inline __half& operator*=(__half& a, const __half& b) {
  return a = a * b;
}
inline __half& operator/=(__half& a, const __half& b) {
  return a = a / b;
}
inline __half operator+(const __half& a) {
  return a;
}
inline __half operator-(const __half& a) {
  return __hneg(a);
}
inline bool operator==(const __half& a, const __half& b) {
  return __heq(a, b);
}
inline bool operator!=(const __half& a, const __half& b) {
  return __hneu(a, b);
}
inline bool operator<(const __half& a, const __half& b) {
  return __hlt(a, b);
}
inline bool operator<=(const __half& a, const __half& b) {
  return __hle(a, b);
}
inline bool operator>(const __half& a, const __half& b) {
  return __hgt(a, b);
}
inline bool operator>=(const __half& a, const __half& b) {
  return __hge(a, b);
}

inline __half2 operator+(const __half2& a, const __half2& b) {
  return __hadd2(a, b);
}
inline __half2 operator-(const __half2& a, const __half2& b) {
  return __hsub2(a, b);
}
inline __half2 operator*(const __half2& a, const __half2& b) {
  return __hmul2(a, b);
}
inline __half2 operator/(const __half2& a, const __half2& b) {
  return __h2div(a, b);
}
inline __half2& operator+=(__half2& a, const __half2& b) {
  return a = a + b;
}
inline __half2& operator-=(__half2& a, const __half2& b) {
  return a = a - b;
}
inline __half2& operator*=(__half2& a, const __half2& b) {
  return a = a * b;
}
inline __half2& operator/=(__half2& a, const __half2& b) {
  return a = a / b;
}
inline __half2 operator-(const __half2& v) {
  return __hneg2(v);
}
inline bool operator==(const __half2& a, const __half2& b) {
  return __hbeq2(a, b);
}
