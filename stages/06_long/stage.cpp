#include "attention/stage.hpp"

#include <fmt/format.h>

namespace attention::long_rows {

// Each in a file of its name.
LaunchFunction tma_pipeline, warp_specialized, ping_pong, intra_overlap, persistent;

namespace {

// The shape is checked first, so that a refusal names what the caller can change.
Support supports(const Problem& problem, const Device& device) {
  if (problem.head_dim != 64 && problem.head_dim != 128) {
    return Support::no(fmt::format("head_dim must be 64 or 128, got {}", problem.head_dim));
  }
  Support shape = supports_usual_shapes(problem, device);
  return shape.ok ? supports_hopper(device) : shape;
}

// How many row blocks have been taken.
std::size_t counter_bytes(const Problem&) {
  return sizeof(int);
}

constexpr Techniques kWgmma = {Technique::custom_kernel, Technique::shared_memory_tiling,
                               Technique::fusion,        Technique::xor_swizzle,
                               Technique::wgmma,         Technique::tma};
constexpr Techniques kSpecialized =
    kWgmma + Techniques{Technique::warp_specialization, Technique::setmaxnreg};

constexpr Variant kVariants[] = {
    {.name = "tma_pipeline",
     .idea = "wgmma on a ring of tiles that TMA fills",
     .techniques = kWgmma,
     .launch = tma_pipeline,
     .supports = supports},
    {.name = "warp_specialized",
     .idea = "a producer warp loads, and leaves its registers to the others",
     .techniques = kSpecialized,
     .launch = warp_specialized,
     .supports = supports},
    {.name = "ping_pong",
     .idea = "warpgroups take turns at the tensor cores",
     .techniques = kSpecialized,
     .launch = ping_pong,
     .supports = supports},
    {.name = "intra_overlap",
     .idea = "PV of a tile overlaps with the softmax of the next",
     .techniques = kSpecialized,
     .launch = intra_overlap,
     .supports = supports},
    {.name = "persistent",
     .idea = "one block per SM takes row block after row block, its loop never stops",
     .rewrite = "loads, loop and stores all go on from one row block to the next",
     .techniques = kSpecialized,
     .launch = persistent,
     .supports = supports,
     .workspace_bytes = counter_bytes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "06_long", .title = "thousands of rows, where throughput is all", .variants = kVariants};

}  // namespace attention::long_rows
