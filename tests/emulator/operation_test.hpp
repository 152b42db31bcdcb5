#pragma once

// What tests of single operations need: data on the device, a launch that is waited for, exact numbers.

#include <cuda_fp16.h>

#include <random>
#include <span>
#include <vector>

#include "attention/device_buffer.hpp"

namespace operation_test {

inline constexpr auto kBands = attention::RawDeviceBuffer::Guards::bands;

inline void run(cudaError_t launched) {
  CUDA_CHECK(launched);
  CUDA_CHECK(cudaDeviceSynchronize());
}

template <typename T>
attention::DeviceBuffer<T> on_device(const std::vector<T>& values) {
  return attention::DeviceBuffer<T>(std::span<const T>(values));
}

/// Whole numbers of at most 4: products and sums of a few dozen are exact in FP16 whatever the order, sums of
/// 64 products in FP32.
inline std::vector<half> small_numbers(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<half> values(count);
  for (half& value : values) value = __float2half(float(int(random() % 9) - 4));
  return values;
}

}  // namespace operation_test
