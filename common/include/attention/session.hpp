#pragma once

#include <string>
#include <vector>

#include "attention/device_buffer.hpp"
#include "attention/inputs.hpp"
#include "attention/stage.hpp"

namespace attention {

/// What one call of a variant left behind.
struct Outcome {
  std::vector<half> o;
  /// What it should not have done, one line each: a guard band written, an input changed.
  std::vector<std::string> damage;
};

/// One problem laid out in device memory: what programs, tests and benchmarks run variants on.
class Session {
 public:
  /// Uploads the inputs. @throws InvalidInput where the device has no room.
  Session(const Problem& problem, const Inputs& inputs);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Poisons output and workspace, calls `variant` once on a stream of its own, waits, and reads back.
  /// @throws CudaError where the launch or the kernel fails, InvalidInput where the workspace has no room.
  Outcome run(const Variant& variant);

  /// Calls `variant` on `stream` without waiting: for timing. prepare(variant) must have come before.
  cudaError_t enqueue(const Variant& variant, cudaStream_t stream);

  /// Makes the variant the one in use: its workspace, exactly as large as it asks for, and its state of the
  /// device; what the one before had set up is torn down.
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
