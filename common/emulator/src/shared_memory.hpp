#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "kernel_image.hpp"

namespace emulator {

inline constexpr std::size_t kMaxSmemBytes = 227 * 1024;

/// The shared memory of one block, by offset: static variables first, then the dynamic array.
///
/// The blocks of a cluster see theirs at the same addresses, so it is kept aside while another block runs.
class SharedMemory {
 public:
  void begin_launch(const KernelImage& image, std::size_t dynamic_bytes);
  /// Fills it with 0xff: NaN as half and as float, so that reading uninitialised memory shows in the result.
  void poison();
  void keep_aside();
  void restore();

  /// The offset of an address; -1 outside shared memory.
  std::ptrdiff_t offset_of(const void* address) const {
    const char* at = static_cast<const char*>(address);
    if (std::size_t(at - dynamic_) < kMaxSmemBytes) return (at - dynamic_) + static_bytes();
    if (std::size_t(at - static_.begin) < declared_bytes()) return at - static_.begin;
    return -1;
  }
  /// Of the static part, rounded up so that the dynamic part keeps its alignment.
  std::ptrdiff_t static_bytes() const { return (std::ptrdiff_t(declared_bytes()) + 1023) / 1024 * 1024; }
  std::size_t dynamic_bytes() const { return dynamic_bytes_; }
  /// Bytes in use, from offset 0 on.
  std::ptrdiff_t bytes() const { return static_bytes() + std::ptrdiff_t(dynamic_bytes_); }
  /// Where the byte at an offset is now: in place while its block runs, else aside.
  char* at(std::ptrdiff_t offset) {
    if (is_aside_) return aside_.data() + offset;
    return offset < static_bytes() ? static_.begin + offset : dynamic_ + (offset - static_bytes());
  }
  /// The static variable at an offset, or null.
  const SharedVariable* variable_at(std::ptrdiff_t offset) const;
  /// "tile+64" or "dynamic_smem+1024"; `variable` gets the name alone.
  std::string name_of(std::ptrdiff_t offset, std::string* variable = nullptr) const;

 private:
  std::size_t declared_bytes() const { return std::size_t(static_.end - static_.begin); }

  const KernelImage* image_ = nullptr;
  KernelImage::Segment static_ = {nullptr, nullptr};
  char* dynamic_ = nullptr;
  std::size_t dynamic_bytes_ = 0;
  std::vector<char> aside_;
  bool is_aside_ = false;
};

}  // namespace emulator
