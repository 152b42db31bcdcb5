#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace attention {

/// The sizes of one attention as a caller gives them, not yet checked. The defaults are the headline shape.
struct Shape {
  int batch = 1;
  int heads = 8;                     ///< query heads
  std::optional<int> kv_heads = {};  ///< key/value heads; as many as query heads unless given
  int seq_q = 512;                   ///< query rows per head
  std::optional<int> seq_kv = {};    ///< keys per head; as many as query rows unless given
  int head_dim = 64;
  bool causal = false;
  std::optional<float> scale = {};  ///< factor on Q K^T; 1/sqrt(head_dim) unless given
};

/// One attention problem, O = softmax(scale * Q K^T) V for every head, with sizes that have been checked.
///
/// Tensors are row-major: Q and O are [batch, heads, seq_q, head_dim], K and V are [batch, kv_heads, seq_kv,
/// head_dim]. Query head h reads key/value head h / (heads / kv_heads) (grouped-query attention, Ainslie et
/// al. 2023). A causal mask is aligned at the bottom right: query i sees key j when j <= i + seq_kv - seq_q.
/// Where seq_q > seq_kv, the first rows see no key at all; their output is zero.
///
/// Trivially copyable, so that a kernel can take it by value.
struct Problem {
  /// Checks every size, so that nothing else has to.
  /// @throws InvalidInput naming the value and what is allowed, for a size below 1, heads that are no
  ///   multiple of kv_heads, a scale that is not finite, and tensors too large to index (one head must have
  ///   fewer than 2^31 elements, a tensor fewer than 2^40, and Q K^T fewer than 2^60).
  explicit Problem(const Shape& shape = {});

  int batch, heads, kv_heads, seq_q, seq_kv, head_dim;
  bool causal;
  float scale;

  std::size_t q_elements() const { return std::size_t(batch) * heads * seq_q * head_dim; }  ///< of Q and O
  std::size_t kv_elements() const {
    return std::size_t(batch) * kv_heads * seq_kv * head_dim;
  }                                                                                           ///< of K and V
  std::size_t score_elements() const { return std::size_t(batch) * heads * seq_q * seq_kv; }  ///< of Q K^T

  /// Floating-point operations of the two matrix products: 4 * batch * heads * head_dim for each pair of
  /// query and key that the mask lets through.
  double flop() const;
};

/// "B=1 H=8 S=512 D=64". Where something is unusual, the text has it too: "H=8/2" (heads/kv_heads),
/// "S=17x257" (seq_q x seq_kv), "causal", "scale=0.5".
std::string describe(const Problem& problem);

/// count / size, rounded up: the number of tiles of `size` that cover `count`.
inline unsigned ceil_div(std::size_t count, std::size_t size) {
  return unsigned((count + size - 1) / size);
}

}  // namespace attention
