#include "block_barrier.hpp"

#include <fmt/format.h>

#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {

bool BlockBarrier::arrive(bool predicate, Site site) {
  Thread& self = worker_.current();
  if (arrived_ == 0) {
    site_ = site;
    first_thread_ = self.linear;
  }
  report_misuse(self, site);
  self.state = State::at_block_barrier;
  self.site = site;
  sum_ += predicate;
  if (++arrived_ < worker_.scheduler.live()) return false;
  release();
  worker_.scheduler.keep_current();
  return true;
}

void BlockBarrier::report_misuse(const Thread& self, Site site) {
  if ((site_.line != site.line || site_.file != site.file) &&
      worker_.faults.first_time(ReportKind::divergent_barrier, std::uintptr_t(site.line))) {
    report({.kind = ReportKind::divergent_barrier,
            .site = site,
            .message = fmt::format("{} thread {} is at this __syncthreads, thread {} at the one in line {}",
                                   worker_.name(), self.linear, first_thread_, site_.line),
            .threads = {first_thread_, self.linear}});
  }
  const Scheduler& scheduler = worker_.scheduler;
  if (scheduler.live() == scheduler.thread_count() ||
      !worker_.faults.first_time(ReportKind::exited_at_barrier, std::uintptr_t(site.line))) {
    return;
  }
  int gone = 0;
  while (scheduler.thread(gone).state != State::exited) ++gone;
  report({.kind = ReportKind::exited_at_barrier,
          .site = site,
          .message = fmt::format(
              "{} thread {} is at this __syncthreads, {} threads have returned (thread {} among them)",
              worker_.name(), self.linear, scheduler.thread_count() - scheduler.live(), gone),
          .threads = {gone, self.linear}});
}

void BlockBarrier::release() {
  arrived_ = 0;
  result_ = sum_;
  sum_ = 0;
  if (Tracer* tracer = worker_.tracer()) tracer->block_barrier_released(site_);
  Scheduler& scheduler = worker_.scheduler;
  for (int i = 0; i < scheduler.thread_count(); ++i) {
    if (scheduler.thread(i).state == State::at_block_barrier) scheduler.make_ready(scheduler.thread(i));
  }
}

int BlockBarrier::result(BarrierReduction reduction) const {
  switch (reduction) {
    case BarrierReduction::all:
      return result_ == worker_.scheduler.live();
    case BarrierReduction::any:
      return result_ != 0;
    default:
      return result_;
  }
}

std::string BlockBarrier::in_words() const {
  return fmt::format("__syncthreads, where {} of {} threads have arrived", arrived_,
                     worker_.scheduler.live());
}

void BlockBarrier::thread_exits(const Thread& thread) {
  if (arrived_ == 0) return;
  report({.kind = ReportKind::exited_at_barrier,
          .site = site_,
          .message = fmt::format("{} thread {} returned, thread {} waits at this __syncthreads",
                                 worker_.name(), thread.linear, first_thread_),
          .threads = {thread.linear, first_thread_}});
  if (arrived_ == worker_.scheduler.live()) release();
}

int block_barrier(BarrierReduction reduction, int predicate, Site site) {
  Worker& worker = *current_worker;
  if (!worker.block_barrier.arrive(predicate != 0, site)) worker.scheduler.yield();
  return worker.block_barrier.result(reduction);
}

}  // namespace emulator
