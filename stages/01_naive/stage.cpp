#include "attention/stage.hpp"

namespace attention::naive {

// Each in a file of its name.
LaunchFunction unfused, one_pass;
WorkspaceFunction unfused_workspace_bytes;

namespace {

constexpr Variant kVariants[] = {
    {.name = "unfused",
     .idea = "three launches, one thread per element, scores in global memory",
     .techniques = {Technique::custom_kernel},
     .launch = unfused,
     .supports = supports_usual_shapes,
     .workspace_bytes = unfused_workspace_bytes},
    {.name = "one_pass",
     .idea = "one launch, one warp per query row, running maximum and sum",
     .rewrite = "three launches become one, with other work for each thread",
     .techniques = {Technique::custom_kernel, Technique::coalesced_access},
     .launch = one_pass,
     .supports = supports_usual_shapes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "01_naive", .title = "the formula, one thread per element", .variants = kVariants};

}  // namespace attention::naive
