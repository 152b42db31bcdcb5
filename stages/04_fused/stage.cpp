#include "attention/stage.hpp"

namespace attention::fused {

// Defined in kernel.cu.
LaunchFunction fused, cp_async, swizzled, pipelined, q_in_registers, fitted;

namespace {

constexpr Variant kVariants[] = {
    {.name = "fused",
     .idea = "one launch, online softmax between two matrix products",
     .launch = fused,
     .supports = supports_usual_shapes},
    {.name = "cp_async",
     .idea = "copies go to shared memory past the registers",
     .launch = cp_async,
     .supports = supports_usual_shapes},
    {.name = "swizzled",
     .idea = "XOR swizzle of 16-byte chunks: no bank conflicts, no padding",
     .launch = swizzled,
     .supports = supports_usual_shapes},
    {.name = "pipelined",
     .idea = "the next tile is on its way while this one is used",
     .launch = pipelined,
     .supports = supports_usual_shapes},
    {.name = "q_in_registers",
     .idea = "Q, the scale, most rescaling and row sums leave the loop",
     .launch = q_in_registers,
     .supports = supports_usual_shapes},
    {.name = "fitted",
     .idea = "a block's shape follows the problem's",
     .launch = fitted,
     .supports = supports_usual_shapes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "04_fused", .title = "one kernel, scores in registers", .variants = kVariants};

}  // namespace attention::fused
