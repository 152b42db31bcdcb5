#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string barriers(const emulator::Profile& profile) {
  constexpr std::uint64_t kWarps = 2 * 4, kTiles = 3;  // two blocks of four warps; 96 keys
  const std::uint64_t each = counters_of(profile, "output_kernel").block_barriers / (kWarps * kTiles);
  if (each <= 2) return "";
  return fmt::format("output_kernel executes {} barriers per tile; two are enough", each);
}

const Task task = {
    .number = "02.3",
    .title = "the barrier that is missing",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 96}},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 21, .seq_kv = 70, .causal = true}}},
    .fault_hint = "a fast warp goes on to the next tile; what may a slow one still be doing?",
    .questions = {barriers},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
