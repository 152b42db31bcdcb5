#include "race_checker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

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
  }
  // What clocks hold from previous blocks is older than this block's first tick, and so nothing.
  known_.resize(kWarps);
  released_.resize(kBarriers);
  mbarriers_.clear();
  // What earlier blocks left in a chunk counts as old by its ticks, so chunks need no clearing before reuse.
  for (const std::size_t chunk : used_chunks_) free_chunks_.push_back(std::move(global_[chunk]));
  used_chunks_.clear();
  if (const auto warps = std::size_t(worker.scheduler.warp_count()); warps_ < warps) {
    warps_ = warps;
    readers_.assign(warps_, Reader{});
    shared_.clear();
    free_chunks_.clear();
  }
  const std::size_t cells = (std::size_t(worker.smem.static_bytes()) + kMaxSmemBytes) / kCellBytes + 1;
  if (shared_.size() != cells) {
    shared_.assign(cells, Cell{});
    in_flight_.assign(cells, false);
  } else if (any_in_flight_) {
    in_flight_.assign(cells, false);
  }
  any_in_flight_ = false;
  being_read_.clear();
  if (global_.empty()) global_.resize((DeviceMemory::instance().range_bytes() >> kChunkShift) + 1);
}

// ---- Order ----

void RaceChecker::Clock::merge(const Clock& other) {
  const auto latest = [](auto& mine, const auto& theirs) {
    for (std::size_t i = 0; i < std::size(mine); ++i) mine[i] = std::max(mine[i], theirs[i]);
  };
  latest(of_warp, other.of_warp);
  latest(of_thread, other.of_thread);
  latest(of_mbarrier, other.of_mbarrier);
}

// The tick of what the accessing thread does.
std::uint32_t RaceChecker::now() const {
  return std::max(warp_tick_[self_warp_], thread_tick_[self_]);
}

bool RaceChecker::is_over(std::uint16_t thread, std::uint32_t tick) const {
  const Clock& known = known_[std::size_t(self_warp_)];
  if (thread >= kTma) return tick <= known.of_mbarrier[thread - kTma];
  const int warp = thread / 32;
  if (thread == self_) return true;
  if (warp == self_warp_) return tick < warp_tick_[warp];
  return tick <= known.of_warp[warp] || tick <= known.of_thread[thread];
}

void RaceChecker::block_barrier() {
  const std::uint32_t over = tick_++;
  for (int warp = 1; warp < worker_->scheduler.warp_count(); ++warp)
    known_[0].merge(known_[std::size_t(warp)]);
  std::fill_n(known_[0].of_warp, kWarps, over);
  for (int warp = 0; warp < worker_->scheduler.warp_count(); ++warp) {
    if (warp > 0) known_[std::size_t(warp)] = known_[0];
    all_known_[warp] = over;
    warp_tick_[warp] = tick_;
  }
}

void RaceChecker::warp_barrier(int warp) {
  warp_tick_[warp] = ++tick_;
}

// From here on this is over for the warp.
void RaceChecker::learn(int warp, const Clock& clock) {
  Clock& known = known_[std::size_t(warp)];
  known.merge(clock);
  all_known_[warp] = *std::min_element(known.of_warp, known.of_warp + worker_->scheduler.warp_count());
}

void RaceChecker::named_barrier_arrived(int id, int warp) {
  Clock& released = released_[std::size_t(id)];
  released.merge(known_[std::size_t(warp)]);
  released.of_warp[warp] = tick_;
  warp_tick_[warp] = ++tick_;
}

void RaceChecker::named_barrier_passed(int id, int warp) {
  learn(warp, released_[std::size_t(id)]);
  warp_tick_[warp] = ++tick_;
}

void RaceChecker::named_barrier_complete(int id) {
  released_[std::size_t(id)] = {};
}

// ---- mbarriers ----

RaceChecker::Mbarrier& RaceChecker::mbarrier_at(std::ptrdiff_t offset) {
  for (Mbarrier& known : mbarriers_) {
    if (known.offset == offset) return known;
  }
  return mbarriers_.emplace_back(Mbarrier{offset, ++tick_, {}, {}});
}

