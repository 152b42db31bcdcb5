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

/// Device memory of `bytes` payload, with a guard band before and after it where asked for.
///
/// The payload starts poisoned: every byte 0xFF, which is a NaN in half and in float, so that an element
/// nobody wrote shows. A guard band holds a pattern that damage() looks for. Inputs go without bands: then
/// the payload ends where the allocation ends, and a read past it is found by compute-sanitizer and by the
/// emulated device.
class RawDeviceBuffer {
 public:
  enum class Guards { none, bands };
  static constexpr std::size_t kBandBytes = 4096;

  /// @throws InvalidInput where the device has no room, with the size and what is free; CudaError otherwise.
  RawDeviceBuffer(std::size_t bytes, Guards guards);
  ~RawDeviceBuffer();
  RawDeviceBuffer(RawDeviceBuffer&& other) noexcept;
  RawDeviceBuffer& operator=(RawDeviceBuffer&&) = delete;

  void* data() const { return allocation_ + band_bytes(); }  ///< 256-byte aligned
  std::size_t bytes() const { return bytes_; }

  void poison();                      ///< fills the payload with 0xFF again
  void upload(const void* source);    ///< copies bytes() from the host, and waits
  void download(void* target) const;  ///< copies bytes() to the host, and waits

  /// Says where a guard band was written, or nothing where both are whole.
  std::optional<std::string> damage() const;

 private:
  std::size_t band_bytes() const { return guards_ == Guards::bands ? kBandBytes : 0; }

  unsigned char* allocation_ = nullptr;
  std::size_t bytes_;
  Guards guards_;
};

/// The same for elements of type T.
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
