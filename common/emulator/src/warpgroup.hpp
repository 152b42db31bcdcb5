#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator/hopper_operations.hpp"
#include "thread.hpp"

namespace emulator {

/// One wgmma, as one warp sees it: each warp of a warpgroup computes its own sixteen rows.
struct WarpProduct {
  WarpgroupProduct what;
  std::uint32_t a[32][4];  ///< by lane, where A is in registers
  Site site;
  std::uintptr_t pc;
};

/// The wgmmas that a warp has not waited for. A product is carried out when the warp waits for it: until then
/// its accumulators hold NaN, so that a register read too early is a wrong answer, and its tiles are not
/// read, so that a tile overwritten too early is one too.
class WarpProducts {
 public:
  void begin_block();

  /// `d` by lane. Returns whether the product's registers were written with no fence since.
  bool issue(const WarpProduct& product, float* const (&d)[32]);
  void fence() { fenced_ = true; }
  void commit();
  /// Carries out all but the latest `groups` groups, oldest first, for the warp with these lanes.
  void wait(Worker& worker, const Thread* lanes, int groups);

  /// Products not waited for, and where the oldest of them is.
  std::size_t outstanding() const { return products_.size(); }
  Site oldest_site() const { return products_.front().product.site; }
  /// Since the block began.
  std::uint64_t issued() const { return issued_; }
  /// Is there a register of this lane at these bytes that a product may still write?
  bool is_pending(int lane, const void* address, int bytes) const;

 private:
  // Registers of the warp that products write. Kept when they are complete, to see whether anything
  // else wrote them.
  struct Accumulators {
    float* of_lane[32];
    int count;                  // floats per lane
    std::vector<float> values;  // 16 rows of 2 * count
    int pending;                // products that are not complete
    bool take();
    void give_back();
    void add(Worker& worker, const Thread* lanes, const WarpProduct& product);
  };
  struct Outstanding {
    WarpProduct product;
    std::size_t accumulators;
  };
  std::size_t accumulators_at(float* const (&d)[32], int count);

  std::vector<Accumulators> accumulators_;
  std::vector<Outstanding> products_;  // oldest first
  std::vector<int> groups_;            // number of products in each committed group, oldest first
  bool fenced_ = false;                // since the last wait
  std::uint64_t issued_ = 0;
};

}  // namespace emulator
