#include "attention/stage.hpp"

#include "attention/text.hpp"

namespace attention {

std::size_t workspace_bytes(const Variant& variant, const Problem& problem) {
  return variant.workspace_bytes ? variant.workspace_bytes(problem) : 0;
}

Support check_support(const Variant& variant, const Problem& problem, const Device& device) {
  const Support own = variant.supports(problem, device);
  if (!own.ok) return own;
  const std::size_t tensors = 2 * sizeof(half) * (problem.q_elements() + problem.kv_elements());
  const std::size_t workspace = workspace_bytes(variant, problem);
  const std::size_t free = free_memory_bytes();
  if (tensors + workspace > free) {
    return Support::no("needs " + bytes_in_words(tensors) + " of device memory for Q, K, V and O and " +
                       bytes_in_words(workspace) + " of workspace; " + bytes_in_words(free) + " are free");
  }
  return Support::yes();
}

Support supports_usual_head_dims(const Problem& problem, const Device&) {
  switch (problem.head_dim) {
    case 32:
    case 64:
    case 96:
    case 128:
      return Support::yes();
    default:
      return Support::no("head_dim must be 32, 64, 96 or 128, got " + std::to_string(problem.head_dim));
  }
}

}  // namespace attention
