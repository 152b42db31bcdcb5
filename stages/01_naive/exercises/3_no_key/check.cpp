#include "exercise.hpp"

namespace attention::exercise {

const Task task = {.number = "01.3",
                   .title = "rows that see no key",
                   .cases = {{.shape = {.heads = 1, .seq_q = 32, .causal = true}},
                             {.shape = {.heads = 1, .seq_q = 20, .seq_kv = 50, .causal = true},
                              .hint = "the *last* of 20 queries sees all 50 keys, so the first sees 31"},
                             {.shape = {.heads = 1, .seq_q = 50, .seq_kv = 20, .causal = true},
                              .hint = "30 rows see no key: a count must not be negative, and 0 / 0 is NaN"},
                             {.shape = {.heads = 1, .seq_q = 50, .seq_kv = 20}}}};

}  // namespace attention::exercise
