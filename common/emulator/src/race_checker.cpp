#include "race_checker.hpp"

#include <algorithm>

#include "device_memory.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

constexpr int kCellBytes = 2;
constexpr int kChunkShift = 16;
constexpr std::size_t kCellsPerChunk = (std::size_t(1) << kChunkShift) / kCellBytes;

// Which of a cell's two bytes the access [begin, end) covers, for the cell that starts at `cell_begin`.
std::uint8_t covered_bytes(std::uintptr_t cell_begin, std::uintptr_t begin, std::uintptr_t end) {
  return std::uint8_t((cell_begin >= begin) | (cell_begin + 1 < end) << 1);
}

}  // namespace

void RaceChecker::begin_block(Worker& worker) {
  worker_ = &worker;
  first_tick_ = ++tick_;
  for (int warp = 0; warp < kWarps; ++warp) {
    warp_tick_[warp] = first_tick_;
    all_known_[warp] = first_tick_ - 1;
    std::fill_n(known_[warp], kWarps, first_tick_ - 1);
  }
  for (auto& barrier : released_) std::fill_n(barrier, kWarps, first_tick_ - 1);
  const std::size_t cells = (std::size_t(worker.static_bytes()) + kMaxSmemBytes) / kCellBytes + 1;
  if (shared_.size() != cells) {
    shared_.assign(cells, Cell{});
    in_flight_.assign(cells, false);
  } else if (any_in_flight_) {
    in_flight_.assign(cells, false);
  }
  any_in_flight_ = false;
  // What earlier blocks left in a chunk counts as old by its ticks, so chunks need no clearing to serve
  // elsewhere.
  for (const std::size_t chunk : used_chunks_) free_chunks_.push_back(std::move(global_[chunk]));
  used_chunks_.clear();
  if (global_.empty()) global_.resize((DeviceMemory::instance().range_bytes() >> kChunkShift) + 1);
}

// ---- Order ----

bool RaceChecker::is_over(std::uint16_t thread, std::uint32_t tick) const {
  const int warp = thread / 32;
  if (thread == self_) return true;
  if (warp == self_warp_) return tick < warp_tick_[warp];
  return tick <= known_[self_warp_][warp];
}

void RaceChecker::block_barrier() {
  const std::uint32_t over = tick_++;
  for (int warp = 0; warp < kWarps; ++warp) {
    std::fill_n(known_[warp], kWarps, over);
    all_known_[warp] = over;
    warp_tick_[warp] = tick_;
  }
}

void RaceChecker::warp_barrier(int warp) {
  warp_tick_[warp] = ++tick_;
}

void RaceChecker::named_barrier_arrived(int id, int warp) {
  std::uint32_t* released = released_[id];
  for (int other = 0; other < kWarps; ++other)
    released[other] = std::max(released[other], known_[warp][other]);
  released[warp] = tick_;
  warp_tick_[warp] = ++tick_;
}

void RaceChecker::named_barrier_passed(int id, int warp) {
  for (int other = 0; other < kWarps; ++other) {
    known_[warp][other] = std::max(known_[warp][other], released_[id][other]);
  }
  all_known_[warp] = *std::min_element(known_[warp], known_[warp] + worker_->warp_count);
  warp_tick_[warp] = ++tick_;
}

void RaceChecker::named_barrier_complete(int id) {
  std::fill_n(released_[id], kWarps, first_tick_ - 1);
}

// ---- Accesses ----

void RaceChecker::shared_access(std::ptrdiff_t offset, int bytes, Access access, std::uint32_t place) {
  self_ = worker_->current->linear;
  self_warp_ = self_ / 32;
  const std::uintptr_t begin = std::uintptr_t(offset), end = begin + std::uintptr_t(bytes);
  for (std::uintptr_t at = begin & ~std::uintptr_t(1); at < end; at += kCellBytes) {
    Cell& cell = shared_[at / kCellBytes];
    if (any_in_flight_ && in_flight_[at / kCellBytes] && access != Access::async_store) {
      if (worker_->first_time(ReportKind::in_flight_access, worker_->tracer->pc_of(place))) {
        std::string variable;
        const std::string name = worker_->shared_name(offset, &variable);
        report({.kind = ReportKind::in_flight_access,
                .site = {},
                .pc = worker_->tracer->pc_of(place),
                .message = text("%s thread %d %s %s before the copy into it was waited for",
                                worker_->block_name().c_str(), self_, is_write(access) ? "writes" : "reads",
                                name.c_str()),
                .threads = {self_},
                .variable = variable});
      }
      return;
    }
    check(cell, covered_bytes(at, begin, end), access, place, true, std::uintptr_t(offset));
  }
}

RaceChecker::Cell* RaceChecker::global_cells(const char* address) {
  const std::size_t chunk = std::size_t(address - DeviceMemory::instance().base()) >> kChunkShift;
  if (global_[chunk]) return global_[chunk].get();
  used_chunks_.push_back(chunk);
  if (free_chunks_.empty()) {
    global_[chunk] = std::make_unique<Cell[]>(kCellsPerChunk);
  } else {
    global_[chunk] = std::move(free_chunks_.back());
    free_chunks_.pop_back();
  }
  return global_[chunk].get();
}

