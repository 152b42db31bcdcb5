#include "attention/stage.hpp"

namespace attention::tiled {

// Defined in kernel.cu.
LaunchFunction coalesced, tiled, wide, padded, l2_persist;
WorkspaceFunction workspace_bytes;
SetUpFunction set_aside_l2;
TearDownFunction give_l2_back;

namespace {

// `tiled` stores O in runs of eight halves, half a sector: not coalesced until `wide` stores 16 bytes a lane.
constexpr Techniques kCoalesced = {Technique::custom_kernel, Technique::coalesced_access};
constexpr Techniques kTiled = {Technique::custom_kernel, Technique::shared_memory_tiling};
constexpr Techniques kWide = kTiled + Techniques{Technique::wide_loads, Technique::coalesced_access};
constexpr Techniques kPadded = kWide + Techniques{Technique::no_bank_conflicts};

constexpr Variant kVariants[] = {
    {.name = "coalesced",
     .idea = "lanes on neighbouring elements: whole sectors a request",
     .techniques = kCoalesced,
     .launch = coalesced,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "tiled",
     .idea = "tiles in shared memory, a block of results in registers",
     .techniques = kTiled,
     .launch = tiled,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "wide",
     .idea = "16 bytes an access, global and shared",
     .techniques = kWide,
     .launch = wide,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "padded",
     .idea = "16 bytes of padding a shared row: no bank conflicts",
     .techniques = kPadded,
     .launch = padded,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "l2_persist",
     .idea = "K and V stay in a part of L2 set aside for them",
     .techniques = kPadded + Techniques{Technique::l2_persistence},
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
