#include "attention/session.hpp"

#include <fmt/format.h>

#include <cstring>

#include "attention/timing.hpp"

namespace attention {

Session::Session(const Problem& problem, const Inputs& inputs)
    : problem_(problem),
      inputs_(inputs),
      q_(std::span(inputs.q)),
      k_(std::span(inputs.k)),
      v_(std::span(inputs.v)),
      o_(problem.q_elements(), RawDeviceBuffer::Guards::bands) {}

Session::~Session() {
  if (in_use_ && in_use_->tear_down) (void)in_use_->tear_down();
}

void Session::prepare(const Variant& variant) {
  if (in_use_ && in_use_->launch == variant.launch) return;
  if (in_use_ && in_use_->tear_down) CUDA_CHECK(in_use_->tear_down());
  in_use_.reset();
  workspace_.reset();
  workspace_.emplace(workspace_bytes(variant, problem_), RawDeviceBuffer::Guards::bands);
  if (variant.set_up) CUDA_CHECK(variant.set_up(problem_));
  in_use_ = variant;
}

cudaError_t Session::enqueue(const Variant& variant, cudaStream_t stream) {
  return variant.launch(problem_, tensors(), workspace_->data(), stream);
}

Outcome Session::run(const Variant& variant) {
  prepare(variant);
  o_.poison();
  workspace_->poison();
  Stream stream;
  CUDA_CHECK(cudaStreamSynchronize(nullptr));  // the poison is in place before another stream writes
  CUDA_CHECK(enqueue(variant, stream));
  CUDA_CHECK(cudaStreamSynchronize(stream));

  Outcome outcome{.o = o_.to_host(), .damage = {}};
  const auto check_bands = [&](const char* name, const RawDeviceBuffer& buffer) {
    if (const auto damage = buffer.damage())
      outcome.damage.push_back(fmt::format("{} was {}", name, *damage));
  };
  const auto check_unchanged = [&](const char* name, const DeviceBuffer<half>& buffer,
                                   const std::vector<half>& original) {
    const std::vector<half> now = buffer.to_host();
    if (std::memcmp(now.data(), original.data(), now.size() * sizeof(half)) != 0) {
      outcome.damage.push_back(fmt::format("{}, an input, was changed", name));
    }
  };
  check_bands("O", o_);
  check_bands("the workspace", *workspace_);
  check_unchanged("Q", q_, inputs_.q);
  check_unchanged("K", k_, inputs_.k);
  check_unchanged("V", v_, inputs_.v);
  return outcome;
}

}  // namespace attention