void RaceChecker::global_access(const char* address, int bytes, Access access, std::uint32_t place) {
  self_ = worker_->current->linear;
  self_warp_ = self_ / 32;
  const auto base = reinterpret_cast<std::uintptr_t>(DeviceMemory::instance().base());
  const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(address) - base,
                       end = begin + std::uintptr_t(bytes);
  for (std::uintptr_t at = begin & ~std::uintptr_t(1); at < end; at += kCellBytes) {
    Cell* cells = global_cells(reinterpret_cast<const char*>(base + at));
    check(cells[at / kCellBytes % kCellsPerChunk], covered_bytes(at, begin, end), access, place, false,
          reinterpret_cast<std::uintptr_t>(address));
  }
}

void RaceChecker::set_in_flight(std::ptrdiff_t offset, int bytes, bool in_flight) {
  any_in_flight_ = any_in_flight_ || in_flight;
  const std::size_t first = std::size_t(offset) / kCellBytes;
  std::fill_n(in_flight_.begin() + std::ptrdiff_t(first), (bytes + 1) / kCellBytes, in_flight);
}

void RaceChecker::check(Cell& cell, std::uint8_t bytes, Access access, std::uint32_t place, bool shared,
                        std::uintptr_t where) {
  const bool writes = access == Access::store || access == Access::async_store || access == Access::atomic;
  const bool reads = !writes || access == Access::atomic;

  if (shared && reads && cell.write_tick < first_tick_ &&
      worker_->first_time(ReportKind::uninitialized_shared, worker_->tracer->pc_of(place))) {
    std::string variable;
    const std::string name = worker_->shared_name(std::ptrdiff_t(where), &variable);
    report({.kind = ReportKind::uninitialized_shared,
            .site = {},
            .pc = worker_->tracer->pc_of(place),
            .message = text("%s thread %d reads %s, which nobody has written", worker_->block_name().c_str(),
                            self_, name.c_str()),
            .threads = {self_},
            .variable = variable});
  }

  // After an earlier write: in order, or by two atomics, or to the other byte?
  if (cell.write_tick >= first_tick_ && (cell.write_bytes & bytes) &&
      !(access == Access::atomic && cell.write_was_atomic) && !is_over(cell.write_thread, cell.write_tick)) {
    found_race(cell, writes ? "write after write" : "read after write", cell.write_thread, cell.write_place,
               place, shared, where);
  }
  if (!writes) {
    note_read(cell, bytes, place);
    return;
  }

  // After earlier reads, by anybody but this thread.
  if (cell.read_tick >= first_tick_ && (cell.read_bytes & bytes) && access != Access::atomic) {
    bool races = false;
    for (std::uint32_t warps = cell.read_warps; warps && !races; warps &= warps - 1) {
      const int warp = __builtin_ctz(warps);
      if (warp != self_warp_)
        races = cell.read_tick > known_[self_warp_][warp];
      else
        races = cell.read_tick >= warp_tick_[warp] && (cell.several_readers || cell.read_thread != self_);
    }
    if (races) {
      found_race(cell, "write after read", cell.read_thread, cell.read_place, place, shared, where);
      cell.read_tick = 0;
    }
  }
  cell.write_tick = warp_tick_[self_warp_];
  cell.write_thread = std::uint16_t(self_);
  cell.write_bytes = bytes;
  cell.write_place = place;
  cell.write_was_atomic = access == Access::atomic;
}

// Keeps the readers that a later write could race with: those that are over for this reader are over for
// whoever comes after it in order.
void RaceChecker::note_read(Cell& cell, std::uint8_t bytes, std::uint32_t place) {
  const std::uint32_t now = warp_tick_[self_warp_];
  const std::uint32_t own_warp = 1u << self_warp_;
  if (cell.read_tick == now && cell.read_thread == self_ && (cell.read_bytes & bytes) == bytes) return;
  const bool earlier_are_over = cell.read_tick <= all_known_[self_warp_] && cell.read_tick < now;
  const bool same_warp_is_over = cell.read_warps == own_warp && cell.read_tick < now;
  if (cell.read_tick < first_tick_ || earlier_are_over || same_warp_is_over) {
    cell.read_warps = own_warp;
    cell.several_readers = false;
    cell.read_bytes = bytes;
    cell.read_tick = now;
  } else {
    cell.read_warps |= own_warp;
    cell.several_readers = cell.several_readers || cell.read_thread != self_;
    cell.read_bytes |= bytes;
    cell.read_tick = std::max(cell.read_tick, now);
  }
  cell.read_thread = std::uint16_t(self_);
  cell.read_place = place;
}

void RaceChecker::found_race(const Cell& cell, const char* what, int other, std::uint32_t other_place,
                             std::uint32_t place, bool shared, std::uintptr_t where) {
  (void)cell;
  const ReportKind kind = shared ? ReportKind::shared_race : ReportKind::global_race;
  const std::uintptr_t pc = worker_->tracer->pc_of(place);
  if (!worker_->first_time(kind, pc)) return;
  std::string variable;
  const std::string name = shared ? worker_->shared_name(std::ptrdiff_t(where), &variable)
                                  : DeviceMemory::instance().describe(reinterpret_cast<const char*>(where));
  report({.kind = kind,
          .site = {},
          .pc = pc,
          .message = text("%s: %s threads %d and %d at %s, with nothing between that orders them", what,
                          worker_->block_name().c_str(), other, self_, name.c_str()),
          .threads = {other, self_},
          .variable = variable,
          .other_pc = worker_->tracer->pc_of(other_place)});
}

}  // namespace emulator
