#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/inputs.hpp"
#include "attention/problem.hpp"

// What a user would call instead of this project's kernels, timed beside them in one program: the back ends
// of PyTorch's scaled_dot_product_attention. peers_torch.cpp where LibTorch was found, else peers_none.cpp,
// which has none.
namespace attention::peers {

struct Rival {
  std::string_view name;  ///< "flash"
  std::string_view idea;  ///< one line for tables
};

std::span<const Rival> rivals();

/// Versions of what the rivals come from, for the context of results; empty where there are none.
std::string versions();

/// Work that can be put on a stream again and again, also under capture.
class Call {
 public:
  virtual ~Call() = default;
  /// @throws InvalidInput in PyTorch's own words where the back end does not do this problem.
  virtual void enqueue(cudaStream_t stream) = 0;
  /// What the call that was enqueued last has written, [batch, heads, seq_q, head_dim]; waits for the device.
  virtual std::vector<half> output() = 0;
};

/// One attention on tensors of its own. @throws InvalidInput for a problem that the function cannot express.
std::unique_ptr<Call> make_call(const Rival& rival, const Problem& problem, const Inputs& inputs);

/// A product of two random half matrices of size x size: what the tensor cores give a good library. Null
/// where there is none.
std::unique_ptr<Call> make_matrix_product(int size);

}  // namespace attention::peers
