#include "device_memory.hpp"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <mutex>

#include "report.hpp"

namespace emulator {
namespace {

constexpr std::size_t kRangeBytes = std::size_t(64) << 30;
constexpr std::size_t kPage = 4096;
constexpr std::size_t kAlignment = 256;  // of cudaMalloc
constexpr unsigned char kPoison = 0xff;

std::size_t round_up(std::size_t value, std::size_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Host memory that can still be had, from /proc/meminfo.
std::size_t available_host_bytes() {
  std::ifstream in("/proc/meminfo");
  for (std::string word; in >> word;) {
    std::size_t kilobytes = 0;
    if (word == "MemAvailable:" && in >> kilobytes) return kilobytes * 1024;
  }
  return std::size_t(sysconf(_SC_AVPHYS_PAGES)) * kPage;
}

// The pages of an allocation, which also hold a few bytes before and after it.
struct Pages {
  char* begin;
  std::size_t bytes;
};
Pages pages_of(const Allocation& allocation) {
  char* begin = reinterpret_cast<char*>(reinterpret_cast<std::uintptr_t>(allocation.begin) & ~(kPage - 1));
  return {begin, round_up(std::size_t(allocation.end() - begin), kPage)};
}

// Freed ranges are used again only when there are more than this: a late access is then still known as such.
constexpr std::size_t kMinReleased = 1024;

struct Range {
  char* begin;
  std::size_t bytes;
};

struct Book {
  std::mutex mutex;
  std::map<char*, Allocation*> live;
  std::deque<Allocation> known;  // live and freed
  std::deque<Range> released;    // oldest first
};
Book& book() {
  static Book* book = new Book;
  return *book;
}

}  // namespace

DeviceMemory& DeviceMemory::instance() {
  static DeviceMemory* memory = new DeviceMemory;
  return *memory;
}

DeviceMemory::DeviceMemory() {
  void* range = mmap(nullptr, kRangeBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  void* table = mmap(nullptr, (kRangeBytes >> kGranuleShift) * sizeof(*granules_), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == MAP_FAILED || table == MAP_FAILED) {
    std::perror("emulated device: no addresses for global memory");
    std::exit(1);
  }
  begin_ = next_ = reinterpret_cast<char*>(round_up(reinterpret_cast<std::uintptr_t>(range), kGranule));
  end_ = static_cast<char*>(range) + kRangeBytes - kGranule;
  granules_ = static_cast<std::atomic<Allocation*>*>(table);
  total_ = std::min<std::size_t>(std::size_t(sysconf(_SC_PHYS_PAGES)) * kPage, std::size_t(16) << 30);
}

std::size_t DeviceMemory::free_bytes() const {
  return std::min(total_ - std::min(total_, used_), available_host_bytes());
}

char* DeviceMemory::allocate(std::size_t bytes) {
  Book& allocations = book();
  std::lock_guard lock(allocations.mutex);
  if (bytes > free_bytes()) return nullptr;
  const std::size_t page_bytes = round_up(round_up(std::max<std::size_t>(bytes, 1), kAlignment), kPage);
  const std::size_t range_bytes =
      round_up(page_bytes + kPage, kGranule);  // at least one inaccessible page after it

  Range range = {nullptr, 0};
  const auto fits = [&](const Range& old) {
    return old.bytes >= range_bytes && old.bytes <= 2 * range_bytes;
  };
  auto& released = allocations.released;
  const bool has_fresh = std::size_t(end_ - next_) >= range_bytes;
  if (released.size() > kMinReleased || !has_fresh) {
    const auto old = std::find_if(released.begin(), released.end(), fits);
    if (old != released.end()) {
      range = *old;
      released.erase(old);
    }
  }
  if (!range.begin) {
    if (!has_fresh) return nullptr;
    range = {next_, range_bytes};
    next_ += range_bytes;
  }
  char* pages = range.begin;
  if (mprotect(pages, page_bytes, PROT_READ | PROT_WRITE) != 0) return nullptr;
  std::memset(pages, kPoison, page_bytes);

  char* begin = pages + page_bytes - round_up(std::max<std::size_t>(bytes, 1), kAlignment);
  Allocation* allocation = &allocations.known.emplace_back(begin, bytes, range.bytes);
  allocations.live[begin] = allocation;
  used_ += page_bytes;
  for (std::size_t granule = std::size_t(pages - begin_) >> kGranuleShift;
       granule < std::size_t(pages + range.bytes - begin_) >> kGranuleShift; ++granule) {
    granules_[granule].store(allocation, std::memory_order_release);
  }
  return begin;
}

DeviceMemory::FreeResult DeviceMemory::free(void* pointer) {
  check_bands();
  Book& allocations = book();
  std::lock_guard lock(allocations.mutex);
  const auto found = allocations.live.find(static_cast<char*>(pointer));
  if (found == allocations.live.end()) {
    const Allocation* known = contains(pointer) ? find(pointer) : nullptr;
    return known && known->freed && known->begin == pointer ? FreeResult::double_free
                                                            : FreeResult::not_an_allocation;
  }
  Allocation* allocation = found->second;
  allocations.live.erase(found);
  allocation->freed = true;
  const Pages pages = pages_of(*allocation);
  madvise(pages.begin, pages.bytes, MADV_DONTNEED);
  mprotect(pages.begin, pages.bytes, PROT_NONE);
  used_ -= pages.bytes;
  allocations.released.push_back({pages.begin, allocation->range_bytes});
  return FreeResult::freed;
}

void DeviceMemory::free_everything() {
  std::vector<char*> pointers;
  {
    std::lock_guard lock(book().mutex);
    for (const auto& [pointer, allocation] : book().live) pointers.push_back(pointer);
  }
  for (char* pointer : pointers) free(pointer);
}

bool DeviceMemory::is_usable(const void* address, std::size_t bytes) const {
  const char* first = static_cast<const char*>(address);
  if (!contains(first)) return !contains(first + bytes - (bytes > 0));
  const Allocation* allocation = find(first);
  return allocation && !allocation->freed && first >= allocation->begin && first + bytes <= allocation->end();
}

void DeviceMemory::begin_launch() {
  std::lock_guard lock(book().mutex);
  for (const auto& [pointer, allocation] : book().live) allocation->written = false;
}

void DeviceMemory::check_bands() {
  std::lock_guard lock(book().mutex);
  for (const auto& [pointer, allocation] : book().live) {
    const Pages pages = pages_of(*allocation);
    const auto is_damaged = [](char* begin, char* end) {
      return std::any_of(begin, end, [](char byte) { return static_cast<unsigned char>(byte) != kPoison; });
    };
    const bool before = is_damaged(pages.begin, allocation->begin);
    const bool after = is_damaged(allocation->end(), pages.begin + pages.bytes);
    if (!before && !after) continue;
    report({.kind = ReportKind::out_of_bounds,
            .site = {},
            .pc = reinterpret_cast<std::uintptr_t>(allocation->begin),  // one report an allocation
            .message = fmt::format("bytes {} an allocation of {} bytes were overwritten",
                                   before ? "before" : "after", allocation->bytes)});
    std::memset(pages.begin, kPoison, std::size_t(allocation->begin - pages.begin));
    std::memset(allocation->end(), kPoison, std::size_t(pages.begin + pages.bytes - allocation->end()));
  }
}

std::string DeviceMemory::describe(const void* address) const {
  const char* at = static_cast<const char*>(address);
  const Allocation* allocation = contains(address) ? find(address) : nullptr;
  if (!allocation) return fmt::format("address {}, in no allocation", address);
  if (at >= allocation->end()) {
    return fmt::format("{} bytes past the end of {} allocation of {} bytes", at - allocation->end(),
                       allocation->freed ? "a freed" : "an", allocation->bytes);
  }
  if (at < allocation->begin) {
    return fmt::format("{} bytes before {} allocation of {} bytes", allocation->begin - at,
                       allocation->freed ? "a freed" : "an", allocation->bytes);
  }
  return fmt::format("byte {} of {} allocation of {} bytes", at - allocation->begin,
                     allocation->freed ? "a freed" : "an", allocation->bytes);
}

}  // namespace emulator
