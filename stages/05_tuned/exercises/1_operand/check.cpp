#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string tensor_cores(const emulator::Profile& profile) {
  constexpr std::uint64_t kProducts = 2 * 4 * 4;  // tiles of V, steps of 16 keys, warps
  const std::uint64_t done = counters_of(profile, "output_kernel").wgmma;
  if (done == kProducts) return "";
  return fmt::format("output_kernel executes {} wgmmas, counted per warp; it needs {}", done, kProducts);
}

const Task task = {
    .number = "05.1",
    .title = "V as an operand of wgmma",
    .cases =
        {{.shape = {.heads = 1, .seq_q = 64, .seq_kv = 128},
          .hint = "a row of the tile is one key and has 128 bytes; how far away is the row 16 keys later?"},
         {.shape = {.heads = 1, .seq_q = 64, .seq_kv = 16},
          .hint =
              "16 keys are one step, so the advance is not at fault: the product sums over V's rows, but its "
              "columns are contiguous"},
         {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 100, .causal = true}}},
    .fault_hint = "does an operand reach past the end of the tile?",
    .questions = {tensor_cores},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
