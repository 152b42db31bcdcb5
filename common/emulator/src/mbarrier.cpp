// mbarriers: 8 bytes of shared memory that count arrivals and bytes. A thread that waits for one is blocked
// until the phase has ended, where a GPU's asks again and again.

#include "mbarrier.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cluster.hpp"
#include "emulator/hopper_operations.hpp"
#include "tracer.hpp"

namespace emulator {
namespace {

// What the 8 bytes hold. The highest bit is never set, so poison is no barrier.
struct Bits {
  std::uint64_t parity : 1;     // of the phase that has not ended
  std::uint64_t expected : 20;  // arrivals that a phase takes
  std::uint64_t pending : 20;   // that it still waits for
  std::uint64_t
      bytes : 22;  // that it still waits for, plus kNoBytes: copies may land before they are expected
  std::uint64_t none : 1;

  static constexpr std::int64_t kNoBytes = 1 << 21;
  static constexpr std::int64_t kMostBytes = (1 << 20) - 1;
  std::int64_t missing_bytes() const { return std::int64_t(bytes) - kNoBytes; }
};
static_assert(sizeof(Bits) == sizeof(std::uint64_t));

[[noreturn]] void refuse(Worker& block, std::ptrdiff_t offset, Site site, const std::string& what) {
  report({.kind = ReportKind::bad_mbarrier,
          .site = site,
          .message = fmt::format("{} {}: ", block.block_name(), block.shared_name(offset)) + what});
  current_worker->fail();
}

Bits read(Worker& block, std::ptrdiff_t offset, Site site) {
  Bits state;
  std::memcpy(&state, block.shared_at(offset), sizeof(state));
  if (state.none || state.expected == 0 || state.pending > state.expected) {
    refuse(block, offset, site, "no mbarrier was initialised there, or something wrote over it");
  }
  return state;
}

void write(Worker& block, std::ptrdiff_t offset, Bits state) {
  std::memcpy(block.shared_at(offset), &state, sizeof(state));
}

// After an arrival or bytes: ends the phase where nothing is missing.
void settle(Worker& block, std::ptrdiff_t offset, Bits state) {
  const bool ends = state.pending == 0 && state.missing_bytes() == 0;
  const unsigned parity = unsigned(state.parity);
  if (ends) {
    state.parity ^= 1;
    state.pending = state.expected;
  }
  write(block, offset, state);
  if (!ends) return;
  if (block.tracer) block.tracer->mbarrier_phase_ended(offset);
  auto& waiting = block.at_mbarriers;
  const auto goes_on = [&](Thread* thread) {
    if (thread->mbarrier != offset || thread->mbarrier_parity != parity) return false;
    block.make_ready(*thread);
    return true;
  };
  waiting.erase(std::remove_if(waiting.begin(), waiting.end(), goes_on), waiting.end());
}

}  // namespace

std::ptrdiff_t mbarrier_offset(Worker& block, const void* barrier, Site site) {
  const std::ptrdiff_t offset = block.shared_offset(barrier);
  const bool aligned = reinterpret_cast<std::uintptr_t>(barrier) % sizeof(Bits) == 0;
  if (offset >= 0 && aligned) return offset;
  report({.kind = aligned ? ReportKind::out_of_bounds : ReportKind::misaligned,
          .site = site,
          .message = fmt::format("{} thread {}: an mbarrier at {}, which is not {}", block.block_name(),
                                 block.current->linear, barrier,
                                 aligned ? "shared memory" : "a multiple of 8 bytes"),
          .threads = {block.current->linear}});
  block.fail();
}

void arrive_at_mbarrier(Worker& block, std::ptrdiff_t offset, unsigned bytes, Site site) {
  Bits state = read(block, offset, site);
  if (state.pending == 0)
    refuse(block, offset, site,
           fmt::format("more arrivals than the {} of its phase", unsigned(state.expected)));
  if (state.missing_bytes() + bytes > Bits::kMostBytes) {
    refuse(block, offset, site,
           fmt::format("{} bytes and {} more are too many for a phase",
                       static_cast<long long>(state.missing_bytes()), bytes));
  }
  state.pending -= 1;
  state.bytes += bytes;
  settle(block, offset, state);
}

void count_bytes_at_mbarrier(Worker& block, std::ptrdiff_t offset, unsigned bytes, Site site) {
  Bits state = read(block, offset, site);
  if (state.missing_bytes() - bytes < -Bits::kMostBytes) {
    refuse(block, offset, site, "far more bytes landed than were expected");
  }
  state.bytes -= bytes;
  settle(block, offset, state);
}

std::string mbarrier_in_words(Worker& block, std::ptrdiff_t offset) {
  Bits state;
  std::memcpy(&state, block.shared_at(offset), sizeof(state));
  return fmt::format("{}: {} of {} arrivals and {} bytes missing", block.shared_name(offset),
                     unsigned(state.pending), unsigned(state.expected),
                     static_cast<long long>(state.missing_bytes()));
}

// ---- For kernels ----

void mbarrier_init(std::uint64_t* barrier, unsigned arrivals, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = mbarrier_offset(worker, barrier, site);
  if (arrivals == 0 || arrivals >= 1u << 20) {
    refuse(worker, offset, site, fmt::format("a phase of {} arrivals; it takes 1 to 1048575", arrivals));
  }
  Bits state = {};
  state.expected = state.pending = arrivals;
  state.bytes = Bits::kNoBytes;
  write(worker, offset, state);
  worker.unfenced_mbarriers.push_back(offset);
  if (worker.tracer) {
    worker.tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset,
                                   true);
    worker.tracer->mbarrier_initialised(offset);
  }
}

// Also what a proxy fence does for them.
void fence_mbarrier_init() {
  current_worker->unfenced_mbarriers.clear();
}

void mbarrier_arrive(std::uint64_t* barrier, unsigned rank, unsigned bytes, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = mbarrier_offset(worker, barrier, site);
  Worker& block = worker.block_of_cluster(rank, site);
  if (worker.tracer) {
    worker.tracer->count_lane(EventKind::mbarrier_arrive, site);
    if (&block == &worker) {
      worker.tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset,
                                     false);
      worker.tracer->mbarrier_arrived(offset);
    }
  }
  arrive_at_mbarrier(block, offset, bytes, site);
}

void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Site site) {
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  const std::ptrdiff_t offset = mbarrier_offset(worker, barrier, site);
  if (worker.tracer) {
    worker.tracer->count_lane(EventKind::mbarrier_wait, site);
    worker.tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset,
                                   false);
  }
  if (read(worker, offset, site).parity == (parity & 1)) {
    self.state = State::at_mbarrier;
    self.site = site;
    self.mbarrier = offset;
    self.mbarrier_parity = parity & 1;
    worker.at_mbarriers.push_back(&self);
    worker.yield();
  }
  if (worker.tracer) worker.tracer->mbarrier_waited(offset);
}

}  // namespace emulator
