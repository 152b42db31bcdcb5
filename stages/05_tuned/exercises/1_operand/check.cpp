#include "exercise.hpp"

namespace attention::exercise {

std::string tensor_cores(const emulator::Profile& profile) {
  constexpr std::uint64_t kProducts = 2 * 4 * 4;  // tiles of V, steps of 16 keys, warps
  const std::uint64_t done = counters_of(profile, "output_kernel").wgmma;
  if (done == kProducts) return "";
  return "output_kernel multiplies with " + std::to_string(done) + " wgmmas, counted by warp; " +
         std::to_string(kProducts) + " are needed";
}

const Task task = {
    .number = "05.1",
    .title = "V as an operand of wgmma",
    .cases =
        {{.shape = {.heads = 1, .seq_q = 64, .seq_kv = 128},
          .hint = "a tile's row is a key and has 128 bytes; how far away is the row 16 further down?"},
         {.shape = {.heads = 1, .seq_q = 64, .seq_kv = 16},
          .hint =
              "16 keys are one step, so the advance is not what is wrong: the sum goes over V's rows, and "
              "what is contiguous is the other index"},
         {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 70, .seq_kv = 100, .causal = true}}},
    .fault_hint = "does an operand reach behind the tile?",
    .questions = {tensor_cores},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
