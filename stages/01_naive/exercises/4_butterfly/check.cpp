#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string shuffles(const emulator::Profile& profile) {
  constexpr std::uint64_t kSums = 32 * 48;  // rows x keys of the first case
  const std::uint64_t each = counters_of(profile, "scores_kernel").shuffles / kSums;
  if (each == 5) return "";
  return fmt::format(
      "scores_kernel takes {} shuffles per sum; it needs five, one for each bit of the lane's number", each);
}

const Task task = {
    .number = "01.4",
    .title = "a sum over a warp",
    .cases = {{.shape = {.heads = 1, .seq_q = 32, .seq_kv = 48},
               .hint = "lane i should add the value of lane i ^ 16, then i ^ 8, and so on"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 33, .seq_kv = 40, .causal = true}}},
    .questions = {shuffles},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
