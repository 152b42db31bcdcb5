#include "attention/stage.hpp"

#include "l2.cuh"
#include "scores.cuh"

namespace attention::tiled {

// Each in a file of its name.
LaunchFunction coalesced, tiled, wide, wide_softmax, padded, l2_persist;

namespace {

// `tiled` stores O in runs of 8 halves, half a sector: not coalesced until `wide` stores 16 bytes per lane.
// The softmax of `wide` still loads 4 bytes per lane: not wide in every kernel until `wide_softmax`.
constexpr Techniques kCoalesced = {Technique::custom_kernel, Technique::coalesced_access};
constexpr Techniques kTiled = {Technique::custom_kernel, Technique::shared_memory_tiling};
constexpr Techniques kWide = kTiled + Techniques{Technique::coalesced_access};
constexpr Techniques kWideSoftmax = kWide + Techniques{Technique::wide_loads};
constexpr Techniques kPadded = kWideSoftmax + Techniques{Technique::no_bank_conflicts};

constexpr Variant kVariants[] = {
    {.name = "coalesced",
     .idea = "lanes on neighbouring elements: whole sectors per request",
     .techniques = kCoalesced,
     .launch = coalesced,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "tiled",
     .idea = "tiles in shared memory, a block of results in registers",
     .rewrite = "a block computes a tile where a warp computed a row, so every loop of both products is new",
     .techniques = kTiled,
     .launch = tiled,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "wide",
     .idea = "16 bytes per lane and access in both products, global and shared",
     .techniques = kWide,
     .launch = wide,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "wide_softmax",
     .idea = "16 bytes per lane and access in the softmax too",
     .techniques = kWideSoftmax,
     .launch = wide_softmax,
     .supports = supports_usual_shapes,
     .workspace_bytes = workspace_bytes},
    {.name = "padded",
     .idea = "16 bytes of padding per row in shared memory: no bank conflicts",
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
