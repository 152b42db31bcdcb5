#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string one_launch(const emulator::Profile& profile) {
  const emulator::Counters c = counters_of(profile, "fused_kernel");
  // 3 row tiles and 5 key tiles; two reductions over a quad take two shuffles each, for two rows.
  constexpr std::uint64_t kMost = 3 * (5 * 4 + 4);
  if (c.shuffles <= kMost) return "";
  return fmt::format("fused_kernel executes {} shuffles; {} are enough, two per maximum and two per sum",
                     c.shuffles, kMost);
}

const Task task = {
    .number = "04.3",
    .title = "a new maximum",
    .cases = {{.shape = {.heads = 1, .seq_q = 48, .seq_kv = 80},
               .hint = "lanes 4 r to 4 r + 3 must agree on the maximum of row r"},
              {.shape = {.heads = 1, .seq_q = 48, .seq_kv = 80},
               .distribution = Distribution::outlier_key,
               .hint = "the largest score comes last: what o and l_i hold by then must shrink to nothing"},
              {.shape = {.heads = 1, .seq_q = 32, .seq_kv = 64}, .distribution = Distribution::large_logits},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 50, .seq_kv = 30, .causal = true}}},
    .questions = {one_launch}};

}  // namespace attention::exercise
