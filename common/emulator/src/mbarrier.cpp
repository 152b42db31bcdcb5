#include "mbarrier.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cluster.hpp"
#include "emulator/hopper_operations.hpp"
#include "tracer.hpp"

namespace emulator {

// What the 8 bytes hold. The highest bit is never set, so poison is no barrier.
struct Mbarriers::Bits {
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

void Mbarriers::begin_block() {
  static_assert(sizeof(Bits) == sizeof(std::uint64_t));
  waiting_.clear();
  unfenced_.clear();
}

// The block of the barrier is not always the one that runs: another one of its cluster may arrive.
void Mbarriers::refuse(std::ptrdiff_t offset, Site site, const std::string& what) {
  report({.kind = ReportKind::bad_mbarrier,
          .site = site,
          .message = fmt::format("{} {}: {}", block_.name(), block_.smem.name_of(offset), what)});
  current_worker->fail();
}

Mbarriers::Bits Mbarriers::read(std::ptrdiff_t offset, Site site) {
  Bits bits;
  std::memcpy(&bits, block_.smem.at(offset), sizeof(bits));
  if (bits.none || bits.expected == 0 || bits.pending > bits.expected) {
    refuse(offset, site, "no mbarrier was initialised there, or something wrote over it");
  }
  return bits;
}

void Mbarriers::write(std::ptrdiff_t offset, Bits bits) {
  std::memcpy(block_.smem.at(offset), &bits, sizeof(bits));
}

// After an arrival or bytes: ends the phase where nothing is missing.
void Mbarriers::settle(std::ptrdiff_t offset, Bits bits) {
  const bool ends = bits.pending == 0 && bits.missing_bytes() == 0;
  const unsigned parity = unsigned(bits.parity);
  if (ends) {
    bits.parity ^= 1;
    bits.pending = bits.expected;
  }
  write(offset, bits);
  if (!ends) return;
  if (Tracer* tracer = block_.tracer()) tracer->mbarrier_phase_ended(offset);
  const auto goes_on = [&](const Waiting& waiting) {
    if (waiting.offset != offset || waiting.parity != parity) return false;
    block_.scheduler.make_ready(*waiting.thread);
    return true;
  };
  waiting_.erase(std::remove_if(waiting_.begin(), waiting_.end(), goes_on), waiting_.end());
}

std::ptrdiff_t Mbarriers::offset_of(const void* barrier, Site site) {
  const std::ptrdiff_t offset = block_.smem.offset_of(barrier);
  const bool aligned = reinterpret_cast<std::uintptr_t>(barrier) % sizeof(Bits) == 0;
  if (offset >= 0 && aligned) return offset;
  block_.refuse_thread(aligned ? ReportKind::out_of_bounds : ReportKind::misaligned, site,
                       fmt::format("an mbarrier at {}, which is not {}", barrier,
                                   aligned ? "shared memory" : "a multiple of 8 bytes"));
}

void Mbarriers::init(std::ptrdiff_t offset, unsigned arrivals, Site site) {
  if (arrivals == 0 || arrivals >= 1u << 20) {
    refuse(offset, site, fmt::format("a phase of {} arrivals; it takes 1 to 1048575", arrivals));
  }
  Bits bits = {};
  bits.expected = bits.pending = arrivals;
  bits.bytes = Bits::kNoBytes;
  write(offset, bits);
  unfenced_.push_back(offset);
}

bool Mbarriers::is_fenced(std::ptrdiff_t offset) const {
  return std::find(unfenced_.begin(), unfenced_.end(), offset) == unfenced_.end();
}

void Mbarriers::arrive(std::ptrdiff_t offset, unsigned bytes, Site site) {
  Bits bits = read(offset, site);
  if (bits.pending == 0) {
    refuse(offset, site, fmt::format("more arrivals than the {} of its phase", unsigned(bits.expected)));
  }
  if (bits.missing_bytes() + bytes > Bits::kMostBytes) {
    refuse(offset, site,
           fmt::format("{} bytes and {} more are too many for a phase", bits.missing_bytes(), bytes));
  }
  bits.pending -= 1;
  bits.bytes += bytes;
  settle(offset, bits);
}

void Mbarriers::complete_tx(std::ptrdiff_t offset, unsigned bytes, Site site) {
  Bits bits = read(offset, site);
  if (bits.missing_bytes() - bytes < -Bits::kMostBytes) {
    refuse(offset, site, "far more bytes landed than were expected");
  }
  bits.bytes -= bytes;
  settle(offset, bits);
}

bool Mbarriers::wait(Thread& thread, std::ptrdiff_t offset, unsigned parity, Site site) {
  if (read(offset, site).parity != (parity & 1)) return true;
  thread.state = State::at_mbarrier;
  thread.site = site;
  waiting_.push_back({&thread, offset, parity & 1});
  return false;
}

std::string Mbarriers::in_words(const Thread& thread) const {
  const auto waiting = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const Waiting& entry) { return entry.thread == &thread; });
  Bits bits;
  std::memcpy(&bits, block_.smem.at(waiting->offset), sizeof(bits));
  return fmt::format("mbarrier {}, which lacks {} of {} arrivals and {} bytes",
                     block_.smem.name_of(waiting->offset), unsigned(bits.pending), unsigned(bits.expected),
                     bits.missing_bytes());
}

// ---- For kernels ----

void mbarrier_init(std::uint64_t* barrier, unsigned arrivals, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.mbarriers.offset_of(barrier, site);
  worker.mbarriers.init(offset, arrivals, site);
  if (Tracer* tracer = worker.tracer()) {
    tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset, true);
    tracer->mbarrier_initialised(offset);
  }
}

// fence.proxy.async does this for them too.
void fence_mbarrier_init() {
  current_worker->mbarriers.fence_init();
}

void mbarrier_arrive(std::uint64_t* barrier, unsigned rank, unsigned bytes, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.mbarriers.offset_of(barrier, site);
  Worker& block = worker.block_of_cluster(rank, site);
  if (Tracer* tracer = worker.tracer()) {
    tracer->count_lane(EventKind::mbarrier_arrive, site);
    if (&block == &worker) {
      tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset, false);
      tracer->mbarrier_arrived(offset);
    }
  }
  block.mbarriers.arrive(offset, bytes, site);
}

void mbarrier_wait(std::uint64_t* barrier, unsigned parity, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.mbarriers.offset_of(barrier, site);
  Tracer* tracer = worker.tracer();
  if (tracer) {
    tracer->count_lane(EventKind::mbarrier_wait, site);
    tracer->mbarrier_access(reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)), offset, false);
  }
  if (!worker.mbarriers.wait(worker.current(), offset, parity, site)) worker.scheduler.yield();
  if (tracer) tracer->mbarrier_waited(offset);
}

}  // namespace emulator
