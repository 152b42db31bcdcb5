#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string_view>

namespace attention {

/// What a variant, or the harness, can claim to do. A claim is checked: common/tools/evidence has a checker for each
/// of these, which looks at the machine code, the launches and the counters of every variant that claims it.
enum class Technique {
  custom_kernel,                  ///< own device code, no library call
  coalesced_access,               ///< requests to global memory touch no more sectors than their bytes need
  shared_memory_tiling,           ///< K and V are read once for many query rows, through shared memory
  wide_loads,                     ///< 16 bytes per lane from global memory
  no_bank_conflicts,              ///< accesses to shared memory take no more wavefronts than their bytes need
  l2_persistence,                 ///< data is marked to stay in a part of L2 that is set aside
  wmma,                           ///< tensor cores through the WMMA API, 16 x 16 x 16
  fp16_accumulation,              ///< products are accumulated in FP16
  double_buffering,               ///< the next tile is loaded to a second buffer while this one is used
  warp_specialization,            ///< some warps load, others multiply
  fusion,                         ///< one launch; the scores never leave the SM
  cp_async,                       ///< copies from global to shared memory that bypass the registers
  xor_swizzle,                    ///< 16-byte chunks are permuted within a row: no bank conflicts, no padding
  multi_stage_pipeline,           ///< several tiles in flight by cp.async
  multi_kernel,                   ///< keys are split over blocks; a second launch combines partial results
  cluster_reduction,              ///< keys are split over a cluster's blocks, combined in shared memory
  programmatic_dependent_launch,  ///< the kernel starts while the previous one drains
  graphs,                         ///< of the harness: calls are captured and replayed
  streams,                        ///< of the harness: calls of several requests may run at once
  wgmma,                          ///< Hopper's warpgroup matrix products
  tma,                            ///< Hopper's tensor memory accelerator
  setmaxnreg,                     ///< warpgroups change their register budgets
  tuned_by_search,                ///< a search found its code, and every trial is in a log
};

/// The names of the techniques, in the order of the enumerators.
inline constexpr std::string_view kTechniqueNames[] = {
    "custom_kernel",
    "coalesced_access",
    "shared_memory_tiling",
    "wide_loads",
    "no_bank_conflicts",
    "l2_persistence",
    "wmma",
    "fp16_accumulation",
    "double_buffering",
    "warp_specialization",
    "fusion",
    "cp_async",
    "xor_swizzle",
    "multi_stage_pipeline",
    "multi_kernel",
    "cluster_reduction",
    "programmatic_dependent_launch",
    "graphs",
    "streams",
    "wgmma",
    "tma",
    "setmaxnreg",
    "tuned_by_search",
};
static_assert(std::size(kTechniqueNames) == std::size_t(Technique::tuned_by_search) + 1);

/// A set of techniques. A variant usually has those of the variant before it + one more.
class Techniques {
 public:
  constexpr Techniques() = default;
  constexpr Techniques(std::initializer_list<Technique> techniques) {
    for (const Technique technique : techniques) bits_ |= bit(technique);
  }
  constexpr bool contains(Technique technique) const { return bits_ & bit(technique); }
  friend constexpr Techniques operator+(Techniques some, Techniques more) {
    some.bits_ |= more.bits_;
    return some;
  }
  friend constexpr Techniques operator-(Techniques some, Techniques less) {
    some.bits_ &= ~less.bits_;
    return some;
  }

 private:
  static constexpr std::uint32_t bit(Technique technique) { return 1u << unsigned(technique); }
  std::uint32_t bits_ = 0;
};

}  // namespace attention
