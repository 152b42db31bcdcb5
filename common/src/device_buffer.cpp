#include "attention/device_buffer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "attention/device.hpp"
#include "attention/text.hpp"

namespace attention {
namespace {

constexpr unsigned char kPoison = 0xFF;
constexpr unsigned char kBand = 0xA5;

}  // namespace

RawDeviceBuffer::RawDeviceBuffer(std::size_t bytes, Guards guards) : bytes_(bytes), guards_(guards) {
  // At least one byte: cudaMalloc of no bytes gives a null pointer, which looks like a failure.
  const std::size_t whole = std::max<std::size_t>(bytes_ + 2 * band_bytes(), 1);
  void* allocation = nullptr;
  const cudaError_t status = cudaMalloc(&allocation, whole);
  if (status == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();  // not sticky: the next call may succeed
    throw InvalidInput(fmt::format("the device has no room for {}; {} are free", bytes_in_words(whole),
                                   bytes_in_words(free_memory_bytes())));
  }
  CUDA_CHECK(status);
  allocation_ = static_cast<unsigned char*>(allocation);
  CUDA_CHECK(cudaMemset(allocation_, kBand, whole));
  poison();
}

RawDeviceBuffer::RawDeviceBuffer(RawDeviceBuffer&& other) noexcept
    : allocation_(std::exchange(other.allocation_, nullptr)), bytes_(other.bytes_), guards_(other.guards_) {}

RawDeviceBuffer::~RawDeviceBuffer() {
  (void)cudaFree(allocation_);
}

void RawDeviceBuffer::poison() {
  CUDA_CHECK(cudaMemset(data(), kPoison, bytes_));
}

void RawDeviceBuffer::upload(const void* source) {
  CUDA_CHECK(cudaMemcpy(data(), source, bytes_, cudaMemcpyHostToDevice));
}

void RawDeviceBuffer::download(void* target) const {
  CUDA_CHECK(cudaMemcpy(target, data(), bytes_, cudaMemcpyDeviceToHost));
}

std::optional<std::string> RawDeviceBuffer::damage() const {
  if (guards_ == Guards::none) return std::nullopt;
  std::vector<unsigned char> band(kBandBytes);
  for (const bool after : {false, true}) {
    const unsigned char* start = after ? allocation_ + kBandBytes + bytes_ : allocation_;
    CUDA_CHECK(cudaMemcpy(band.data(), start, kBandBytes, cudaMemcpyDeviceToHost));
    const auto is_damaged = [](unsigned char byte) { return byte != kBand; };
    if (after) {
      const auto first = std::find_if(band.begin(), band.end(), is_damaged);
      if (first != band.end()) return fmt::format("written {} bytes past its end", first - band.begin());
    } else {
      const auto last = std::find_if(band.rbegin(), band.rend(), is_damaged);
      if (last != band.rend()) {
        return fmt::format("written {} bytes before its start", last - band.rbegin() + 1);
      }
    }
  }
  return std::nullopt;
}

}  // namespace attention
