#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

// TMA loads the tiles, and neither side stops the whole block to make the other's progress safe.
std::string a_ring(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "output_kernel");
  constexpr std::uint64_t kTiles = 2 * 5, kWarps = 5;  // two row blocks, five tiles of V
  if (c.bulk_loads != kTiles) {
    return fmt::format("output_kernel issues {} TMA loads; there are {} tiles", c.bulk_loads, kTiles);
  }
  if (c.block_barriers > 2 * kWarps) {
    return "__syncthreads makes all warps wait for each other; the mbarriers are enough once they are "
           "initialised";
  }
  return "";
}

const Task task = {
    .number = "06.1",
    .title = "phases and bytes",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 160},
               .hint = "the third tile reuses the first tile's slot, so it is in the second phase of that "
                       "slot's barriers"},
              {.shape = {.heads = 1, .seq_q = 16, .seq_kv = 64}, .hint = "here every slot is used once"},
              {.shape = {.heads = 1, .seq_q = 16, .seq_kv = 20},
               .hint = "one tile, and V ends within it: TMA fills the rest of the box with zeros, and those "
                       "bytes count"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 21, .seq_kv = 230, .causal = true}}},
    .fault_hint =
        "a wait with the wrong parity returns too early, or never; how many bytes does a whole tile have?",
    .questions = {a_ring},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
