#include "attention/stage.hpp"

#include <algorithm>

#include "attention/launch.hpp"
#include "attention/text.hpp"
#include "choice.hpp"

namespace attention::tuned {

// Defined in kernel.cu.
LaunchFunction key_split, pdl, split_kv;
WorkspaceFunction split_kv_workspace_bytes;
std::size_t smem_bytes(int head_dim);

// Defined in kernel_wgmma.cu.
LaunchFunction wgmma, cluster, exp_poly, cluster_pdl;

// Defined in kernel_exchange.cu.
LaunchFunction exchange, lazy_max;

// Defined in kernel_long.cu.
LaunchFunction tma_pipeline, warp_specialized, ping_pong, intra_overlap, persistent;

namespace {

std::string capability_in_words(const Device& device) {
  return device.name + " has " + std::to_string(device.compute_capability / 10) + "." +
         std::to_string(device.compute_capability % 10);
}

Support supports_head_dim(const Problem& problem) {
  if (problem.head_dim == 64 || problem.head_dim == 128) return Support::yes();
  return Support::no("head_dim must be 64 or 128, got " + std::to_string(problem.head_dim));
}

// Also what `chosen` asks for: every choice can do the shapes that key_split can, and is made only for
// devices that have what it needs.
Support supports_key_split(const Problem& problem, const Device& device) {
  if (const Support head_dim = supports_head_dim(problem); !head_dim.ok) return head_dim;
  const std::size_t smem = smem_bytes(problem.head_dim);
  if (smem > device.smem_per_block_bytes) {
    return Support::no("needs " + bytes_in_words(smem) + " of shared memory a block, " + device.name +
                       " has " + bytes_in_words(device.smem_per_block_bytes));
  }
  return supports_usual_shapes(problem, device);
}

Support supports_pdl(const Problem& problem, const Device& device) {
  if (device.compute_capability < 90) {
    return Support::no("programmatic dependent launch needs compute capability 9.0, " +
                       capability_in_words(device));
  }
  return supports_key_split(problem, device);
}

constexpr Techniques kKeySplit = {Technique::custom_kernel, Technique::shared_memory_tiling,
                                  Technique::fusion,        Technique::cp_async,
                                  Technique::xor_swizzle,   Technique::no_bank_conflicts};

Support supports_hopper(const Device& device) {
  if (device.compute_capability == 90) return Support::yes();
  return Support::no("needs wgmma and TMA, which only compute capability 9.0 has; " +
                     capability_in_words(device));
}

// Hopper's variants for the headline shape: one pass over the keys. Here and below, shapes are looked at
// first, so that a refusal names what can be changed.
Support supports_one_pass(const Problem& problem, const Device& device) {
  if (problem.head_dim != 64)
    return Support::no("head_dim must be 64, got " + std::to_string(problem.head_dim));
  if (problem.seq_kv > 512) {
    return Support::no("seq_kv must be at most 512, got " + std::to_string(problem.seq_kv));
  }
  const Support shape = supports_usual_shapes(problem, device);
  return shape.ok ? supports_hopper(device) : shape;
}

// The variants for large shapes.
Support supports_long(const Problem& problem, const Device& device) {
  if (const Support head_dim = supports_head_dim(problem); !head_dim.ok) return head_dim;
  const Support shape = supports_usual_shapes(problem, device);
  return shape.ok ? supports_hopper(device) : shape;
}

constexpr Techniques kWgmma = {Technique::custom_kernel, Technique::shared_memory_tiling,
                               Technique::fusion,        Technique::xor_swizzle,
                               Technique::wgmma,         Technique::tma};
constexpr Techniques kCluster = kWgmma + Techniques{Technique::cluster_reduction};
constexpr Techniques kSpecialized =
    kWgmma + Techniques{Technique::warp_specialization, Technique::setmaxnreg};

// The row blocks taken so far.
std::size_t counter_bytes(const Problem&) {
  return sizeof(int);
}

LaunchFunction chosen;

// Whatever the choice falls on, which depends on the device.
std::size_t chosen_workspace_bytes(const Problem& problem) {
  return std::max(counter_bytes(problem), split_kv_workspace_bytes(problem));
}

constexpr Variant kVariants[] = {
    {.name = "key_split",
     .idea = "32 rows a block, the keys split over its warps, no loop",
     .techniques = kKeySplit,
     .launch = key_split,
     .supports = supports_key_split},
    {.name = "pdl",
     .idea = "starts while the kernel before it drains",
     .techniques = kKeySplit + Techniques{Technique::programmatic_dependent_launch},
     .launch = pdl,
     .supports = supports_pdl},
    {.name = "split_kv",
     .idea = "few rows, many keys: keys split over blocks, a second kernel combines",
     .techniques = kKeySplit - Techniques{Technique::fusion} + Techniques{Technique::multi_kernel},
     .launch = split_kv,
     .supports = supports_key_split,
     .workspace_bytes = split_kv_workspace_bytes},
    {.name = "wgmma",
     .idea = "up to 512 keys in one pass, 64 rows a block, TMA and wgmma",
     .techniques = kWgmma,
     .launch = wgmma,
     .supports = supports_one_pass},
    {.name = "cluster",
     .idea = "keys split over two blocks, which exchange 4 KB through shared memory",
     .techniques = kCluster,
     .launch = cluster,
     .supports = supports_one_pass},
    {.name = "exp_poly",
     .idea = "one exponential in eight on the FMA units",
     .techniques = kCluster,
     .launch = exp_poly,
     .supports = supports_one_pass},
    {.name = "cluster_pdl",
     .idea = "the same, ready on every SM before the last call ends; by search",
     .techniques =
         kCluster + Techniques{Technique::programmatic_dependent_launch, Technique::tuned_by_search},
     .launch = cluster_pdl,
     .supports = supports_one_pass},
    {.name = "exchange",
     .idea = "four warpgroups merge at once, a quarter of the columns each",
     .techniques = kCluster + Techniques{Technique::programmatic_dependent_launch},
     .launch = exchange,
     .supports = supports_one_pass},
    {.name = "lazy_max",
     .idea = "exponentials begin with the maximum of the first keys; by search",
     .techniques =
         kCluster + Techniques{Technique::programmatic_dependent_launch, Technique::tuned_by_search},
     .launch = lazy_max,
     .supports = supports_one_pass},
    {.name = "tma_pipeline",
     .idea = "large shapes: wgmma on a ring of tiles that TMA fills",
     .techniques = kWgmma,
     .launch = tma_pipeline,
     .supports = supports_long},
    {.name = "warp_specialized",
     .idea = "a producer warp asks for tiles and gives its registers away",
     .techniques = kSpecialized,
     .launch = warp_specialized,
     .supports = supports_long},
    {.name = "ping_pong",
     .idea = "warpgroups take turns at the tensor cores",
     .techniques = kSpecialized,
     .launch = ping_pong,
     .supports = supports_long},
    {.name = "intra_overlap",
     .idea = "PV of a tile beside the softmax of the next",
     .techniques = kSpecialized,
     .launch = intra_overlap,
     .supports = supports_long},
    {.name = "persistent",
     .idea = "one block an SM takes row block after row block, its loop never stops",
     .techniques = kSpecialized,
     .launch = persistent,
     .supports = supports_long,
     .workspace_bytes = counter_bytes},
    {.name = "chosen",
     .idea = "the one of these that is fastest for the shape",
     // No fusion where split_kv is chosen.
     .techniques = kCluster - Techniques{Technique::fusion} +
                   Techniques{Technique::programmatic_dependent_launch, Technique::multi_kernel},
     .launch = chosen,
     .supports = supports_key_split,
     .workspace_bytes = chosen_workspace_bytes},
};

cudaError_t chosen(const Problem& problem, const Tensors& tensors, void* workspace, cudaStream_t stream) {
  int major = 0, minor = 0;
  for (const cudaError_t status : {device_attribute(&major, cudaDevAttrComputeCapabilityMajor),
                                   device_attribute(&minor, cudaDevAttrComputeCapabilityMinor)}) {
    if (status != cudaSuccess) return status;
  }
  const std::string_view name = choose(problem, 10 * major + minor);
  const auto variant = std::find_if(std::begin(kVariants), std::end(kVariants),
                                    [&](const Variant& any) { return any.name == name; });
  return variant->launch(problem, tensors, workspace, stream);
}

}  // namespace

extern const Stage stage;
const Stage stage = {
    .name = "05_tuned", .title = "the headline shape, as fast as the chip allows", .variants = kVariants};

}  // namespace attention::tuned
