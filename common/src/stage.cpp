#include "attention/stage.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "attention/text.hpp"

namespace attention {

std::size_t workspace_bytes(const Variant& variant, const Problem& problem) {
  return variant.workspace_bytes ? variant.workspace_bytes(problem) : 0;
}

double extra_roundings(const Variant& variant, const Problem& problem) {
  return variant.extra_roundings ? variant.extra_roundings(problem) : 0;
}

Support check_support(const Variant& variant, const Problem& problem, const Device& device) {
  Support own = variant.supports(problem, device);
  if (!own.ok) return own;
  const std::size_t tensors = 2 * sizeof(half) * (problem.q_elements() + problem.kv_elements());
  const std::size_t workspace = workspace_bytes(variant, problem);
  const std::size_t free = free_memory_bytes();
  if (tensors + workspace > free) {
    return Support::no(
        fmt::format("needs {} of device memory for Q, K, V and O and {} of workspace; {} are free",
                    bytes_in_words(tensors), bytes_in_words(workspace), bytes_in_words(free)));
  }
  return Support::yes();
}

Support supports_usual_shapes(const Problem& problem, const Device&) {
  constexpr int kHeadDims[] = {32, 64, 96, 128};
  if (std::find(std::begin(kHeadDims), std::end(kHeadDims), problem.head_dim) == std::end(kHeadDims)) {
    return Support::no(fmt::format("head_dim must be 32, 64, 96 or 128, got {}", problem.head_dim));
  }
  const std::int64_t heads = std::int64_t(problem.batch) * problem.heads;
  if (heads > 65535) {
    return Support::no(fmt::format("batch * heads must be at most 65535, got {}", heads));
  }
  return Support::yes();
}

Support supports_smem(std::size_t bytes, const Device& device) {
  if (bytes <= device.smem_per_block_bytes) return Support::yes();
  return Support::no(fmt::format("needs {} of shared memory per block, {} has {}", bytes_in_words(bytes),
                                 device.name, bytes_in_words(device.smem_per_block_bytes)));
}

std::string capability_in_words(const Device& device) {
  return fmt::format("{} has {}.{}", device.name, device.compute_capability / 10,
                     device.compute_capability % 10);
}

Support supports_hopper(const Device& device) {
  if (device.compute_capability == 90) return Support::yes();
  return Support::no(fmt::format("needs wgmma and TMA, which only compute capability 9.0 has; {}",
                                 capability_in_words(device)));
}

}  // namespace attention
