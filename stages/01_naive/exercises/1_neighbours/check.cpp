#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

// A request for P touches one or two sectors, a request for V or O two. No fewer can carry the bytes.
std::string sectors(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "output_kernel");
  if (c.global_load_requests == 0) return "no kernel whose name has 'output_kernel' loads anything";
  const double loads = double(c.global_load_sectors) / double(c.global_load_requests);
  const double stores =
      double(c.global_store_sectors) / double(c.global_store_requests ? c.global_store_requests : 1);
  if (loads <= 2.1 && stores <= 2.1) return "";
  return fmt::format(
      "output_kernel touches {:.1f} sectors per load and {:.1f} per store; 2 are enough.\n"
      "           hint: the 32 lanes of a warp should read 32 adjacent elements of V and one element of P",
      loads, stores);
}

const Task task = {.number = "01.1",
                   .title = "which thread gets which element?",
                   .cases = {{.shape = {.heads = 1, .seq_q = 64}},
                             {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 37, .seq_kv = 50},
                              .hint = "with 37 rows the last warps have threads past the end"},
                             {.shape = {.heads = 2, .seq_q = 33, .seq_kv = 40, .causal = true}}},
                   .questions = {sectors},
                   .workspace_bytes = score_bytes};

}  // namespace attention::exercise
