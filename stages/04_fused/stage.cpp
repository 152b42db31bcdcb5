#include "attention/stage.hpp"

namespace attention::fused {

// Defined in kernel.cu.
LaunchFunction fused, cp_async, swizzled, pipelined, q_in_registers, fitted;

namespace {

constexpr Techniques kFused = {Technique::custom_kernel, Technique::shared_memory_tiling, Technique::fusion};
constexpr Techniques kCpAsync = kFused + Techniques{Technique::cp_async};
constexpr Techniques kSwizzled = kCpAsync + Techniques{Technique::xor_swizzle, Technique::no_bank_conflicts};
constexpr Techniques kPipelined =
    kSwizzled + Techniques{Technique::double_buffering, Technique::multi_stage_pipeline};
constexpr Techniques kQInRegisters =
    kPipelined + Techniques{Technique::coalesced_access};  // O leaves in whole rows

constexpr Variant kVariants[] = {
    {.name = "fused",
     .idea = "one launch, online softmax between two matrix products",
     .techniques = kFused + Techniques{Technique::wide_loads},
     .launch = fused,
     .supports = supports_usual_shapes},
    {.name = "cp_async",
     .idea = "copies go to shared memory past the registers",
     .techniques = kCpAsync,
     .launch = cp_async,
     .supports = supports_usual_shapes},
    {.name = "swizzled",
     .idea = "XOR swizzle of 16-byte chunks: no bank conflicts, no padding",
     .techniques = kSwizzled,
     .launch = swizzled,
     .supports = supports_usual_shapes},
    {.name = "pipelined",
     .idea = "the next tile is on its way while this one is used",
     .techniques = kPipelined,
     .launch = pipelined,
     .supports = supports_usual_shapes},
    {.name = "q_in_registers",
     .idea = "Q, the scale, most rescaling and row sums leave the loop",
     .techniques = kQInRegisters,
     .launch = q_in_registers,
     .supports = supports_usual_shapes},
    {.name = "fitted",
     .idea = "a block's shape follows the problem's",
     .techniques = kQInRegisters,
     .launch = fitted,
     .supports = supports_usual_shapes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "04_fused", .title = "one kernel, scores in registers", .variants = kVariants};

}  // namespace attention::fused
