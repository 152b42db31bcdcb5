#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string wavefronts(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "scores_kernel");
  if (c.shared_load_requests == 0) return "scores_kernel no longer reads shared memory";
  if (c.shared_load_wavefronts == c.shared_load_wavefronts_ideal) return "";
  return fmt::format(
      "the shared loads of scores_kernel take {} wavefronts; {} are enough.\n"
      "           hint: bank = byte / 4 % 32; in which bank does each of rows 0 to 7 begin? Keep 16-byte "
      "accesses aligned",
      c.shared_load_wavefronts, c.shared_load_wavefronts_ideal);
}

const Task task = {
    .number = "02.1",
    .title = "eight rows in eight places",
    .cases = {{.shape = {.heads = 1, .seq_q = 64}},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 70, .causal = true}}},
    .fault_hint = "an access of 16 bytes needs an address that is a multiple of 16",
    .questions = {wavefronts},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
