#include "convergence.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {

void Convergence::begin_block() {
  std::fill_n(waiting_, kMaxWarps, 0u);
}

bool Convergence::arrive(const WarpOperation& operation, unsigned mask, void* arguments, Site site) {
  const Scheduler& scheduler = worker_.scheduler;
  Thread& self = worker_.current();
  const int warp = self.warp();
  const unsigned bit = 1u << self.lane();
  if (!(mask & bit)) {
    report({.kind = ReportKind::bad_mask,
            .site = site,
            .message = fmt::format("{} thread {} (lane {}) is not in the mask {:08x} of its own {}",
                                   worker_.name(), self.linear, self.lane(), mask, operation.name),
            .threads = {self.linear}});
    worker_.fail();
  }
  if (const unsigned gone = mask & scheduler.existing(warp) & ~scheduler.alive(warp);
      gone && worker_.faults.first_time(ReportKind::exited_at_barrier, std::uintptr_t(site.line))) {
    const int other = warp * 32 + __builtin_ctz(gone);
    report({.kind = ReportKind::exited_at_barrier,
            .site = site,
            .message = fmt::format("{} thread {} waits in {} for thread {}, which has returned",
                                   worker_.name(), self.linear, operation.name, other),
            .threads = {other, self.linear}});
  }
  self.state = State::at_collective;
  self.operation = &operation;
  self.mask = mask & scheduler.existing(warp);
  self.arguments = arguments;
  self.site = site;
  waiting_[warp] |= bit;
  return try_operation(self, &self) && self.state == State::ready;
}

// Performs what `member` waits in if all lanes of its mask are there. `performer` goes on at once, the
// others become ready.
bool Convergence::try_operation(Thread& member, const Thread* performer) {
  Scheduler& scheduler = worker_.scheduler;
  unsigned& waiting = waiting_[member.warp()];
  const unsigned needed = member.mask & scheduler.alive(member.warp());
  if ((waiting & needed) != needed) return false;
  Thread* lanes = scheduler.lanes(member.warp());
  for (unsigned rest = needed; rest; rest &= rest - 1) {
    const Thread& other = lanes[__builtin_ctz(rest)];
    const bool same = other.operation == member.operation && other.mask == member.mask;
    const bool same_place = other.site.line == member.site.line && other.site.file == member.site.file;
    if (same && (same_place || !member.operation->aligned)) continue;
    report({.kind = ReportKind::divergent_barrier,
            .site = member.site,
            .message = fmt::format(
                "{}: thread {} is in {} with mask {:08x} here, thread {} in {} with mask {:08x} in line {}",
                worker_.name(), member.linear, member.operation->name, member.mask, other.linear,
                other.operation->name, other.mask, other.site.line),
            .threads = {other.linear, member.linear}});
    if (!same) worker_.fail();
  }
  if (Tracer* tracer = worker_.tracer()) tracer->write_out(member.warp(), needed);
  const bool release = member.operation->perform(worker_, lanes, needed);
  waiting &= ~needed;
  if (!release) return true;
  for (unsigned rest = needed; rest; rest &= rest - 1) {
    Thread& other = lanes[__builtin_ctz(rest)];
    if (&other == performer)
      other.state = State::ready;
    else
      scheduler.make_ready(other);
  }
  return true;
}

void Convergence::thread_exits(const Thread& thread) {
  Thread* lanes = worker_.scheduler.lanes(thread.warp());
  for (unsigned rest = waiting_[thread.warp()]; rest; rest &= rest - 1) {
    Thread& other = lanes[__builtin_ctz(rest)];
    if (!(other.mask >> thread.lane() & 1)) continue;
    report({.kind = ReportKind::exited_at_barrier,
            .site = other.site,
            .message = fmt::format("{} thread {} returned while thread {} waits for it in {}", worker_.name(),
                                   thread.linear, other.linear, other.operation->name),
            .threads = {thread.linear, other.linear}});
    if (try_operation(other, nullptr)) break;
  }
}

unsigned Convergence::missing(const Thread& thread) const {
  return thread.mask & worker_.scheduler.alive(thread.warp()) & ~waiting_[thread.warp()];
}

void need_whole_warp(Worker& worker, const Thread* lanes, unsigned mask) {
  if (mask == kAllLanes) return;
  const Thread& first = lanes[__builtin_ctz(mask)];
  worker.refuse_warp(
      ReportKind::bad_mask, first,
      fmt::format("{} needs all 32 lanes, only {:08x} are there", first.operation->name, mask));
}

}  // namespace emulator
