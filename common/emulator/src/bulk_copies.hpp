#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator/hopper_operations.hpp"
#include "emulator/site.hpp"
#include "tensor_map.hpp"
#include "thread.hpp"

namespace emulator {

/// A bulk copy, a TMA load or an st.async, from its issue until it lands.
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

/// A TMA store, from its issue until its thread waits for it.
struct BulkStore {
  int thread;
  int group;  ///< of the thread's groups, by number; not committed while it is the thread's next
  Site site;
  std::uintptr_t pc;
  std::ptrdiff_t from;
  TensorMap map;
  TileIndex at;
};

/// The bulk copies of one block. A load lands when no thread of the block can run, in any order, so that data
/// that was not waited for is not there; a store reads its tile when its thread waits, so that a tile
/// overwritten too early is stored wrong.
class BulkCopies {
 public:
  explicit BulkCopies(Worker& worker) : worker_(worker) {}
  void begin_block(int thread_count);

  void issue(const BulkCopy& copy);
  bool any_in_flight() const { return !copies_.empty(); }
  /// Lets one of the copies in flight land, chosen at random.
  void land_one();
  const std::vector<BulkCopy>& in_flight() const { return copies_; }

  void issue_store(const Thread& thread, Site site, std::uintptr_t pc, std::ptrdiff_t from,
                   const TensorMap& map, TileIndex at);
  void commit_stores(const Thread& thread);
  /// Carries out the stores of all but the thread's latest `groups` groups.
  void wait_for_stores(const Thread& thread, int groups);
  const std::vector<BulkStore>& stores() const { return stores_; }

 private:
  void carry_out(const BulkCopy& copy);
  void carry_out(const BulkStore& store);

  Worker& worker_;
  std::vector<BulkCopy> copies_;
  std::vector<BulkStore> stores_;
  std::vector<int> committed_groups_;  // of stores, by thread
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

}  // namespace emulator
