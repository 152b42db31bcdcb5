#pragma once

// Stand-in for <mma.h>: nvcuda::wmma 16x16x16, FP16 operands, FP32 or FP16 accumulators.

#include "cuda_fp16.h"
#include "emulator/matrix_operations.hpp"

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

template <typename T, int Elements>
struct FragmentElements {
  typedef T element_type;
  static constexpr int num_elements = Elements;
  T x[Elements];
};

template <typename Use, int M, int N, int K, typename T, typename Layout = void>
struct fragment;
template <typename Layout>
struct fragment<matrix_a, 16, 16, 16, half, Layout> : FragmentElements<half, 16> {};
template <typename Layout>
struct fragment<matrix_b, 16, 16, 16, half, Layout> : FragmentElements<half, 16> {};
template <>
struct fragment<accumulator, 16, 16, 16, float, void> : FragmentElements<float, 8> {};
template <>
struct fragment<accumulator, 16, 16, 16, half, void> : FragmentElements<half, 8> {};

template <typename T>
inline constexpr bool kIsFloat = false;
template <>
inline constexpr bool kIsFloat<float> = true;
template <typename Layout>
inline constexpr bool kIsRowMajor = false;
template <>
inline constexpr bool kIsRowMajor<row_major> = true;

template <typename Use, typename T, typename Layout>
__forceinline__ void fill_fragment(fragment<Use, 16, 16, 16, T, Layout>& to, const T& value) {
  for (T& element : to.x) element = value;
}

template <typename Layout>
__forceinline__ void load_matrix_sync(fragment<matrix_a, 16, 16, 16, half, Layout>& to, const half* from,
                                      unsigned leading_dimension, EMULATOR_SITE) {
  ::emulator::wmma_load_operand(to.x, ::emulator::WmmaOperand::a,
                                {from, leading_dimension, kIsRowMajor<Layout>}, site);
}
template <typename Layout>
__forceinline__ void load_matrix_sync(fragment<matrix_b, 16, 16, 16, half, Layout>& to, const half* from,
                                      unsigned leading_dimension, EMULATOR_SITE) {
  ::emulator::wmma_load_operand(to.x, ::emulator::WmmaOperand::b,
                                {from, leading_dimension, kIsRowMajor<Layout>}, site);
}
template <typename T>
__forceinline__ void load_matrix_sync(fragment<accumulator, 16, 16, 16, T>& to, const T* from,
                                      unsigned leading_dimension, layout_t layout, EMULATOR_SITE) {
  ::emulator::wmma_load_accumulator(to.x, kIsFloat<T>, {from, leading_dimension, layout == mem_row_major},
                                    site);
}
template <typename T>
__forceinline__ void store_matrix_sync(T* to, const fragment<accumulator, 16, 16, 16, T>& from,
                                       unsigned leading_dimension, layout_t layout, EMULATOR_SITE) {
  ::emulator::wmma_store(from.x, kIsFloat<T>, {to, leading_dimension, layout == mem_row_major}, site);
}
template <typename D, typename C, typename LayoutA, typename LayoutB>
__forceinline__ void mma_sync(fragment<accumulator, 16, 16, 16, D>& d,
                              const fragment<matrix_a, 16, 16, 16, half, LayoutA>& a,
                              const fragment<matrix_b, 16, 16, 16, half, LayoutB>& b,
                              const fragment<accumulator, 16, 16, 16, C>& c, EMULATOR_SITE) {
  ::emulator::wmma_multiply(d.x, kIsFloat<D>, a.x, b.x, c.x, kIsFloat<C>, site);
}

}  // namespace nvcuda::wmma
