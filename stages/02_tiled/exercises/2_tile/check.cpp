#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string loads(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "scores_kernel");
  // 64 rows and 64 keys: two blocks, each with 32 rows of Q and 64 of K, 128 bytes per row. A request of
  // 16 bytes per lane loads 512 bytes.
  constexpr std::uint64_t kBytes = 2 * (32 + 64) * 64 * 2;
  if (c.global_load_bytes > kBytes) {
    return fmt::format("scores_kernel loads {} bytes; loading each tile once takes {}", c.global_load_bytes,
                       kBytes);
  }
  if (c.global_load_requests > kBytes / 512) {
    return fmt::format("scores_kernel issues {} load requests; with 16 bytes per lane, {} are enough",
                       c.global_load_requests, kBytes / 512);
  }
  if (c.global_load_sectors != c.global_load_sectors_ideal)
    return "neighbouring threads should load neighbouring 16 bytes";
  return "";
}

const Task task = {
    .number = "02.2",
    .title = "bring a tile",
    .cases = {{.shape = {.heads = 1, .seq_q = 64},
               .hint = "here, shared memory that the kernel has not written holds NaN"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 70, .causal = true},
               .hint = "the last tile has fewer rows than the others; the rest must be zeros"}},
    .fault_hint =
        "every thread copies a part of the tile and reads all of it: what must happen between the two?",
    .questions = {loads},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
