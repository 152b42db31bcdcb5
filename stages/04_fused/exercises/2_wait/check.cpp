#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string in_flight(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "output_kernel");
  if (c.max_groups_in_flight < 2)
    return "the next tile's copy is not in flight while the kernel waits for this one: at most one group is "
           "in flight";
  return "";
}

// Between a wait in the loop and the use of the tile, the next one's copy must still be in flight. A wait for
// everything that is executed more than once waits for that copy, too.
std::string overlap(const emulator::Profile& profile) {
  for (const emulator::KernelProfile& kernel : profile.kernels) {
    if (kernel.kernel.find("output_kernel") == std::string::npos) continue;
    for (const emulator::SourceLine& line : kernel.lines) {
      const bool everything =
          line.text.find("<0>") != std::string::npos || line.text.find("wait_all") != std::string::npos;
      int times = 0;
      for (const emulator::Event& event : kernel.events) {
        times += event.kind == emulator::EventKind::cp_async_wait_group && event.warp == 0 &&
                 event.line == line.line;
      }
      if (everything && times > 1) {
        return fmt::format(
            "line {} waits for the next tile as well: no copy is in flight while the kernel uses this one",
            line.line);
      }
    }
  }
  return "";
}

const Task task = {
    .number = "04.2",
    .title = "waiting for what is needed",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 96}},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 21, .seq_kv = 70, .causal = true}}},
    .fault_hint =
        "a thread waits for its own copies alone; a barrier after the wait covers the copies of all threads",
    .questions = {in_flight, overlap},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
