#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace attention {

/// What a caller asks for: the sizes of one attention, not yet checked. Defaults are the headline shape.
struct Shape {
  int batch = 1;
  int heads = 8;                     ///< query heads
  std::optional<int> kv_heads = {};  ///< key/value heads; as many as query heads unless given
  int seq_q = 512;                   ///< query rows a head
  std::optional<int> seq_kv = {};    ///< keys a head; as many as query rows unless given
  int head_dim = 64;
  bool causal = false;
  std::optional<float> scale = {};  ///< factor on Q K^T; 1/sqrt(head_dim) unless given
};

/// One attention problem, O = softmax(scale * Q K^T) V for every head, with sizes known to be good.
///
/// Tensors are row-major [batch, heads or kv_heads, seq_q or seq_kv, head_dim]. Query head h reads
/// key/value head h / (heads / kv_heads) (grouped-query attention, Ainslie et al. 2023). A causal problem
/// is aligned at the bottom right: query i sees key j when j <= i + seq_kv - seq_q, so with
/// seq_q > seq_kv the first rows see no key at all; their output is zero.
///
/// Trivially copyable, so that a kernel can take it by value.
struct Problem {
  /// Checks every size once; nobody need check again.
  /// @throws InvalidInput naming the value and what is allowed: a size below 1, heads not a multiple of
  ///   kv_heads, a scale that is not finite, or tensors too large to index (a head's rows x head_dim
  ///   must stay below 2^31, a whole tensor below 2^40 elements, and all of Q K^T below 2^60).
  explicit Problem(const Shape& shape = {});

  int batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  bool causal;
  float scale;

  std::size_t q_elements() const { return std::size_t(batch) * heads * seq_q * head_dim; }  ///< also O's
  std::size_t kv_elements() const { return std::size_t(batch) * kv_heads * seq_kv * head_dim; }
  std::size_t score_elements() const { return std::size_t(batch) * heads * seq_q * seq_kv; }

  /// Floating-point operations of the two matrix products: 4 * B * H * head_dim * (visible pairs of query
  /// and key), where a causal problem counts only the pairs its mask lets through.
  double flop() const;
};

/// "B=1 H=8 S=512 D=64", with what differs from the usual named: "H=8/2" (kv_heads), "S=17x257" (seq_q x
/// seq_kv), "causal", "scale=0.5".
std::string describe(const Problem& problem);

/// Blocks of `size` that it takes to cover `count`.
inline unsigned ceil_div(std::size_t count, std::size_t size) {
  return unsigned((count + size - 1) / size);
}

}  // namespace attention
