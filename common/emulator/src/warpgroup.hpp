#pragma once

#include <cstdint>
#include <vector>

#include "emulator/hopper_operations.hpp"
#include "emulator/site.hpp"

namespace emulator {

/// The wgmmas of one warp that have not been waited for. Each warp of a warpgroup does its own sixteen rows.
struct WarpProducts {
  /// Registers of the warp that products write. Kept when they are complete, to see whether anything else
  /// wrote them.
  struct Accumulators {
    float* of_lane[32];
    int count;                  ///< floats a lane
    std::vector<float> values;  ///< 16 rows of 2 * count
    int pending;                ///< products that are not complete
  };
  struct Product {
    std::size_t accumulators;
    WarpgroupProduct what;
    std::uint32_t a[32][4];
    Site site;
    std::uintptr_t pc;
  };

  std::vector<Accumulators> accumulators;
  std::vector<Product> products;  ///< oldest first
  std::vector<int> groups;        ///< number of products in each committed group, oldest first
  bool fenced = false;            ///< since the last wait
  std::uint64_t issued = 0;

  /// Forgets everything, for another block.
  void clear();
  /// Is there a register of this lane at these bytes that a product may still write?
  bool is_pending(int lane, const void* address, int bytes) const;
};

}  // namespace emulator
