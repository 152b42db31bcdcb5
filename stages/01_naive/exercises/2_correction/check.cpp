#include "exercise.hpp"

namespace attention::exercise {

const Task task = {
    .number = "01.2",
    .title = "the running maximum",
    .cases = {
        {.shape = {.heads = 1, .seq_q = 32, .seq_kv = 64},
         .hint = "under a new maximum, a sum of exp(s - old) must be multiplied by exp(old - new)"},
        {.shape = {.heads = 1, .seq_q = 32, .seq_kv = 64},
         .distribution = Distribution::outlier_key,
         .hint = "here one score is far above the others and comes last: everything before it must shrink"},
        {.shape = {.heads = 1, .seq_q = 32, .seq_kv = 64},
         .distribution = Distribution::large_logits,
         .hint = "here exp overflows unless you subtract the maximum from the score first"},
        {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 40, .seq_kv = 20, .causal = true},
         .hint = "exp(-inf - -inf) is NaN: is there a row whose first score changes nothing?"}}};

}  // namespace attention::exercise
