#include "request_cost.hpp"

#include <algorithm>

namespace emulator {

RequestCost global_sectors(const std::uint64_t* addresses, int lanes, int bytes) {
  constexpr int kSectorShift = 5;
  const auto ideal = [&](std::uint32_t work) {
    return RequestCost{work, std::min(work, std::uint32_t(lanes * bytes + 31) >> kSectorShift)};
  };
  // Most requests rise with the lane: then sectors can be counted without sorting them.
  std::uint32_t count = 0;
  std::uint64_t last = ~std::uint64_t(0);
  bool rising = true;
  for (int i = 0; i < lanes && rising; ++i) {
    const std::uint64_t first_sector = addresses[i] >> kSectorShift;
    const std::uint64_t last_sector = (addresses[i] + std::uint64_t(bytes) - 1) >> kSectorShift;
    if (count > 0 && first_sector < last) {
      rising = false;
      break;
    }
    count += std::uint32_t(last_sector - first_sector) + (count == 0 || first_sector != last);
    last = last_sector;
  }
  if (rising) return ideal(count);

  std::uint64_t sectors[128];
  int found = 0;
  for (int i = 0; i < lanes; ++i) {
    const std::uint64_t last_sector = (addresses[i] + std::uint64_t(bytes) - 1) >> kSectorShift;
    for (std::uint64_t sector = addresses[i] >> kSectorShift; sector <= last_sector; ++sector) {
      sectors[found++] = sector;
    }
  }
  std::sort(sectors, sectors + found);
  return ideal(std::uint32_t(std::unique(sectors, sectors + found) - sectors));
}

namespace {

// Does every lane that takes part want what its neighbour wants, the neighbour being `distance` lanes away
// and taking part too?
bool neighbours_agree(const std::uint64_t* addresses, std::uint32_t mask, int distance) {
  for (std::uint32_t lanes = mask; lanes; lanes &= lanes - 1) {
    const int lane = __builtin_ctz(lanes), neighbour = lane ^ distance;
    if (!(mask >> neighbour & 1) || addresses[lane] != addresses[neighbour]) return false;
  }
  return true;
}

// Lanes whose words are gathered in one go: 128 bytes' worth, and twice as many where wide accesses go in
// pairs to one address. The second is not documented; on an H200 the counters of 02_tiled's shared loads
// have it exactly.
int lanes_at_once(const std::uint64_t* addresses, std::uint32_t mask, int bytes) {
  const int lanes = bytes <= 4 ? 32 : 128 / bytes;
  if (bytes <= 4) return lanes;
  const bool pairs = neighbours_agree(addresses, mask, 1) || neighbours_agree(addresses, mask, 2);
  return pairs ? 2 * lanes : lanes;
}

}  // namespace

RequestCost shared_wavefronts(const std::uint64_t* addresses, std::uint32_t mask, int bytes) {
  const int group_lanes = lanes_at_once(addresses, mask, bytes);
  RequestCost cost = {0, 0};
  for (int first = 0; first < 32; first += group_lanes) {
    std::uint32_t lanes = mask >> first;
    if (group_lanes < 32) lanes &= (1u << group_lanes) - 1;
    if (!lanes) continue;
    // Distinct words by bank. At most 32 words take part: 8 lanes of 4, 16 of 2, or 32 of 1 (2 where
    // one is split).
    std::uint64_t words[32][32];
    std::uint8_t count[32] = {};
    std::uint32_t worst = 0;
    for (; lanes; lanes &= lanes - 1) {
      const std::uint64_t begin = addresses[first + __builtin_ctz(lanes)];
      const std::uint64_t last_word = (begin + std::uint64_t(bytes) - 1) >> 2;
      for (std::uint64_t word = begin >> 2; word <= last_word; ++word) {
        const int bank = int(word & 31);
        std::uint8_t& in_bank = count[bank];
        int i = 0;
        while (i < in_bank && words[bank][i] != word) ++i;
        if (i < in_bank || in_bank == 32) continue;
        words[bank][in_bank++] = word;
        worst = std::max<std::uint32_t>(worst, in_bank);
      }
    }
    cost.work += worst;
    cost.ideal += 1;
  }
  return cost;
}

}  // namespace emulator
