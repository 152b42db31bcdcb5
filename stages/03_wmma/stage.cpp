#include "attention/stage.hpp"

#include "scores.cuh"

namespace attention::wmma {

// Each in a file of its name.
LaunchFunction wmma, f16_accumulate, double_buffered, warp_specialized;

namespace {

// Each of four groups of warps sums a quarter of the keys in FP16, 16 keys per step. A step rounds by at most
// half a unit in the last place of the final sum.
double f16_sums(const Problem& problem) {
  return ceil_div(std::size_t(problem.seq_kv), 4 * 16);
}

constexpr Techniques kWmma = {Technique::custom_kernel,        Technique::coalesced_access,
                              Technique::shared_memory_tiling, Technique::wide_loads,
                              Technique::no_bank_conflicts,    Technique::wmma};

constexpr Variant kVariants[] = {
    {.name = "wmma",
     .idea = "both products on tensor cores, FP32 accumulators",
     .techniques = kWmma,
     .launch = wmma,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
    {.name = "f16_accumulate",
     .idea = "P V summed in FP16 accumulators: half the registers, a larger error",
     .techniques = kWmma + Techniques{Technique::fp16_accumulation},
     .launch = f16_accumulate,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes,
     .extra_roundings = f16_sums},
    {.name = "double_buffered",
     .idea = "FP32 again; the next tile is loaded while this one is multiplied",
     .techniques = kWmma + Techniques{Technique::double_buffering},
     .launch = double_buffered,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
    {.name = "warp_specialized",
     .idea = "producer warps load, consumer warps multiply, named barriers between",
     .rewrite = "one loop for all warps becomes two: one for warps that load, one for warps that multiply",
     .techniques = kWmma + Techniques{Technique::warp_specialization},
     .launch = warp_specialized,
     .supports = supports_usual_shapes,
     .workspace_bytes = score_workspace_bytes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "03_wmma", .title = "tensor cores through WMMA", .variants = kVariants};

}  // namespace attention::wmma
