#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

// The second kernel combines the partial results; it must not begin again from the keys.
std::string two_launches(const emulator::Profile& profile) {
  constexpr std::uint64_t kRead =
      20 * 4 * (64 + 1) * sizeof(float);  // rows, parts, a row's columns and its sum
  const std::uint64_t sectors = counters_of(profile, "combine_kernel").global_load_sectors_ideal;
  if (sectors == 0) return "combine_kernel reads nothing";
  if (sectors * 32 <= 4 * kRead) return "";
  return fmt::format(
      "combine_kernel reads {} bytes; the partial results have {}. Leave Q, K and V to part_kernel",
      sectors * 32, kRead);
}

std::size_t part_bytes(const Problem& problem) {
  return std::size_t(4) * problem.batch * problem.heads * problem.seq_q * (64 + 1) * sizeof(float);
}

const Task task = {
    .number = "07.1",
    .title = "putting parts together",
    .cases =
        {{.shape = {.heads = 1, .seq_q = 20, .seq_kv = 100},
          .hint = "the row's sum of exponentials is the sum of the parts'; which share of it is a part's?"},
         {.shape = {.heads = 1, .seq_q = 20, .seq_kv = 100},
          .distribution = Distribution::outlier_key,
          .hint = "one key has nearly all of the weight, so the part with that key has it, too"},
         {.shape = {.heads = 1, .seq_q = 20, .seq_kv = 100},
          .distribution = Distribution::large_logits,
          .hint = "exp(lse) is more than a float holds: subtract the largest lse of the row first"},
         {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 50, .seq_kv = 30, .causal = true},
          .hint =
              "a row may see no key of a part, or no key at all: then lse is -inf, and -inf - -inf is NaN"}},
    .questions = {two_launches},
    .workspace_bytes = part_bytes};

}  // namespace attention::exercise
