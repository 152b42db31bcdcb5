#include "exercise.hpp"

namespace attention::exercise {

std::string wavefronts(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "scores_kernel");
  if (c.ldmatrix == 0) return "scores_kernel does not use ldmatrix any more";
  if (c.shared_load_wavefronts == c.shared_load_wavefronts_ideal &&
      c.shared_store_wavefronts == c.shared_store_wavefronts_ideal)
    return "";
  return "scores_kernel takes " + std::to_string(c.shared_load_wavefronts) +
         " wavefronts to read shared memory and " + std::to_string(c.shared_store_wavefronts) +
         " to write it; " + std::to_string(c.shared_load_wavefronts_ideal) + " and " +
         std::to_string(c.shared_store_wavefronts_ideal) +
         " would do.\n           hint: the chunk's place must depend on the row, and two chunks of a row "
         "must not share one";
}

std::string no_padding(const emulator::Profile&) {
  for (const emulator::Launch& launch : emulator::launches()) {
    if (launch.kernel.find("scores_kernel") != std::string::npos &&
        launch.static_smem_bytes > 2 * 64 * 64 * 2) {
      return "scores_kernel has " + std::to_string(launch.static_smem_bytes) +
             " bytes of shared memory; without padding it is 16384";
    }
  }
  return "";
}

const Task task = {
    .number = "04.1",
    .title = "the swizzle",
    .cases = {{.shape = {.heads = 1, .seq_q = 64},
               .hint = "writer and readers must agree: all of them ask tile_offset()"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 70, .causal = true}}},
    .fault_hint = "is there a row and chunk whose place is outside of the tile?",
    .questions = {wavefronts, no_padding},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