void RaceChecker::mbarrier_initialised(std::ptrdiff_t offset) {
  mbarrier_at(offset);
}

void RaceChecker::mbarrier_arrived(std::ptrdiff_t offset) {
  self_ = worker_->current().linear;
  self_warp_ = self_ / 32;
  Clock& arrived = mbarrier_at(offset).arrived;
  arrived.merge(known_[std::size_t(self_warp_)]);
  // Of the other lanes only what is over for this one.
  arrived.of_warp[self_warp_] = std::max(arrived.of_warp[self_warp_], warp_tick_[self_warp_] - 1);
  arrived.of_thread[self_] = tick_;
  thread_tick_[self_] = ++tick_;
}

void RaceChecker::mbarrier_phase_ended(std::ptrdiff_t offset) {
  Mbarrier& barrier = mbarrier_at(offset);
  const std::ptrdiff_t index = std::min<std::ptrdiff_t>(&barrier - mbarriers_.data(), kMbarriers - 1);
  barrier.arrived.of_mbarrier[index] = barrier.tick;
  barrier.tick = ++tick_;
  // Where all lanes of a warp have arrived, so has the warp.
  for (int warp = 0; warp < worker_->scheduler.warp_count(); ++warp) {
    const std::uint32_t* lanes = barrier.arrived.of_thread + 32 * warp;
    const int count = __builtin_popcount(worker_->scheduler.existing(warp));
    std::uint32_t& of_warp = barrier.arrived.of_warp[warp];
    of_warp = std::max(of_warp, *std::min_element(lanes, lanes + count));
  }
  barrier.ended = barrier.arrived;
}

void RaceChecker::mbarrier_waited(std::ptrdiff_t offset) {
  learn(worker_->current().warp(), mbarrier_at(offset).ended);
}

void RaceChecker::proxy_fence() {
  ++fences_[worker_->current().linear];
}

void RaceChecker::bulk_landed(std::ptrdiff_t offset, int bytes, std::ptrdiff_t mbarrier,
                              std::uint32_t place) {
  const Mbarrier& barrier = mbarrier_at(mbarrier);
  const std::ptrdiff_t index = std::min<std::ptrdiff_t>(&barrier - mbarriers_.data(), kMbarriers - 1);
  set_in_flight(offset, bytes, false);
  for (std::ptrdiff_t at = offset; at < offset + bytes; at += kCellBytes) {
    Cell& cell = shared_[std::size_t(at / kCellBytes)];
    cell.write_tick = barrier.tick;
    cell.write_thread = std::uint16_t(kTma + index);
    cell.write_bytes = 3;
    cell.write_place = place;
    cell.write_was_atomic = false;
  }
}

// ---- Accesses ----

void RaceChecker::shared_access(std::ptrdiff_t offset, int bytes, Access access, std::uint32_t place) {
  shared_access_by(worker_->current().linear, offset, bytes, access, place);
}

void RaceChecker::shared_access_by(int thread, std::ptrdiff_t offset, int bytes, Access access,
                                   std::uint32_t place) {
  self_ = thread;
  self_warp_ = self_ / 32;
  const std::ptrdiff_t last = offset + bytes;
  if (is_write(access)) {
    for (const Range& range : being_read_) {
      if (offset >= range.end || last <= range.begin) continue;
      found_in_flight(offset, place, access, "the bulk store of it");
      return;
    }
  }
  const std::uintptr_t begin = std::uintptr_t(offset), end = begin + std::uintptr_t(bytes);
  for (std::uintptr_t at = begin & ~std::uintptr_t(1); at < end; at += kCellBytes) {
    Cell& cell = shared_[at / kCellBytes];
    if (any_in_flight_ && in_flight_[at / kCellBytes] && access != Access::async_store) {
      found_in_flight(offset, place, access, "the copy into it");
      return;
    }
    check(cell, covered_bytes(at, begin, end), access, place, true, std::uintptr_t(offset));
  }
}

