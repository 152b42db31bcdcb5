#pragma once

#include "emulator/qualifiers.hpp"

// CUDA's vector types with CUDA's alignment (Programming Guide, "Built-in Vector Types").
//
// Those of 4, 8 and 16 bytes assign as one word: a GPU stores them with one instruction, and
// the compiler's hook in a traced kernel must see one store too, where it would otherwise take
// `*p = make_float4(...)` apart.

namespace emulator {

template <int Bytes>
struct Word {
  typedef unsigned Type __attribute__((vector_size(Bytes), may_alias));
};
template <>
struct Word<4> {
  typedef unsigned Type __attribute__((may_alias));
};

template <typename Vector>
__attribute__((always_inline)) inline void assign_as_one_word(Vector* to, const Vector* from) {
  using WordType = typename Word<sizeof(Vector)>::Type;
  *reinterpret_cast<WordType*>(to) = *reinterpret_cast<const WordType*>(from);
}

}  // namespace emulator

#define EMULATOR_ASSIGN_AS_ONE_WORD(Name)         \
  Name& operator=(const Name& other) {            \
    ::emulator::assign_as_one_word(this, &other); \
    return *this;                                 \
  }

#define EMULATOR_VECTOR_1_AND_3(Scalar, name)                             \
  struct name##1 {                                                        \
    Scalar x;                                                             \
  };                                                                      \
  struct name##3 {                                                        \
    Scalar x, y, z;                                                       \
  };                                                                      \
  inline constexpr name##1 make_##name##1(Scalar x) {                     \
    return {x};                                                           \
  }                                                                       \
  inline constexpr name##3 make_##name##3(Scalar x, Scalar y, Scalar z) { \
    return {x, y, z};                                                     \
  }

#define EMULATOR_VECTOR_2(Scalar, name, ...)                    \
  struct alignas(2 * sizeof(Scalar)) name##2 {                  \
    Scalar x, y;                                                \
    __VA_ARGS__                                                 \
  };                                                            \
  inline constexpr name##2 make_##name##2(Scalar x, Scalar y) { \
    return {x, y};                                              \
  }

#define EMULATOR_VECTOR_4(Scalar, name, ...)                                        \
  struct alignas(4 * sizeof(Scalar)) name##4 {                                      \
    Scalar x, y, z, w;                                                              \
    __VA_ARGS__                                                                     \
  };                                                                                \
  inline constexpr name##4 make_##name##4(Scalar x, Scalar y, Scalar z, Scalar w) { \
    return {x, y, z, w};                                                            \
  }

EMULATOR_VECTOR_1_AND_3(signed char, char)
EMULATOR_VECTOR_1_AND_3(unsigned char, uchar)
EMULATOR_VECTOR_1_AND_3(short, short)
EMULATOR_VECTOR_1_AND_3(unsigned short, ushort)
EMULATOR_VECTOR_1_AND_3(int, int)
EMULATOR_VECTOR_1_AND_3(unsigned, uint)
EMULATOR_VECTOR_1_AND_3(float, float)
EMULATOR_VECTOR_1_AND_3(double, double)
EMULATOR_VECTOR_1_AND_3(long long, longlong)
EMULATOR_VECTOR_1_AND_3(unsigned long long, ulonglong)

EMULATOR_VECTOR_2(signed char, char)
EMULATOR_VECTOR_2(unsigned char, uchar)
EMULATOR_VECTOR_2(short, short, EMULATOR_ASSIGN_AS_ONE_WORD(short2))
EMULATOR_VECTOR_2(unsigned short, ushort, EMULATOR_ASSIGN_AS_ONE_WORD(ushort2))
EMULATOR_VECTOR_2(int, int, EMULATOR_ASSIGN_AS_ONE_WORD(int2))
EMULATOR_VECTOR_2(unsigned, uint, EMULATOR_ASSIGN_AS_ONE_WORD(uint2))
EMULATOR_VECTOR_2(float, float, EMULATOR_ASSIGN_AS_ONE_WORD(float2))
EMULATOR_VECTOR_2(double, double, EMULATOR_ASSIGN_AS_ONE_WORD(double2))
EMULATOR_VECTOR_2(long long, longlong, EMULATOR_ASSIGN_AS_ONE_WORD(longlong2))
EMULATOR_VECTOR_2(unsigned long long, ulonglong, EMULATOR_ASSIGN_AS_ONE_WORD(ulonglong2))

EMULATOR_VECTOR_4(signed char, char, EMULATOR_ASSIGN_AS_ONE_WORD(char4))
EMULATOR_VECTOR_4(unsigned char, uchar, EMULATOR_ASSIGN_AS_ONE_WORD(uchar4))
EMULATOR_VECTOR_4(short, short, EMULATOR_ASSIGN_AS_ONE_WORD(short4))
EMULATOR_VECTOR_4(unsigned short, ushort, EMULATOR_ASSIGN_AS_ONE_WORD(ushort4))
EMULATOR_VECTOR_4(int, int, EMULATOR_ASSIGN_AS_ONE_WORD(int4))
EMULATOR_VECTOR_4(unsigned, uint, EMULATOR_ASSIGN_AS_ONE_WORD(uint4))
EMULATOR_VECTOR_4(float, float, EMULATOR_ASSIGN_AS_ONE_WORD(float4))

#undef EMULATOR_VECTOR_1_AND_3
#undef EMULATOR_VECTOR_2
#undef EMULATOR_VECTOR_4

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  constexpr dim3(uint3 index) : x(index.x), y(index.y), z(index.z) {}
  constexpr operator uint3() const { return {x, y, z}; }
};
