#include "fiber.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace emulator {
namespace {

constexpr int kFewestStacks = 1024;  // room for one block; clusters need more
constexpr std::size_t kGuardBytes = 4096;
#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t kStackBytes = 512 * 1024;  // AddressSanitizer's frames are several times larger
#else
constexpr std::size_t kStackBytes = 128 * 1024;
#endif

// Stacks whose tops lie at the same offset of a page compete for the same few cache sets; so each starts a
// little lower than the one before.
constexpr std::size_t kColourStep = 1088;
constexpr std::size_t kColourRange = 8192;

}  // namespace

FiberStacks::~FiberStacks() {
  if (base_) munmap(base_, kStackBytes * std::size_t(capacity_));
}

void FiberStacks::reserve(int count) {
  if (count > capacity_) {
    if (base_) munmap(base_, kStackBytes * std::size_t(capacity_));
    capacity_ = std::max(count, kFewestStacks);
    count_ = 0;
    void* memory = mmap(nullptr, kStackBytes * std::size_t(capacity_), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("emulated device: no memory for the stacks of a block's threads");
      std::exit(1);
    }
    base_ = static_cast<char*>(memory);
  }
  for (; count_ < count; ++count_) {
    if (mprotect(base_ + std::size_t(count_) * kStackBytes, kGuardBytes, PROT_NONE) != 0) {
      std::perror("emulated device: no guard page for the stack of a thread");
      std::exit(1);
    }
  }
}

FiberStacks::Stack FiberStacks::stack_at(int index) const {
  const std::size_t colour = std::size_t(index) * kColourStep % kColourRange;
  return {base_ + (std::size_t(index) + 1) * kStackBytes - colour, kStackBytes - kGuardBytes - colour};
}

void FiberStacks::abandon() const {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(base_, kStackBytes * std::size_t(count_));
#endif
}

bool FiberStacks::is_guard(const void* address) const {
  const char* at = static_cast<const char*>(address);
  if (!base_ || at < base_ || at >= base_ + kStackBytes * std::size_t(capacity_)) return false;
  return std::size_t(at - base_) % kStackBytes < kGuardBytes;
}

}  // namespace emulator
