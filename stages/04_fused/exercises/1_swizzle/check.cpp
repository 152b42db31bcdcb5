#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string wavefronts(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "scores_kernel");
  if (c.ldmatrix == 0) return "scores_kernel no longer uses ldmatrix";
  if (c.shared_load_wavefronts == c.shared_load_wavefronts_ideal &&
      c.shared_store_wavefronts == c.shared_store_wavefronts_ideal)
    return "";
  return fmt::format(
      "scores_kernel takes {} wavefronts to read shared memory and {} to write it; {} and {} are enough.\n"
      "           hint: a chunk's place must depend on its row, and two chunks of a row must not share a "
      "place",
      c.shared_load_wavefronts, c.shared_store_wavefronts, c.shared_load_wavefronts_ideal,
      c.shared_store_wavefronts_ideal);
}

std::string no_padding(const emulator::Profile&) {
  constexpr std::size_t kUnpadded = 2 * 64 * 64 * 2;  // bytes of Q's and K's tiles, 64 x 64 halves each
  for (const emulator::Launch& launch : emulator::launches()) {
    if (launch.kernel.find("scores_kernel") != std::string::npos && launch.static_smem_bytes > kUnpadded) {
      return fmt::format("scores_kernel has {} bytes of shared memory; without padding it has {}",
                         launch.static_smem_bytes, kUnpadded);
    }
  }
  return "";
}

const Task task = {
    .number = "04.1",
    .title = "the swizzle",
    .cases = {{.shape = {.heads = 1, .seq_q = 64},
               .hint = "the writer and the readers must agree: all of them call tile_offset()"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 70, .causal = true}}},
    .fault_hint = "is there a row and chunk whose place is outside the tile?",
    .questions = {wavefronts, no_padding},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
