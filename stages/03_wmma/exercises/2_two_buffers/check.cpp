#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

constexpr int kTiles = 4;  // of the first case: 256 keys

// Between two barriers the warp multiplies one tile. In all of these stretches but the last, a load must come
// before the first product.
std::string loads_ahead(const emulator::Profile& profile) {
  int ahead = 0;
  for (const emulator::KernelProfile& kernel : profile.kernels) {
    if (kernel.kernel.find("scores_kernel") == std::string::npos) continue;
    bool loaded = false, multiplied = false;
    for (const emulator::Event& event : kernel.events) {
      if (event.warp != 0) continue;
      if (event.kind == emulator::EventKind::block_barrier) loaded = multiplied = false;
      if (event.kind == emulator::EventKind::global_load) loaded = true;
      if (event.kind == emulator::EventKind::mma && !multiplied) {
        multiplied = true;
        ahead += loaded;
      }
    }
  }
  if (ahead >= kTiles - 1) return "";
  return fmt::format(
      "scores_kernel issues the next tile's loads before it multiplies this one for {} of {} tiles; it "
      "should do so for all but the last",
      ahead, kTiles);
}

std::string barriers(const emulator::Profile& profile) {
  constexpr std::uint64_t kWarps = 2 * 4;  // two blocks of four warps
  const std::uint64_t each = counters_of(profile, "scores_kernel").block_barriers / kWarps;
  if (each <= kTiles + 1) return "";
  return fmt::format(
      "scores_kernel executes {} barriers for {} tiles; with two buffers, one per tile is enough, and one "
      "before the first",
      each, kTiles);
}

const Task task = {
    .number = "03.2",
    .title = "two buffers",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 256}},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 48, .seq_kv = 128, .causal = true}}},
    .fault_hint = "which warps may still be reading the buffer that this store writes? There are two buffers",
    .questions = {loads_ahead, barriers},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
