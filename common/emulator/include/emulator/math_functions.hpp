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
inline float __logf(float x) {
  return logf(x);
}
inline float __fdividef(float a, float b) {
  return a / b;
}
inline float rsqrtf(float x) {
  return 1.0f / sqrtf(x);
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

inline int __float2int_rn(float x) {
  return int(nearbyintf(x));
}

inline int __popc(unsigned x) {
  return __builtin_popcount(x);
}
inline int __clz(int x) {
  return x == 0 ? 32 : __builtin_clz(unsigned(x));
}
inline int __ffs(int x) {
  return __builtin_ffs(x);
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
EMULATOR_LOAD_HINT(__ldcg)
EMULATOR_LOAD_HINT(__ldcs)
EMULATOR_STORE_HINT(__stcg)
EMULATOR_STORE_HINT(__stcs)
#undef EMULATOR_LOAD_HINT
#undef EMULATOR_STORE_HINT

/// Addresses of shared memory keep their 64 bits here; nothing but the emulated PTX wrappers takes them.
inline std::size_t __cvta_generic_to_shared(const void* pointer) {
  return reinterpret_cast<std::size_t>(pointer);
}
