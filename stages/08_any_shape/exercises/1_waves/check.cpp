#include <fmt/format.h>

#include <cmath>

#include "exercise.hpp"

namespace attention::exercise {

// Defined in exercise.cu.
double estimate_short_us(const Problem& p, int sms);
double estimate_tall_us(const Problem& p, int sms);

namespace {

// The complaint where an estimate is wrong; nothing where it is right.
std::string held(const std::string& what, double got, double want) {
  if (std::abs(got - want) < 1e-9) return "";
  return fmt::format("the estimate for {} is {:g} us; it should be {:g} us", what, got, want);
}

}  // namespace

// One block of 4 rows per SM is one wave; one row more makes two.
std::string waves_are_whole(const emulator::Profile&) {
  const auto rows = [](int seq_q) { return Problem({.heads = 1, .seq_q = seq_q, .seq_kv = 100}); };
  const std::string one = held("10 blocks of 4 rows on 10 SMs", estimate_short_us(rows(40), 10), 1.4);
  return one.empty() ? held("11 blocks of 4 rows on 10 SMs", estimate_short_us(rows(41), 10), 2.8) : one;
}

// Each of three heads has its own two blocks of 16 rows.
std::string heads_have_blocks_of_their_own(const emulator::Profile&) {
  const Problem problem({.heads = 3, .seq_q = 17, .seq_kv = 50});
  return held("3 heads of 17 rows in blocks of 16, on 5 SMs", estimate_tall_us(problem, 5), 2 * 2.1);
}

std::string tall_blocks_for_many_rows(const emulator::Profile& profile) {
  if (counters_of(profile, "tall_kernel").global_load_sectors_ideal > 0) return "";
  return "2 heads of 600 rows are 300 blocks of 4 rows, three waves on 132 SMs, or 76 blocks of 16, one "
         "wave; attend should launch tall_kernel";
}

const Task task = {.number = "08.1",
                   .title = "waves",
                   .cases = {{.shape = {.heads = 2, .seq_q = 600, .seq_kv = 40}},
                             {.shape = {.heads = 1, .seq_q = 20, .seq_kv = 90, .causal = true}}},
                   .questions = {waves_are_whole, heads_have_blocks_of_their_own, tall_blocks_for_many_rows}};

}  // namespace attention::exercise
