#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace emulator {

struct Worker;

enum class Access : std::uint8_t {
  load,
  store,
  atomic,
  async_load,   ///< the global side of a cp.async
  async_store,  ///< its shared side
  ldmatrix,
};
inline bool is_write(Access access) {
  return access == Access::store || access == Access::async_store;
}

/// Finds pairs of accesses by two threads of a block to the same bytes, one of them a write, that nothing
/// orders.
///
/// What orders: a block barrier everything; a named barrier what its warps did before arriving and what those
/// that waited do after; __syncwarp, and every operation with its warp, the lanes of a warp. Time is counted
/// in ticks, one a synchronisation; each warp carries the tick it is in and, for each other warp, the last
/// tick of that warp it knows to be over (vector clocks, as in FastTrack, Flanagan and Freund 2009, with
/// warps in place of threads).
class RaceChecker {
 public:
  void begin_block(Worker& worker);

  void block_barrier();
  void warp_barrier(int warp);
  void named_barrier_arrived(int id, int warp);
  void named_barrier_passed(int id, int warp);
  void named_barrier_complete(int id);

  /// `place` is an index into the tracer's places, for the report.
  void shared_access(std::ptrdiff_t offset, int bytes, Access access, std::uint32_t place);
  void global_access(const char* address, int bytes, Access access, std::uint32_t place);
  /// Between issue and wait of a cp.async nobody may touch the bytes.
  void set_in_flight(std::ptrdiff_t offset, int bytes, bool in_flight);

 private:
  static constexpr int kWarps = 32;
  static constexpr int kBarriers = 16;
  static constexpr int kNobody = 0xffff;

  // Shadow of two bytes of memory. Ticks before the block's first stand for "never in this block".
  struct Cell {
    std::uint32_t write_tick;
    std::uint32_t read_tick;   // the last of the readers'
    std::uint32_t read_warps;  // bit per warp
    std::uint32_t write_place;
    std::uint32_t read_place;
    std::uint16_t write_thread;
    std::uint16_t read_thread;  // the last reader
    std::uint8_t write_bytes;   // which of the two bytes: bits 0 and 1
    std::uint8_t read_bytes;
    bool several_readers;
    bool write_was_atomic;
  };

  bool is_over(std::uint16_t thread, std::uint32_t tick) const;
  void check(Cell& cell, std::uint8_t bytes, Access access, std::uint32_t place, bool shared,
             std::uintptr_t where);
  void note_read(Cell& cell, std::uint8_t bytes, std::uint32_t place);
  void found_race(const Cell& cell, const char* what, int other, std::uint32_t other_place,
                  std::uint32_t place, bool shared, std::uintptr_t where);
  Cell* global_cells(const char* address);

  Worker* worker_ = nullptr;
  std::uint32_t tick_ = 1;
  std::uint32_t first_tick_ = 1;  // of this block
  std::uint32_t warp_tick_[kWarps] = {};
  std::uint32_t known_[kWarps][kWarps] = {};  // [warp][other]: the other's ticks up to here are over
  std::uint32_t all_known_[kWarps] = {};      // the least of known_[warp]
  std::uint32_t released_[kBarriers][kWarps] = {};

  // The thread that makes the access, looked up once.
  int self_ = 0;
  int self_warp_ = 0;

  std::vector<Cell> shared_;
  std::vector<bool> in_flight_;
  bool any_in_flight_ = false;
  // Shadow of global memory, by 64 KB of it, made where a block first touches it and used again by the next
  // block.
  std::vector<std::unique_ptr<Cell[]>> global_;
  std::vector<std::size_t> used_chunks_;
  std::vector<std::unique_ptr<Cell[]>> free_chunks_;
};

}  // namespace emulator
