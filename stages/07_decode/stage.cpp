#include "attention/stage.hpp"

#include <fmt/format.h>

namespace attention::decode {

// Each in a file of its name.
LaunchFunction one_block, split_kv;
WorkspaceFunction split_kv_workspace_bytes;
// Shared memory of a block; in one_block.cu.
std::size_t smem_bytes(int head_dim);

namespace {

Support supports(const Problem& problem, const Device& device) {
  if (problem.head_dim != 64 && problem.head_dim != 128) {
    return Support::no(fmt::format("head_dim must be 64 or 128, got {}", problem.head_dim));
  }
  Support smem = supports_smem(smem_bytes(problem.head_dim), device);
  return smem.ok ? supports_usual_shapes(problem, device) : smem;
}

constexpr Techniques kOneBlock = {Technique::custom_kernel, Technique::shared_memory_tiling,
                                  Technique::fusion,        Technique::cp_async,
                                  Technique::xor_swizzle,   Technique::no_bank_conflicts};

constexpr Variant kVariants[] = {
    {.name = "one_block",
     .idea = "one block per 32 rows walks over all keys, its warps split them",
     .techniques = kOneBlock,
     .launch = one_block,
     .supports = supports},
    {.name = "split_kv",
     .idea = "keys split over blocks, a second kernel combines",
     .techniques = kOneBlock - Techniques{Technique::fusion} + Techniques{Technique::multi_kernel},
     .launch = split_kv,
     .supports = supports,
     .workspace_bytes = split_kv_workspace_bytes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "07_decode", .title = "few rows and many keys", .variants = kVariants};

}  // namespace attention::decode
