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

// What a user would call instead of this project's kernels, timed in the same program: the libraries that
// PyTorch's scaled_dot_product_attention can be told to use. CMake compiles libraries_torch.cpp where it
// found LibTorch, else libraries_none.cpp, which has none.
namespace attention::libraries {

struct Library {
  std::string_view name;  ///< "flash", as in the names of benchmarks
  std::string_view idea;  ///< one line for tables
};

/// Every library that this program can time; empty without LibTorch.
std::span<const Library> all();

/// Versions of PyTorch and cuDNN for the context of results; empty where there are no libraries.
std::string versions();

/// Work that can be put on a stream again and again, also under capture.
class Call {
 public:
  virtual ~Call() = default;
  /// @throws InvalidInput in PyTorch's own words where the library does not support this problem.
  virtual void enqueue(cudaStream_t stream) = 0;
  /// Waits for the device and copies what the last call of enqueue() has written to the host:
  /// [batch, heads, seq_q, head_dim].
  virtual std::vector<half> output() = 0;
};

/// One attention on device tensors of its own, copied from `inputs` on the host. Null without LibTorch.
/// @throws InvalidInput for a problem that PyTorch's function cannot express.
std::unique_ptr<Call> make_call(const Library& library, const Problem& problem, const Inputs& inputs);

/// The product of two random half matrices [size, size] in device memory: what a good library gets from the
/// tensor cores. Null without LibTorch.
std::unique_ptr<Call> make_matrix_product(int size);

}  // namespace attention::libraries
