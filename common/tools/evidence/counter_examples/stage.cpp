// Each variant claims one technique more than it has; evidence has to reject every claim made here.
#include "attention/stage.hpp"

namespace attention::counter_examples {

// Defined in kernel.cu and kernel_hopper.cu.
LaunchFunction library_call, strided, tile_of_one_row, scalar_loads, window_without_limit, limit_kept,
    limit_unused, bank_conflicts, linear_tile, padded_tile, mma_fp32, fp16_error_unstated, plain_copy,
    two_buffers_no_overlap, one_buffer, one_tile_in_flight, warps_alike, warpgroups_alike, hidden_workspace,
    spilled_scores, two_products, attribute_only, instruction_only, cluster_of_strangers, twin, other_twin,
    twin_with_window;
WorkspaceFunction score_bytes;
SetUpFunction set_aside;
TearDownFunction give_back;

namespace {

using enum Technique;

constexpr Variant claim(std::string_view name, LaunchFunction* launch, Techniques claimed) {
  return {
      .name = name, .idea = "", .techniques = claimed, .launch = launch, .supports = supports_usual_shapes};
}

constexpr Variant with(Variant variant, SetUpFunction* set_up, TearDownFunction* tear_down) {
  variant.set_up = set_up;
  variant.tear_down = tear_down;
  return variant;
}

constexpr Variant with(Variant variant, WorkspaceFunction* workspace_bytes) {
  variant.workspace_bytes = workspace_bytes;
  return variant;
}

double a_few(const Problem&) {
  return 4;
}

constexpr Variant with(Variant variant, ExtraRoundingsFunction* extra_roundings) {
  variant.extra_roundings = extra_roundings;
  return variant;
}

Support not_emulated(const Problem&, const Device& device) {
  return device.emulated ? Support::no("waits for registers for ever") : Support::yes();
}

constexpr Variant with(Variant variant, SupportsFunction* supports) {
  variant.supports = supports;
  return variant;
}

constexpr Variant kVariants[] = {
    claim("library_call", library_call, {custom_kernel}),
    claim("strided", strided, {coalesced_access, tuned_by_search}),
    claim("tile_of_one_row", tile_of_one_row, {shared_memory_tiling}),
    claim("scalar_loads", scalar_loads, {wide_loads, tuned_by_search}),
    claim("window_without_limit", window_without_limit, {l2_persistence}),
    with(claim("limit_kept", limit_kept, {l2_persistence}), set_aside, nullptr),
    with(claim("limit_unused", limit_unused, {l2_persistence}), set_aside, give_back),
    claim("bank_conflicts", bank_conflicts, {no_bank_conflicts}),
    claim("linear_tile", linear_tile, {xor_swizzle}),
    claim("padded_tile", padded_tile, {xor_swizzle}),
    with(claim("mma_fp32", mma_fp32, {wmma, wgmma, fp16_accumulation}), a_few),
    claim("fp16_error_unstated", fp16_error_unstated, {fp16_accumulation}),
    claim("plain_copy", plain_copy, {cp_async, tma, setmaxnreg}),
    claim("two_buffers_no_overlap", two_buffers_no_overlap, {double_buffering}),
    claim("one_buffer", one_buffer, {double_buffering}),
    claim("one_tile_in_flight", one_tile_in_flight, {double_buffering, multi_stage_pipeline}),
    claim("warps_alike", warps_alike, {warp_specialization}),
    with(claim("warpgroups_alike", warpgroups_alike, {warp_specialization, xor_swizzle, setmaxnreg}),
         not_emulated),
    claim("hidden_workspace", hidden_workspace, {fusion}),
    claim("spilled_scores", spilled_scores, {fusion}),
    with(claim("two_products", two_products, {fusion, multi_kernel}), score_bytes),
    claim("attribute_only", attribute_only, {programmatic_dependent_launch}),
    claim("instruction_only", instruction_only, {programmatic_dependent_launch}),
    claim("cluster_of_strangers", cluster_of_strangers, {cluster_reduction}),
    // No claims: two are one machine code, and the third is not.
    claim("twin", twin, {}),
    claim("other_twin", other_twin, {}),
    claim("twin_with_window", twin_with_window, {}),
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "counter_examples", .title = "what evidence must reject", .variants = kVariants};

}  // namespace attention::counter_examples
