#pragma once

#include <string>
#include <vector>

#include "attention/device_buffer.hpp"
#include "attention/inputs.hpp"
#include "attention/stage.hpp"

namespace attention {

/// The output of one call of a variant, and the damage that it did.
struct Outcome {
  std::vector<half> o;  ///< [batch, heads, seq_q, head_dim], in host memory
  /// One line for each guard band that was written and each input that was changed.
  std::vector<std::string> damage;
};

/// The tensors of one problem in global memory, on which programs, tests and benchmarks run variants.
class Session {
 public:
  /// Uploads the inputs, which must outlive the session. @throws InvalidInput where the device has no room.
  Session(const Problem& problem, const Inputs& inputs);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Fills output and workspace with NaN, calls `variant`
  /// once on a new stream, waits, and reads the output back.
  /// @throws CudaError where the launch or the kernel fails,
  ///   InvalidInput where the device has no room for the workspace.
  Outcome run(const Variant& variant);

  /// Calls `variant` on `stream` without waiting, and returns its
  /// error: for timing. Requires an earlier prepare(variant).
  cudaError_t enqueue(const Variant& variant, cudaStream_t stream);

  /// Allocates a workspace of exactly the size that `variant` asks for, and sets up the device state that it
  /// wants; undoes the set-up of the previous variant first. @throws as run() does.
  void prepare(const Variant& variant);

  const Problem& problem() const { return problem_; }
  const DeviceBuffer<half>& output() const { return o_; }
  void poison_output() { o_.poison(); }

 private:
  Tensors tensors() const { return {q_.data(), k_.data(), v_.data(), o_.data()}; }

  Problem problem_;
  const Inputs& inputs_;
  DeviceBuffer<half> q_, k_, v_, o_;
  std::optional<RawDeviceBuffer> workspace_;
  std::optional<Variant> in_use_;
};

}  // namespace attention
