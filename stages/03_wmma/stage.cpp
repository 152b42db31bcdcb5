#include "attention/stage.hpp"

namespace attention::wmma {

// Defined in kernel.cu.
LaunchFunction wmma, f16_accumulate, double_buffered, warp_specialized;
WorkspaceFunction score_workspace_bytes;

namespace {

constexpr Variant kVariants[] = {
    {.name = "wmma",
     .idea = "both products on tensor cores, FP32 accumulators",
     .launch = wmma,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
    {.name = "f16_accumulate",
     .idea = "PV summed in FP16 accumulators: half the registers, a larger error",
     .launch = f16_accumulate,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes,
     .error_factor = 4.0},
    {.name = "double_buffered",
     .idea = "FP32 again; the next tile is on its way while this one is multiplied",
     .launch = double_buffered,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
    {.name = "warp_specialized",
     .idea = "producer warps load, consumer warps multiply, named barriers between",
     .launch = warp_specialized,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "03_wmma", .title = "tensor cores through WMMA", .variants = kVariants};

}  // namespace attention::wmma
