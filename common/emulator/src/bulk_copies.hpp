#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/hopper_operations.hpp"
#include "emulator/site.hpp"
#include "tensor_map.hpp"

namespace emulator {

struct Worker;

/// Something for the copy engine to do: from its issue until it lands.
struct BulkCopy {
  enum class Kind { line, tile, value } kind;
  Site site;
  std::uintptr_t pc;
  std::ptrdiff_t to;  ///< offset in shared memory
  std::ptrdiff_t mbarrier;
  unsigned bytes;
  unsigned ranks;  ///< bit by block of the cluster
  const char* from;
  TensorMap map;
  TileIndex at;
  char value[16];
};

/// A tile on its way to global memory.
struct BulkStore {
  int thread;
  int group;  ///< of the thread's, by number; not committed while it is the thread's next
  Site site;
  std::uintptr_t pc;
  std::ptrdiff_t from;
  TensorMap map;
  TileIndex at;
};

/// What mapa() makes a number of.
struct ClusterAddress {
  unsigned rank;
  std::ptrdiff_t offset;
  explicit ClusterAddress(std::uint32_t number) : rank(number >> 24), offset(number & 0xffffff) {}
  static std::uint32_t number(unsigned rank, std::ptrdiff_t offset) {
    return rank << 24 | std::uint32_t(offset);
  }
};

/// Lets one of the copies that a block has asked for land.
void carry_out(Worker& worker, const BulkCopy& copy);

}  // namespace emulator
