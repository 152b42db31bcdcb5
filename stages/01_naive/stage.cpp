#include "attention/stage.hpp"

namespace attention::naive {

// Defined in kernel.cu.
LaunchFunction unfused, one_pass;
WorkspaceFunction unfused_workspace_bytes;

namespace {

constexpr Variant kVariants[] = {
    {.name = "unfused",
     .idea = "three launches, one thread an element, scores in global memory",
     .techniques = {Technique::custom_kernel},
     .launch = unfused,
     .supports = supports_usual_shapes,
     .workspace_bytes = unfused_workspace_bytes},
    {.name = "one_pass",
     .idea = "one launch, one warp a query row, running maximum and sum",
     .techniques = {Technique::custom_kernel, Technique::coalesced_access},
     .launch = one_pass,
     .supports = supports_usual_shapes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "01_naive", .title = "the formula, one thread an element", .variants = kVariants};

}  // namespace attention::naive
