#include "shared_memory.hpp"

#include <fmt/format.h>

#include <cstring>

// What `extern __shared__` arrays of kernels are: see attention/launch.hpp.
alignas(1024) thread_local unsigned char dynamic_smem[emulator::kMaxSmemBytes];

namespace emulator {

void SharedMemory::begin_launch(const KernelImage& image, std::size_t dynamic_bytes) {
  image_ = &image;
  static_ = image.segment();
  dynamic_ = reinterpret_cast<char*>(::dynamic_smem);
  dynamic_bytes_ = dynamic_bytes;
  is_aside_ = false;  // what the previous launch's clusters left there is not needed
}

void SharedMemory::poison() {
  constexpr int kPoison = 0xff;
  if (static_.begin) std::memset(static_.begin, kPoison, declared_bytes());
  std::memset(dynamic_, kPoison, dynamic_bytes_);
}

void SharedMemory::keep_aside() {
  aside_.resize(std::size_t(bytes()));
  if (static_.begin) std::memcpy(aside_.data(), static_.begin, declared_bytes());
  std::memcpy(aside_.data() + static_bytes(), dynamic_, dynamic_bytes_);
  is_aside_ = true;
}

void SharedMemory::restore() {
  if (!is_aside_) return;
  if (static_.begin) std::memcpy(static_.begin, aside_.data(), declared_bytes());
  std::memcpy(dynamic_, aside_.data() + static_bytes(), dynamic_bytes_);
  is_aside_ = false;
}

const SharedVariable* SharedMemory::variable_at(std::ptrdiff_t offset) const {
  return image_->variable_at(std::size_t(offset));
}

std::string SharedMemory::name_of(std::ptrdiff_t offset, std::string* variable) const {
  std::string name = "dynamic_smem";
  std::ptrdiff_t within = offset - static_bytes();
  if (within < 0) {
    const SharedVariable* found = variable_at(offset);
    name = found ? found->name : "static shared memory";
    within = found ? offset - std::ptrdiff_t(found->offset) : offset;
  }
  if (variable) *variable = name;
  return within == 0 ? name : fmt::format("{}+{}", name, within);
}

}  // namespace emulator
