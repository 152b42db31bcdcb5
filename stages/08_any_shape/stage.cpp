#include "attention/stage.hpp"

#include "choice.hpp"

namespace attention::any_shape {

// Defined in chosen.cpp.
LaunchFunction chosen;

namespace {

Support supports(const Problem& problem, const Device& device) {
  if (choose(problem, device)) return Support::yes();
  return candidates().front().variant().supports(problem, device);
}

constexpr Variant kVariants[] = {
    {.name = "chosen",
     .idea = "the variant of all stages that is estimated to be fastest",
     // Those of what is chosen for the headline shape; no fusion, because few rows may take two kernels.
     .techniques = {Technique::custom_kernel, Technique::shared_memory_tiling, Technique::xor_swizzle,
                    Technique::wgmma, Technique::tma, Technique::cluster_reduction,
                    Technique::programmatic_dependent_launch, Technique::multi_kernel},
     .launch = chosen,
     .supports = supports,
     .workspace_bytes = chosen_workspace_bytes},
};

}  // namespace

extern const Stage stage;
const Stage stage = {.name = "08_any_shape", .title = "one function for every shape", .variants = kVariants};

}  // namespace attention::any_shape
