#include "exercise.hpp"

namespace attention::exercise {

// The loaders must not multiply in lockstep with the others: __syncthreads would do, and would undo the idea.
std::string named(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "output_kernel");
  if (c.block_barriers > 0)
    return "__syncthreads makes all warps wait for each other; named barriers are enough";
  return "";
}

const Task task = {
    .number = "03.3",
    .title = "handing over",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 96}},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 21, .seq_kv = 70, .causal = true}},
              {.shape = {.heads = 1, .seq_q = 16, .seq_kv = 20},
               .hint = "with one tile no warp waits at kEmpty"}},
    .fault_hint =
        "which barrier do the loaders wait at before the second tile, and which warps should have arrived "
        "there?",
    .questions = {named},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
