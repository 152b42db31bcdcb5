#include "attention/stage.hpp"

#include <fmt/format.h>

#include "key_groups.hpp"

namespace attention::tuned {

// Each in a file of its name.
LaunchFunction key_split, pdl, tma, wgmma, cluster, exp_poly, cluster_pdl, exchange, lazy_max;

namespace {

Support supports_key_split(const Problem& problem, const Device& device) {
  if (problem.head_dim != 64 && problem.head_dim != 128) {
    return Support::no(fmt::format("head_dim must be 64 or 128, got {}", problem.head_dim));
  }
  Support smem = supports_smem(smem_bytes(problem.head_dim), device);
  return smem.ok ? supports_usual_shapes(problem, device) : smem;
}

Support supports_pdl(const Problem& problem, const Device& device) {
  if (device.compute_capability < 90) {
    return Support::no(fmt::format("programmatic dependent launch needs compute capability 9.0, {}",
                                   capability_in_words(device)));
  }
  return supports_key_split(problem, device);
}

// Here and below we look at the shape first, so that a refusal names what can be changed.
Support supports_tma(const Problem& problem, const Device& device) {
  Support shape = supports_key_split(problem, device);
  return shape.ok ? supports_hopper(device) : shape;
}

// One pass over the keys.
Support supports_one_pass(const Problem& problem, const Device& device) {
  if (problem.head_dim != 64) {
    return Support::no(fmt::format("head_dim must be 64, got {}", problem.head_dim));
  }
  if (problem.seq_kv > 512) {
    return Support::no(fmt::format("seq_kv must be at most 512, got {}", problem.seq_kv));
  }
  Support shape = supports_usual_shapes(problem, device);
  return shape.ok ? supports_hopper(device) : shape;
}

constexpr Techniques kKeySplit = {Technique::custom_kernel, Technique::shared_memory_tiling,
                                  Technique::fusion,        Technique::cp_async,
                                  Technique::xor_swizzle,   Technique::no_bank_conflicts};
constexpr Techniques kWgmma = {Technique::custom_kernel, Technique::shared_memory_tiling,
                               Technique::fusion,        Technique::xor_swizzle,
                               Technique::wgmma,         Technique::tma};
constexpr Techniques kCluster = kWgmma + Techniques{Technique::cluster_reduction};
constexpr Techniques kPdl = {Technique::programmatic_dependent_launch};
constexpr Techniques kSearched = {Technique::tuned_by_search};

constexpr Variant kVariants[] = {
    {.name = "key_split",
     .idea = "32 rows per block, keys split over its warps, no loop over tiles",
     .techniques = kKeySplit,
     .launch = key_split,
     .supports = supports_key_split},
    {.name = "pdl",
     .idea = "starts while the previous kernel drains (dependent launch)",
     .techniques = kKeySplit + kPdl,
     .launch = pdl,
     .supports = supports_pdl},
    {.name = "tma",
     .idea = "TMA loads K and V, an mbarrier counts their bytes",
     .techniques = kKeySplit - Techniques{Technique::cp_async, Technique::no_bank_conflicts} + kPdl +
                   Techniques{Technique::tma},
     .launch = tma,
     .supports = supports_tma},
    {.name = "wgmma",
     .idea = "wgmma: 64 rows per block, up to 512 keys in one pass",
     .rewrite = "wgmma's 64 rows and operands in shared memory leave no tile, fragment or merge as it was",
     .techniques = kWgmma,
     .launch = wgmma,
     .supports = supports_one_pass},
    {.name = "cluster",
     .idea = "keys split over a cluster of two blocks, which exchange 4 KB",
     .techniques = kCluster,
     .launch = cluster,
     .supports = supports_one_pass},
    {.name = "exp_poly",
     .idea = "one exponential in eight on the FMA units, as a cubic",
     .techniques = kCluster,
     .launch = exp_poly,
     .supports = supports_one_pass},
    {.name = "cluster_pdl",
     .idea = "ready on every SM before the previous call ends; by search",
     .techniques = kCluster + kPdl + kSearched,
     .launch = cluster_pdl,
     .supports = supports_one_pass},
    {.name = "exchange",
     .idea = "four warpgroups merge at once, a quarter of the columns each",
     .rewrite = "one merge in place of two changes who holds which part of O from the first product on",
     .techniques = kCluster + kPdl,
     .launch = exchange,
     .supports = supports_one_pass},
    {.name = "lazy_max",
     .idea = "exponentials start from the maximum of 16 keys; by search",
     .techniques = kCluster + kPdl + kSearched,
     .launch = lazy_max,
     .supports = supports_one_pass},
};

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "05_tuned", .title = "the headline shape, as fast as the chip allows", .variants = kVariants};

}  // namespace attention::tuned
