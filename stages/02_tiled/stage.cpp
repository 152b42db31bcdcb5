#include "attention/stage.hpp"

namespace attention::tiled {

// Defined in kernel.cu.
LaunchFunction coalesced, tiled, wide, padded, l2_persist;
WorkspaceFunction workspace_bytes;
SetUpFunction set_aside_l2;
TearDownFunction give_l2_back;

namespace {

constexpr Variant kVariants[] = {
    {.name = "coalesced",
     .idea = "lanes on neighbouring elements: whole sectors a request",
     .launch = coalesced,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "tiled",
     .idea = "tiles in shared memory, a block of results in registers",
     .launch = tiled,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "wide",
     .idea = "16 bytes an access, global and shared",
     .launch = wide,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "padded",
     .idea = "16 bytes of padding a shared row: no bank conflicts",
     .launch = padded,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "l2_persist",
     .idea = "K and V stay in a part of L2 set aside for them",
     .launch = l2_persist,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes,
     .set_up = set_aside_l2,
     .tear_down = give_l2_back},
};

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "02_tiled", .title = "the memory lessons, still three launches", .variants = kVariants};

}  // namespace attention::tiled
