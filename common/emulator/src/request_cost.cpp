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

RequestCost shared_wavefronts(const std::uint64_t* addresses, std::uint32_t mask, int bytes) {
  const int lanes_at_once = bytes <= 4 ? 32 : bytes == 8 ? 16 : 8;
  RequestCost cost = {0, 0};
  for (int first = 0; first < 32; first += lanes_at_once) {
    std::uint32_t lanes = mask >> first;
    if (lanes_at_once < 32) lanes &= (1u << lanes_at_once) - 1;
    if (!lanes) continue;
    // Distinct words by bank. At most 32 words take part: 8 lanes of 4, 16 of 2, or 32 of 1 (2 where one is
    // split).
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
