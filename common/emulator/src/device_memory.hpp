#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

/// One cudaMalloc. Kept after cudaFree, so that a late access can be told from a wild one.
struct Allocation {
  Allocation(char* begin, std::size_t bytes, std::size_t range_bytes)
      : begin(begin), bytes(bytes), range_bytes(range_bytes) {}

  char* begin;
  std::size_t bytes;
  std::size_t range_bytes;  ///< of addresses kept for it, inaccessible ones included
  bool freed = false;
  /// Has a kernel of the current launch stored to it? Until then loads from it cannot race.
  std::atomic<bool> written = false;
  char* end() const { return begin + bytes; }
};

/// The device's global memory: one reserved range of addresses, of which only allocations are accessible.
/// Each allocation ends (up to 255 bytes, since CUDA aligns to 256) at an inaccessible page, so that a stray
/// access faults even where nothing checks it.
class DeviceMemory {
 public:
  static DeviceMemory& instance();

  /// nullptr where there is no room. Contents are 0xff: NaN as half and as float.
  char* allocate(std::size_t bytes);
  enum class FreeResult { freed, double_free, not_an_allocation };
  FreeResult free(void* pointer);
  void free_everything();

  bool contains(const void* address) const {
    return static_cast<const char*>(address) >= begin_ && static_cast<const char*>(address) < end_;
  }
  /// The allocation, freed or not, in whose part of the range `address` lies; null where none does.
  Allocation* find(const void* address) const {
    return granules_[(static_cast<const char*>(address) - begin_) >> kGranuleShift].load(
        std::memory_order_acquire);
  }
  /// Do `bytes` at `address` lie in one live allocation, or altogether outside device memory?
  bool is_usable(const void* address, std::size_t bytes) const;

  std::size_t total_bytes() const { return total_; }
  std::size_t free_bytes() const;
  /// Forgets which allocations the last launch wrote.
  void begin_launch();
  /// Describes and reports bytes that were overwritten between an allocation's end and its guard page.
  void check_bands();
  /// "17 bytes past the end of an allocation of 4096 bytes"
  std::string describe(const void* address) const;
  const char* base() const { return begin_; }
  std::size_t range_bytes() const { return std::size_t(end_ - begin_); }

 private:
  DeviceMemory();
  static constexpr int kGranuleShift = 16;  // allocations start 64 KB apart, so one table look-up finds them
  static constexpr std::size_t kGranule = std::size_t(1) << kGranuleShift;

  char* begin_ = nullptr;
  char* end_ = nullptr;
  char* next_ = nullptr;
  std::size_t total_ = 0;
  std::size_t used_ = 0;
  std::atomic<Allocation*>* granules_ = nullptr;
};

}  // namespace emulator
