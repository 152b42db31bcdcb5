#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/version.h>

#include <array>
#include <cstring>
#include <functional>

#include "attention/error.hpp"
#include "libraries.hpp"

namespace attention::libraries {
namespace {

constexpr std::array<Library, 4> kLibraries = {{
    {"flash", "PyTorch SDPA, FlashAttention-2"},
    {"mem_efficient", "PyTorch SDPA, CUTLASS (xFormers)"},
    {"cudnn", "PyTorch SDPA, cuDNN"},
    {"math", "PyTorch SDPA, plain matrix products and softmax"},
}};

// Leaves PyTorch one library to choose from.
void allow_only(std::string_view library) {
  at::Context& context = at::globalContext();
  context.setSDPUseFlash(library == "flash");
  context.setSDPUseMemEfficient(library == "mem_efficient");
  context.setSDPUseCuDNN(library == "cudnn");
  context.setSDPUseMath(library == "math");
}

// Calls a function of PyTorch on a stream of ours. The function allocates
// from a memory pool that belongs to this call alone, so a captured graph can
// be replayed for as long as this object lives, whatever else PyTorch does.
class TorchCall : public Call {
 public:
  explicit TorchCall(std::function<at::Tensor()> function)
      : function_(std::move(function)),
        device_(c10::cuda::current_device()),
        pool_(at::cuda::graph_pool_handle()) {
    c10::cuda::CUDACachingAllocator::beginAllocateToPool(device_, pool_,
                                                         [this](cudaStream_t) { return enqueuing_; });
  }

  ~TorchCall() override {
    result_.reset();
    c10::cuda::CUDACachingAllocator::endAllocateToPool(device_, pool_);
    c10::cuda::CUDACachingAllocator::releasePool(device_, pool_);
    c10::cuda::CUDACachingAllocator::emptyCache();
  }

  void enqueue(cudaStream_t stream) override {
    const c10::cuda::CUDAStreamGuard on_stream(c10::cuda::getStreamFromExternal(stream, device_));
    enqueuing_ = true;
    try {
      result_ = function_();
    } catch (const c10::Error& error) {
      enqueuing_ = false;
      const std::string message = error.what_without_backtrace();  // its first sentence gives the reason
      throw InvalidInput(message.substr(0, message.find(". ")));
    }
    enqueuing_ = false;
  }

  std::vector<half> output() override {
    c10::cuda::device_synchronize();
    const at::Tensor host = result_.contiguous().cpu();
    std::vector<half> values(std::size_t(host.numel()));
    std::memcpy(values.data(), host.data_ptr(), values.size() * sizeof(half));
    return values;
  }

 private:
  std::function<at::Tensor()> function_;
  c10::DeviceIndex device_;
  decltype(at::cuda::graph_pool_handle()) pool_;
  bool enqueuing_ = false;
  at::Tensor result_;
};

at::Tensor to_device(const std::vector<half>& values, std::array<std::int64_t, 4> shape) {
  return at::from_blob(const_cast<half*>(values.data()), shape, at::TensorOptions().dtype(at::kHalf))
      .to(at::kCUDA);
}

}  // namespace

std::span<const Library> all() {
  return kLibraries;
}

// PyTorch brings libfmt's headers, of another version than
// the one that the project links, so this file uses neither.
std::string versions() {
  const long cudnn = at::detail::getCUDAHooks().versionCuDNN();
  return "PyTorch " TORCH_VERSION ", cuDNN " + std::to_string(cudnn / 10000) + "." +
         std::to_string(cudnn / 100 % 100) + "." + std::to_string(cudnn % 100);
}

std::unique_ptr<Call> make_call(const Library& library, const Problem& problem, const Inputs& inputs) {
  if (problem.causal && problem.seq_q != problem.seq_kv) {
    throw InvalidInput("PyTorch aligns a causal mask at the top left, so seq_q must equal seq_kv");
  }
  const at::Tensor q = to_device(inputs.q, {problem.batch, problem.heads, problem.seq_q, problem.head_dim});
  const at::Tensor k =
      to_device(inputs.k, {problem.batch, problem.kv_heads, problem.seq_kv, problem.head_dim});
  const at::Tensor v =
      to_device(inputs.v, {problem.batch, problem.kv_heads, problem.seq_kv, problem.head_dim});
  c10::cuda::device_synchronize();  // the copies are complete before another stream reads
  return std::make_unique<TorchCall>([=, name = library.name] {
    allow_only(name);
    return at::scaled_dot_product_attention(q, k, v, {}, 0.0, problem.causal, problem.scale,
                                            problem.heads != problem.kv_heads);
  });
}

std::unique_ptr<Call> make_matrix_product(int size) {
  const auto options = at::TensorOptions().dtype(at::kHalf).device(at::kCUDA);
  const at::Tensor a = at::randn({size, size}, options), b = at::randn({size, size}, options);
  c10::cuda::device_synchronize();
  return std::make_unique<TorchCall>([=] { return at::matmul(a, b); });
}

}  // namespace attention::libraries
