// FP16 of the stand-in <cuda_fp16.h> against models in double, and CUDA's functions of one thread.

#include <cuda_fp16.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "catch.hpp"

namespace {

// The value of FP16 bits, from their definition.
double value_of(unsigned bits) {
  const int exponent = int(bits >> 10 & 31), fraction = int(bits & 1023);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return fraction ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

// To nearest, ties to even, by search.
unsigned nearest(double value) {
  if (std::isnan(value)) return 0x7fff;
  const unsigned sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  unsigned low = 0, high = 0x7bff;
  while (low < high) {
    const unsigned middle = (low + high + 1) / 2;
    if (value_of(middle) <= magnitude)
      low = middle;
    else
      high = middle - 1;
  }
  if (low == 0x7bff) return sign | low;
  const double below = magnitude - value_of(low), above = value_of(low + 1) - magnitude;
  return sign | (below < above || (below == above && low % 2 == 0) ? low : low + 1);
}

bool same(half got, double want) {
  if (std::isnan(want)) return __hisnan(got);
  return __half_as_ushort(got) == nearest(want);
}

std::vector<half> interesting_halves() {
  std::vector<half> values;
  for (const unsigned bits : {0x0000u, 0x8000u, 0x0001u, 0x03ffu, 0x0400u, 0x3bffu, 0x3c00u, 0x3c01u, 0xbc00u,
                              0x7bffu, 0xfbffu, 0x7c00u, 0xfc00u, 0x7e00u, 0x6400u, 0x1400u}) {
    values.push_back(__ushort_as_half((unsigned short)bits));
  }
  std::mt19937 random(7);
  for (int i = 0; i < 60; ++i) values.push_back(__ushort_as_half((unsigned short)random()));
  return values;
}

}  // namespace

TEST_CASE("every half converts to float and back") {
  int wrong = 0;
  for (unsigned bits = 0; bits < 0x10000; ++bits) {
    const half h = __ushort_as_half((unsigned short)bits);
    const double value = value_of(bits);
    const float f = __half2float(h);
    if (std::isnan(value))
      wrong += !std::isnan(f) || !__hisnan(__float2half(f));
    else
      wrong += double(f) != value || __half_as_ushort(__float2half(f)) != bits;
  }
  CHECK(wrong == 0);
}

TEST_CASE("floats round to the nearest half, and in a given direction") {
  std::mt19937 random(3);
  int wrong = 0;
  for (int i = 0; i < 20000; ++i) {
    const float f = float(std::ldexp(double(random()) / 4e9 * (i % 2 ? -1 : 1), int(random() % 44) - 26));
    const half h = __float2half_rn(f);
    wrong += !same(h, double(f));
    const double down = double(__half2float(__float2half_rd(f))),
                 up = double(__half2float(__float2half_ru(f)));
    const double zero = double(__half2float(__float2half_rz(f)));
    if (std::isinf(float(h))) continue;
    wrong += !(down <= double(f) && double(f) <= up);
    wrong += !(std::fabs(zero) <= std::fabs(double(f)) && (zero == down || zero == up));
  }
  CHECK(wrong == 0);
}

TEST_CASE("arithmetic rounds once") {
  const std::vector<half> values = interesting_halves();
  int wrong = 0;
  for (const half a : values) {
    for (const half b : values) {
      const double x = value_of(__half_as_ushort(a)), y = value_of(__half_as_ushort(b));
      wrong += !same(__hadd(a, b), x + y);
      wrong += !same(__hsub(a, b), x - y);
      wrong += !same(__hmul(a, b), x * y);
      wrong += (a < b) != (x < y);
      wrong += __hequ(a, b) != (x == y || std::isnan(x) || std::isnan(y));
      if (!std::isnan(x) && !std::isnan(y)) wrong += float(__hmax(a, b)) != std::fmax(float(x), float(y));
      for (const half c : values) {
        const long double z = value_of(__half_as_ushort(c));
        wrong += !same(__hfma(a, b, c), double((long double)x * y + z));
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("NaN loses a maximum, but not the one that keeps it") {
  const half nan = CUDART_NAN_FP16, one = __float2half(1.0f);
  CHECK(float(__hmax(nan, one)) == 1.0f);
  CHECK(float(__hmax(one, nan)) == 1.0f);
  CHECK(__hisnan(__hmax_nan(nan, one)));
  CHECK_FALSE(one < nan);
  CHECK_FALSE(nan == nan);
  CHECK(nan != nan);
}

TEST_CASE("pairs of halves") {
  const half2 v = __floats2half2_rn(1.5f, -2.0f);
  CHECK(__low2float(v) == 1.5f);
  CHECK(__high2float(v) == -2.0f);
  const float2 f = __half22float2(__hfma2(v, v, __float22half2_rn(make_float2(1.0f, 0.5f))));
  CHECK(f.x == 3.25f);
  CHECK(f.y == 4.5f);
  CHECK(float(h2exp2(v).y) == 0.25f);
  CHECK(float(__lowhigh2highlow(v).x) == -2.0f);
  CHECK(__hbeq2(__habs2(v), __floats2half2_rn(1.5f, 2.0f)));
  CHECK(float(__low2half(v)) == 1.5f);
  CHECK(float(__high2half(v)) == -2.0f);
  CHECK(__hbeq2(__halves2half2(__low2half(v), __high2half(v)), v));
  CHECK(__hbeq2(__half2half2(__low2half(v)), __float2half2_rn(1.5f)));
  static_assert(sizeof(half2) == 4 && alignof(half2) == 4 && sizeof(half) == 2);
}

TEST_CASE("functions of one thread") {
  CHECK(__expf(0.0f) == 1.0f);
  CHECK(__logf(1.0f) == 0.0f);
  CHECK(__fdividef(3.0f, 4.0f) == 0.75f);
  CHECK(rsqrtf(4.0f) == 0.5f);
  CHECK(__float2int_rn(2.5f) == 2);
  CHECK(__float2int_rn(-3.5f) == -4);
  CHECK(__float_as_uint(-1.0f) == 0xbf800000u);
  CHECK(__float_as_int(1.0f) == 0x3f800000);
  CHECK(__int_as_float(0x3f800000) == 1.0f);
  CHECK(__uint_as_float(0xbf800000u) == -1.0f);
  CHECK(__popc(0xf0f0u) == 8);
  CHECK(__clz(1) == 31);
  CHECK(__clz(0) == 32);
  CHECK(__ffs(0) == 0);
  CHECK(__ffs(8) == 4);
  float value = 1.0f;
  __stcs(&value, 2.0f);
  CHECK(__ldcs(&value) == 2.0f);
  CHECK(__ldg(&value) == 2.0f);
}
