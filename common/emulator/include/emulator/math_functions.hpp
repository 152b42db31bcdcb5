#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "emulator/qualifiers.hpp"

// CUDA's device functions of one thread. The fast ones (__expf and friends) are computed as exactly as the C
// library does: a GPU's are off by an ulp or two.

namespace emulator {

template <typename To, typename From>
__forceinline__ To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(To));
  return to;
}

}  // namespace emulator

#define EMULATOR_MIN_MAX(Result, A, B)                                               \
  inline constexpr Result min(A a, B b) {                                            \
    return static_cast<Result>(a) < static_cast<Result>(b) ? static_cast<Result>(a)  \
                                                           : static_cast<Result>(b); \
  }                                                                                  \
  inline constexpr Result max(A a, B b) {                                            \
    return static_cast<Result>(a) < static_cast<Result>(b) ? static_cast<Result>(b)  \
                                                           : static_cast<Result>(a); \
  }
EMULATOR_MIN_MAX(int, int, int)
EMULATOR_MIN_MAX(unsigned, unsigned, unsigned)
EMULATOR_MIN_MAX(unsigned, int, unsigned)
EMULATOR_MIN_MAX(unsigned, unsigned, int)
EMULATOR_MIN_MAX(long, long, long)
EMULATOR_MIN_MAX(unsigned long, unsigned long, unsigned long)
EMULATOR_MIN_MAX(long long, long long, long long)
EMULATOR_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef EMULATOR_MIN_MAX
inline float min(float a, float b) {
  return fminf(a, b);
}
inline float max(float a, float b) {
  return fmaxf(a, b);
}
inline double min(double a, double b) {
  return fmin(a, b);
}
inline double max(double a, double b) {
  return fmax(a, b);
}
inline double min(float a, double b) {
  return fmin(double(a), b);
}
inline double max(float a, double b) {
  return fmax(double(a), b);
}
inline double min(double a, float b) {
  return fmin(a, double(b));
}
inline double max(double a, float b) {
  return fmax(a, double(b));
}

inline float __expf(float x) {
  return expf(x);
}
inline float __exp10f(float x) {
  return powf(10.0f, x);
}
inline float __logf(float x) {
  return logf(x);
}
inline float __log2f(float x) {
  return log2f(x);
}
inline float __log10f(float x) {
  return log10f(x);
}
inline float __powf(float x, float y) {
  return powf(x, y);
}
inline float __sinf(float x) {
  return sinf(x);
}
inline float __cosf(float x) {
  return cosf(x);
}
inline float __tanf(float x) {
  return tanf(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float fdividef(float a, float b) {
  return a / b;
}
inline float __fdiv_rn(float a, float b) {
  return a / b;
}
inline float __frcp_rn(float x) {
  return 1.0f / x;
}
inline float __fsqrt_rn(float x) {
  return sqrtf(x);
}
inline float __frsqrt_rn(float x) {
  return 1.0f / sqrtf(x);
}
inline float __fadd_rn(float a, float b) {
  return a + b;
}
inline float __fsub_rn(float a, float b) {
  return a - b;
}
inline float __fmul_rn(float a, float b) {
  return a * b;
}
inline float __fmaf_rn(float a, float b, float c) {
  return fmaf(a, b, c);
}
inline float __saturatef(float x) {
  return fminf(fmaxf(x, 0.0f), 1.0f);
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
}
inline double rsqrt(double x) {
  return 1.0 / sqrt(x);
}

inline float __int_as_float(int x) {
  return ::emulator::bits_as<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return ::emulator::bits_as<float>(x);
}
inline int __float_as_int(float x) {
  return ::emulator::bits_as<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return ::emulator::bits_as<unsigned>(x);
}
inline double __longlong_as_double(long long x) {
  return ::emulator::bits_as<double>(x);
}
inline long long __double_as_longlong(double x) {
  return ::emulator::bits_as<long long>(x);
}

inline float __int2float_rn(int x) {
  return float(x);
}
inline float __uint2float_rn(unsigned x) {
  return float(x);
}
inline int __float2int_rn(float x) {
  return int(nearbyintf(x));
}
inline int __float2int_rz(float x) {
  return int(x);
}
inline int __float2int_rd(float x) {
  return int(floorf(x));
}
inline int __float2int_ru(float x) {
  return int(ceilf(x));
}
inline unsigned __float2uint_rn(float x) {
  return unsigned(nearbyintf(x));
}
inline unsigned __float2uint_rz(float x) {
  return unsigned(x);
}

inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __popcll(unsigned long long x) {
  return __builtin_popcountll(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(unsigned(x));
}
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll((unsigned long long)(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
}
inline int __ffsll(long long x) {
  return __builtin_ffsll(x);
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1) << (31 - bit);
  return reversed;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const std::uint64_t bytes = std::uint64_t(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned nibble = selector >> (4 * i) & 0xf;
    unsigned byte = unsigned(bytes >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return unsigned((std::uint64_t(high) << 32 | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return unsigned((std::uint64_t(high) << 32 | low) >> (shift & 31));
}
inline int __mul24(int a, int b) {
  return (a << 8 >> 8) * (b << 8 >> 8);
}
inline int __mulhi(int a, int b) {
  return int(std::int64_t(a) * b >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return unsigned(std::uint64_t(a) * b >> 32);
}

// Cache hints change where data waits, not what is read; the emulated device has no caches. References, so
// that a hint on a vector type stays one access.
#define EMULATOR_LOAD_HINT(name)             \
  template <typename T>                      \
  __forceinline__ T name(const T* address) { \
    return *address;                         \
  }
#define EMULATOR_STORE_HINT(name)                         \
  template <typename T>                                   \
  __forceinline__ void name(T* address, const T& value) { \
    *address = value;                                     \
  }
EMULATOR_LOAD_HINT(__ldg)
EMULATOR_LOAD_HINT(__ldca)
EMULATOR_LOAD_HINT(__ldcg)
EMULATOR_LOAD_HINT(__ldcs)
EMULATOR_LOAD_HINT(__ldlu)
EMULATOR_LOAD_HINT(__ldcv)
EMULATOR_STORE_HINT(__stwb)
EMULATOR_STORE_HINT(__stcg)
EMULATOR_STORE_HINT(__stcs)
EMULATOR_STORE_HINT(__stwt)
#undef EMULATOR_LOAD_HINT
#undef EMULATOR_STORE_HINT

/// Addresses of shared memory keep their 64 bits here; nothing but the emulated PTX wrappers takes them.
inline std::size_t __cvta_generic_to_shared(const void* pointer) {
  return reinterpret_cast<std::size_t>(pointer);
}
