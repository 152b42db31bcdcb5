#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention/cuda_check.hpp"

namespace attention {

/// `bytes` of global memory, optionally with a guard band before and after.
///
/// Every byte starts as 0xFF, which makes every half and every float a NaN, so that an element that was not
/// written shows. A guard band holds a pattern that damage() checks. Inputs have no bands: their memory ends
/// where the allocation ends, so compute-sanitizer and the emulated device find reads past the end.
class RawDeviceBuffer {
 public:
  enum class Guards { none, bands };
  static constexpr std::size_t kBandBytes = 4096;

  /// Allocates. @throws InvalidInput where the device has no
  /// room, with the size and what is free; CudaError otherwise.
  RawDeviceBuffer(std::size_t bytes, Guards guards);
  ~RawDeviceBuffer();
  RawDeviceBuffer(RawDeviceBuffer&& other) noexcept;
  RawDeviceBuffer& operator=(RawDeviceBuffer&&) = delete;

  void* data() const { return allocation_ + band_bytes(); }  ///< 256-byte aligned
  std::size_t bytes() const { return bytes_; }

  // Each of these throws CudaError where the runtime reports an error.
  void poison();                      ///< fills the memory with 0xFF again, in the default stream
  void upload(const void* source);    ///< copies bytes() from host memory, and waits
  void download(void* target) const;  ///< copies bytes() to host memory, and waits

  /// Where a guard band was written ("written 2 bytes past its end"), or nothing where both are intact.
  /// @throws CudaError
  std::optional<std::string> damage() const;

 private:
  std::size_t band_bytes() const { return guards_ == Guards::bands ? kBandBytes : 0; }

  unsigned char* allocation_ = nullptr;
  std::size_t bytes_;
  Guards guards_;
};

/// Global memory for `count` elements of type T.
template <typename T>
class DeviceBuffer : public RawDeviceBuffer {
 public:
  explicit DeviceBuffer(std::size_t count, Guards guards) : RawDeviceBuffer(count * sizeof(T), guards) {}
  explicit DeviceBuffer(std::span<const T> values) : DeviceBuffer(values.size(), Guards::none) {
    upload(values.data());
  }

  T* data() const { return static_cast<T*>(RawDeviceBuffer::data()); }
  std::size_t size() const { return bytes() / sizeof(T); }
  std::vector<T> to_host() const {
    std::vector<T> values(size());
    download(values.data());
    return values;
  }
};

}  // namespace attention
