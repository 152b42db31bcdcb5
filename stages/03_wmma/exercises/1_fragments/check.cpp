#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

std::string tensor_cores(const emulator::Profile& profile) {
  constexpr std::uint64_t kProducts = 3 * 3 * 4;  // tiles of 48 x 48 scores, steps of 16 along a row of 64
  const std::uint64_t done = counters_of(profile, "scores_kernel").mma / 2;  // a wmma is two instructions
  if (done == kProducts) return "";
  return fmt::format("scores_kernel multiplies {} pairs of fragments; it needs {}", done, kProducts);
}

const Task task = {
    .number = "03.1",
    .title = "one tile with WMMA",
    .cases = {{.shape = {.heads = 1, .seq_q = 48},
               .hint = "with row_major, WMMA multiplies by K itself; with col_major it reads the rows of K "
                       "as columns"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 20, .seq_kv = 50, .causal = true}}},
    .questions = {tensor_cores},
    .workspace_bytes = score_bytes};

}  // namespace attention::exercise
