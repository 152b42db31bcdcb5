#include "attention/stage.hpp"

namespace attention::fused {

// Each in a file of its name.
LaunchFunction fused, cp_async, swizzled, pipelined;
LaunchFunction q_in_registers, exp2, lazy_rescale, mma_row_sums, wide_stores;
LaunchFunction two_row_tiles, split_keys;
std::size_t split_keys_smem_bytes(int head_dim);

namespace {

// The one variant whose tiles may be too large for a device: sm_86 and sm_89 have 99 KB per block.
Support supports_split_keys(const Problem& problem, const Device& device) {
  Support shape = supports_usual_shapes(problem, device);
  return shape.ok ? supports_smem(split_keys_smem_bytes(problem.head_dim), device) : shape;
}

constexpr Techniques kFused = {Technique::custom_kernel, Technique::shared_memory_tiling, Technique::fusion};
constexpr Techniques kCpAsync = kFused + Techniques{Technique::cp_async};
constexpr Techniques kSwizzled = kCpAsync + Techniques{Technique::xor_swizzle, Technique::no_bank_conflicts};
constexpr Techniques kPipelined =
    kSwizzled + Techniques{Technique::double_buffering, Technique::multi_stage_pipeline};
constexpr Techniques kWideStores = kPipelined + Techniques{Technique::coalesced_access};

constexpr Variant kVariants[] = {
    {.name = "fused",
     .idea = "one launch, online softmax between two matrix products",
     .techniques = kFused + Techniques{Technique::wide_loads},
     .launch = fused,
     .supports = supports_usual_shapes},
    {.name = "cp_async",
     .idea = "cp.async copies to shared memory, bypassing the registers",
     .techniques = kCpAsync,
     .launch = cp_async,
     .supports = supports_usual_shapes},
    {.name = "swizzled",
     .idea = "XOR swizzle of 16-byte chunks: no bank conflicts, no padding",
     .techniques = kSwizzled,
     .launch = swizzled,
     .supports = supports_usual_shapes},
    {.name = "pipelined",
     .idea = "the next tile is copied while this one is used",
     .techniques = kPipelined,
     .launch = pipelined,
     .supports = supports_usual_shapes},
    {.name = "q_in_registers",
     .idea = "the fragments of Q are read once and held",
     .techniques = kPipelined,
     .launch = q_in_registers,
     .supports = supports_usual_shapes},
    {.name = "exp2",
     .idea = "scale and log2(e) in one multiply-add before each exp2",
     .techniques = kPipelined,
     .launch = exp2,
     .supports = supports_usual_shapes},
    {.name = "lazy_rescale",
     .idea = "O is rescaled only when a maximum has grown by more than 8",
     .techniques = kPipelined,
     .launch = lazy_rescale,
     .supports = supports_usual_shapes},
    {.name = "mma_row_sums",
     .idea = "the tensor cores add up the rows of P, times a column of ones",
     .techniques = kPipelined,
     .launch = mma_row_sums,
     .supports = supports_usual_shapes},
    {.name = "wide_stores",
     .idea = "O leaves through shared memory, 16 bytes per lane",
     .techniques = kWideStores,
     .launch = wide_stores,
     .supports = supports_usual_shapes},
    {.name = "two_row_tiles",
     .idea = "32 rows per warp: each fragment of K and V serves two row tiles",
     .rewrite = "every fragment of Q, S, P and O gets a second row tile",
     .techniques = kWideStores,
     .launch = two_row_tiles,
     .supports = supports_usual_shapes},
    {.name = "split_keys",
     .idea = "32 rows per block, the keys split over four groups of warps",
     .rewrite = "goes back to one row tile per warp: its step is from wide_stores",
     .techniques = kWideStores,
     .launch = split_keys,
     .supports = supports_split_keys},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "04_fused", .title = "one kernel, scores in registers", .variants = kVariants};

}  // namespace attention::fused
