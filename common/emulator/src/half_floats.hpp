#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "emulator/float16.hpp"

namespace emulator {

/// `count` is a multiple of 8.
inline void halves_to_floats(const std::uint16_t* halves, float* floats, int count) {
#if defined(__F16C__)
  for (int i = 0; i < count; i += 8) {
    const __m128i packed = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
    _mm256_storeu_ps(floats + i, _mm256_cvtph_ps(packed));
  }
#else
  for (int i = 0; i < count; ++i) {
    Float16 half;
    std::memcpy(&half, halves + i, sizeof(half));
    floats[i] = float(half);
  }
#endif
}

}  // namespace emulator
