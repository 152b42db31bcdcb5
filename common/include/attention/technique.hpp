#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <string_view>

namespace attention {

/// What a variant, or the harness, can claim to do. To claim is not enough: tests/evidence has a checker for
/// each of these, which looks at machine code, launches and counters of every variant that names it.
enum class Technique {
  custom_kernel,                  ///< own device code, no library call
  coalesced_access,               ///< requests to global memory touch no sector more than their bytes need
  shared_memory_tiling,           ///< K and V are read once for many rows, by way of shared memory
  wide_loads,                     ///< 16 bytes a lane from global memory
  no_bank_conflicts,              ///< accesses to shared memory take no pass more than their bytes need
  l2_persistence,                 ///< data marked to stay in a part of L2 set aside
  wmma,                           ///< tensor cores through the WMMA API, 16 x 16 x 16
  fp16_accumulation,              ///< sums of products in FP16
  double_buffering,               ///< the next tile is loaded to another buffer before this one is used
  warp_specialization,            ///< some warps load, others multiply
  fusion,                         ///< one launch, and no place for the scores outside of the chip
  cp_async,                       ///< copies from global to shared memory past the registers
  xor_swizzle,                    ///< chunks change places within a row: no bank conflict and no padding
  multi_stage_pipeline,           ///< several tiles in flight by cp.async
  multi_kernel,                   ///< keys split over blocks, partial results combined by a second launch
  cluster_reduction,              ///< keys split over the blocks of a cluster, combined in shared memory
  programmatic_dependent_launch,  ///< starts while the launch before it drains
  graphs,                         ///< of the harness: calls are captured and replayed
  streams,                        ///< of the harness: calls of several requests are free to run at once
  wgmma,                          ///< Hopper's warpgroup products
  tma,                            ///< Hopper's tensor memory accelerator
  setmaxnreg,                     ///< warpgroups hand registers to one another
  tuned_by_search,                ///< a search found its code, and every trial is in a log
};

/// The names of the techniques, in their order.
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

/// A set of techniques: what a variant uses is what the one before it uses + one more.
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
