// Evidence has to prove every claim made here.
#include "attention/stage.hpp"

namespace attention::examples {

// Defined in kernel.cu and kernel_hopper.cu.
LaunchFunction split_keys, warpgroups, cluster_sum;
WorkspaceFunction part_bytes;

namespace {

using enum Technique;

constexpr Variant kVariants[] = {
    {.name = "split_keys",
     .idea = "",
     .techniques = {custom_kernel, coalesced_access, multi_kernel},
     .launch = split_keys,
     .supports = supports_usual_shapes,
     .workspace_bytes = part_bytes},
    {.name = "warpgroups",
     .idea = "",
     .techniques = {custom_kernel, warp_specialization, xor_swizzle, wgmma, tma, setmaxnreg},
     .launch = warpgroups,
     .supports = supports_usual_shapes},
    {.name = "cluster_sum",
     .idea = "",
     .techniques = {custom_kernel, cluster_reduction},
     .launch = cluster_sum,
     .supports = supports_usual_shapes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "examples", .title = "what evidence must prove", .variants = kVariants};

}  // namespace attention::examples