void RaceChecker::found_in_flight(std::ptrdiff_t offset, std::uint32_t place, Access access,
                                  const char* what) {
  const std::uintptr_t pc = worker_->tracer()->pc_of(place);
  if (!worker_->faults.first_time(ReportKind::in_flight_access, pc)) return;
  std::string variable;
  const std::string name = worker_->smem.name_of(offset, &variable);
  report({.kind = ReportKind::in_flight_access,
          .site = {},
          .pc = pc,
          .message = fmt::format("{} thread {} {} {} before {} was waited for", worker_->name(), self_,
                                 is_write(access) ? "writes" : "reads", name, what),
          .threads = {self_},
          .variable = variable});
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
  self_ = worker_->current().linear;
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

void RaceChecker::set_being_read(std::ptrdiff_t offset, int bytes, bool being_read) {
  if (being_read) {
    being_read_.push_back({offset, offset + bytes});
    return;
  }
  const auto found = std::find_if(being_read_.begin(), being_read_.end(), [&](const Range& range) {
    return range.begin == offset && range.end == offset + bytes;
  });
  if (found != being_read_.end()) being_read_.erase(found);
}

void RaceChecker::set_in_flight(std::ptrdiff_t offset, int bytes, bool in_flight) {
  any_in_flight_ = any_in_flight_ || in_flight;
  const std::size_t first = std::size_t(offset) / kCellBytes;
  std::fill_n(in_flight_.begin() + std::ptrdiff_t(first), (bytes + 1) / kCellBytes, in_flight);
}

void RaceChecker::check(Cell& cell, std::uint8_t bytes, Access access, std::uint32_t place, bool shared,
                        std::uintptr_t where) {
  const bool writes = is_write(access) || access == Access::atomic;
  const bool reads = !writes || access == Access::atomic;

  if (shared && reads && cell.write_tick < first_tick_ &&
      worker_->faults.first_time(ReportKind::uninitialized_shared, worker_->tracer()->pc_of(place))) {
    std::string variable;
    const std::string name = worker_->smem.name_of(std::ptrdiff_t(where), &variable);
    report({.kind = ReportKind::uninitialized_shared,
            .site = {},
            .pc = worker_->tracer()->pc_of(place),
            .message = fmt::format("{} thread {} reads {}, which no thread has written", worker_->name(),
                                   self_, name),
            .threads = {self_},
            .variable = variable});
  }

  // After an earlier write: in order, or by two atomics, or to the other byte?
  if (cell.write_tick >= first_tick_ && (cell.write_bytes & bytes) &&
      !(access == Access::atomic && cell.write_was_atomic) && !is_over(cell.write_thread, cell.write_tick)) {
    found_race(writes ? "write after write" : "read after write", cell.write_thread, cell.write_place, place,
               shared, where);
  }
  if (access == Access::proxy_load && cell.write_tick >= first_tick_ && cell.write_thread < kTma &&
      fences_[cell.write_thread] == cell.write_fences &&
      worker_->faults.first_time(ReportKind::missing_fence, worker_->tracer()->pc_of(place))) {
    std::string variable;
    const std::string name = worker_->smem.name_of(std::ptrdiff_t(where), &variable);
    report({.kind = ReportKind::missing_fence,
            .site = {},
            .pc = worker_->tracer()->pc_of(place),
            .message = fmt::format(
                "{}: TMA or wgmma reads {}, which thread {} wrote with no fence_proxy_async() since",
                worker_->name(), name, int(cell.write_thread)),
            .threads = {int(cell.write_thread), self_},
            .variable = variable,
            .other_pc = worker_->tracer()->pc_of(cell.write_place)});
  }
  if (!writes) {
    note_read(cell, bytes, place);
    return;
  }

  // After earlier reads, by other threads than this one.
  if (cell.read.tick >= first_tick_ && (cell.read_bytes & bytes) && access != Access::atomic) {
    for (std::uint32_t warps = cell.read_warps; warps; warps &= warps - 1) {
      const Reader& reader = reader_of(cell, __builtin_ctz(warps));
      if (is_over(reader)) continue;
      found_race("write after read", reader.thread_besides(self_), reader.place, place, shared, where);
      cell.read.tick = 0;
      break;
    }
  }
  cell.write_tick = now();
  cell.write_fences = fences_[self_];
  cell.write_thread = std::uint16_t(self_);
  cell.write_bytes = bytes;
  cell.write_place = place;
  cell.write_was_atomic = access == Access::atomic;
}

// Where a single warp has read, the cell itself knows.
const RaceChecker::Reader& RaceChecker::reader_of(const Cell& cell, int warp) const {
  const bool several_warps = (cell.read_warps & (cell.read_warps - 1)) != 0;
  return several_warps ? readers_[cell.readers * warps_ + warp] : cell.read;
}

bool RaceChecker::is_over(const Reader& reader) const {
  if (!reader.by_several_lanes()) return is_over(reader.thread, reader.tick);
  const int warp = reader.thread / 32;
  if (warp == self_warp_) return reader.tick < warp_tick_[warp];
  return reader.tick <= known_[std::size_t(self_warp_)].of_warp[warp];
}

// Keeps the readers that a later write could race with: those that are over for this reader are over for every
// thread that comes after it in order.
void RaceChecker::note_read(Cell& cell, std::uint8_t bytes, std::uint32_t place) {
  const std::uint32_t now = this->now();
  const std::uint32_t own_warp = 1u << self_warp_;
  const std::uint16_t self = std::uint16_t(self_);
  const Reader reader = {now, place, self, self};
  if (cell.read.tick == now && cell.read.thread == self && (cell.read_bytes & bytes) == bytes) return;
  const bool earlier_are_over = cell.read.tick <= all_known_[self_warp_] && cell.read.tick < now;
  const bool same_warp_is_over = cell.read_warps == own_warp && cell.read.tick < warp_tick_[self_warp_];
  if (cell.read.tick < first_tick_ || earlier_are_over || same_warp_is_over) {
    cell.read_warps = own_warp;
    cell.read_bytes = bytes;
    cell.read = reader;
    return;
  }
  cell.read_bytes |= bytes;
  if (cell.read_warps == own_warp) {
    cell.read.add(reader);
    return;
  }
  if (cell.readers == 0) {
    cell.readers = std::uint32_t(readers_.size() / warps_);
    readers_.resize(readers_.size() + warps_);
  }
  Reader* readers = &readers_[cell.readers * warps_];
  const bool one_warp_before = (cell.read_warps & (cell.read_warps - 1)) == 0;
  if (one_warp_before) readers[__builtin_ctz(cell.read_warps)] = cell.read;
  Reader& own = readers[self_warp_];
  if ((cell.read_warps & own_warp) && own.tick >= warp_tick_[self_warp_])
    own.add(reader);
  else
    own = reader;
  cell.read_warps |= own_warp;
  const std::uint32_t last_tick = std::max(cell.read.tick, now);
  cell.read = own;
  cell.read.tick = last_tick;
}

void RaceChecker::found_race(const char* what, int other, std::uint32_t other_place, std::uint32_t place,
                             bool shared, std::uintptr_t where) {
  const ReportKind kind = shared ? ReportKind::shared_race : ReportKind::global_race;
  const std::uintptr_t pc = worker_->tracer()->pc_of(place);
  if (!worker_->faults.first_time(kind, pc)) return;
  std::string variable;
  const std::string name = shared ? worker_->smem.name_of(std::ptrdiff_t(where), &variable)
                                  : DeviceMemory::instance().describe(reinterpret_cast<const char*>(where));
  const bool by_copy = other >= kTma;
  const std::string both = by_copy ? fmt::format("an asynchronous copy and thread {}", self_)
                                   : fmt::format("threads {} and {}", other, self_);
  report({.kind = kind,
          .site = {},
          .pc = pc,
          .message = fmt::format("{}: {} {} at {}, with nothing between that orders them", what,
                                 worker_->name(), both, name),
          .threads = by_copy ? std::vector<int>{self_} : std::vector<int>{other, self_},
          .variable = variable,
          .other_pc = worker_->tracer()->pc_of(other_place)});
}

}  // namespace emulator
