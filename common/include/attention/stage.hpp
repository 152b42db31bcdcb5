#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "attention/device.hpp"
#include "attention/problem.hpp"
#include "attention/technique.hpp"

namespace attention {

/// Pointers to global memory, each 256-byte aligned. The tensors are row-major and do not overlap.
struct Tensors {
  const half* q;  ///< [batch, heads,    seq_q,  head_dim]
  const half* k;  ///< [batch, kv_heads, seq_kv, head_dim]
  const half* v;  ///< [batch, kv_heads, seq_kv, head_dim]
  half* o;        ///< [batch, heads,    seq_q,  head_dim], every element is written
};

/// Whether a variant supports a problem on a device. Where it does not, `reason` says why, with the value
/// that it got and what is allowed: "head_dim must be 32, 64, 96 or 128, got 80".
struct Support {
  bool ok;
  std::string reason;
  static Support yes() { return {true, {}}; }
  static Support no(std::string reason) { return {false, std::move(reason)}; }
};

/// Enqueues one attention on `stream`. It never allocates, synchronises, prints or exits, so it can be
/// captured in a graph. `workspace` is global memory of workspace_bytes(problem) bytes, 256-byte aligned,
/// with arbitrary contents. Returns the first error of its launches.
using LaunchFunction = cudaError_t(const Problem& problem, const Tensors& tensors, void* workspace,
                                   cudaStream_t stream);
using SupportsFunction = Support(const Problem& problem, const Device& device);
using WorkspaceFunction = std::size_t(const Problem& problem);
using ExtraRoundingsFunction = double(const Problem& problem);

/// Sets up, and undoes, state of the whole device that a variant wants while it is in use, such as a part of
/// L2 set aside. Called before its first call and after its last, outside of any capture.
using SetUpFunction = cudaError_t(const Problem& problem);
using TearDownFunction = cudaError_t();

/// One idea, added to the variant before it. Its kernel and launcher are `stages/<stage>/<name>.cu`, which
/// differs from the file of the variant before by at most kMaxChangedLines lines (tests/test_steps.cpp).
struct Variant {
  std::string_view name;  ///< as on the command line: "one_pass"
  std::string_view idea;  ///< one line for tables
  /// The reason where the file differs by more. At most two variants of a stage have one, the first not counted.
  std::string_view rewrite = {};
  /// All techniques that it uses; common/tools/evidence checks each against machine code, launches and counters.
  Techniques techniques = {};
  LaunchFunction* launch;
  SupportsFunction* supports;
  WorkspaceFunction* workspace_bytes = nullptr;  ///< none needed unless given
  /// For an idea that costs accuracy: how often more than usual a sum of it is rounded to half (compare.hpp).
  /// The stage's README says why.
  ExtraRoundingsFunction* extra_roundings = nullptr;
  SetUpFunction* set_up = nullptr;
  TearDownFunction* tear_down = nullptr;
};

/// One step of the ladder. Where one variant stands for the stage, it is the last.
struct Stage {
  std::string_view name;   ///< as its folder: "01_naive"
  std::string_view title;  ///< a few words
  std::span<const Variant> variants;
  const Variant& default_variant() const { return variants.back(); }
};

/// How often more than usual `variant` rounds a sum to half; 0 for most.
double extra_roundings(const Variant& variant, const Problem& problem);

/// Bytes of global memory that `variant` needs in addition to the tensors.
std::size_t workspace_bytes(const Variant& variant, const Problem& problem);

/// Whether `variant` supports `problem` on `device`, as programs, tests and benchmarks decide it: what
/// variant.supports() says, and whether tensors and workspace fit in the device's free memory. @throws CudaError
Support check_support(const Variant& variant, const Problem& problem, const Device& device);

/// The usual restrictions: head_dim is 32, 64, 96 or 128, and the whole batch has at most 65535 query heads
/// (the limit of a grid in y and z).
Support supports_usual_shapes(const Problem& problem, const Device& device);

/// Can a block have so many bytes of shared memory?
Support supports_smem(std::size_t bytes, const Device& device);

/// "NVIDIA L4 has 8.9": the device's compute capability, for the end of a refusal.
std::string capability_in_words(const Device& device);

/// Has the device wgmma and TMA as Hopper has them? Only compute capability 9.0 does.
Support supports_hopper(const Device& device);

/// The stages that are linked into this program, in ladder order. CMake generates it from the stages' folders.
std::span<const Stage* const> registry();

}  // namespace attention
