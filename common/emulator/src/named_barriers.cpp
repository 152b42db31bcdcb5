#include "named_barriers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "emulator/thread_functions.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {

void NamedBarriers::begin_block() {
  for (Barrier& barrier : barriers_) barrier = {};
}

bool NamedBarriers::arrive(int id, int threads, bool sync, Thread* lanes, unsigned mask) {
  Barrier& barrier = barriers_[id];
  const Thread& first = lanes[__builtin_ctz(mask)];
  const int warp = first.warp();
  Tracer* tracer = worker_.tracer();
  if (tracer) tracer->named_barrier_arrived(id, warp);
  if (barrier.arrived == 0) barrier.expected = threads;
  barrier.arrived += 32;
  if (threads != barrier.expected || barrier.arrived > barrier.expected) {
    report({.kind = ReportKind::divergent_barrier,
            .site = first.site,
            .message =
                fmt::format("{} warp {} expects {} threads at named barrier {}, others {}; {} have arrived",
                            worker_.name(), warp, threads, id, barrier.expected, barrier.arrived),
            .threads = {first.linear}});
    worker_.fail();
  }
  if (barrier.arrived < barrier.expected) {
    if (!sync) return true;
    for (unsigned rest = mask; rest; rest &= rest - 1) {
      lanes[__builtin_ctz(rest)].state = State::at_named_barrier;
    }
    barrier.blocked.emplace_back(warp, mask);
    return false;
  }
  if (tracer && sync) tracer->named_barrier_passed(id, warp);
  for (const auto& [blocked_warp, blocked_lanes] : barrier.blocked) {
    if (tracer) tracer->named_barrier_passed(id, blocked_warp);
    for (unsigned rest = blocked_lanes; rest; rest &= rest - 1) {
      worker_.scheduler.make_ready(worker_.scheduler.lanes(blocked_warp)[__builtin_ctz(rest)]);
    }
  }
  if (tracer) tracer->named_barrier_complete(id);
  barrier.arrived = 0;
  barrier.blocked.clear();
  return true;
}

std::string NamedBarriers::in_words(const Thread& thread) const {
  for (int id = 0; id < kNamedBarriers; ++id) {
    const Barrier& barrier = barriers_[id];
    const bool waits_here = std::any_of(
        barrier.blocked.begin(), barrier.blocked.end(),
        [&](const auto& entry) { return entry.first == thread.warp() && entry.second >> thread.lane() & 1; });
    if (waits_here) {
      return fmt::format("named barrier {}, where {} of {} threads have arrived", id, barrier.arrived,
                         barrier.expected);
    }
  }
  return "a named barrier";
}

// ---- For kernels ----

namespace {

struct Arguments {
  int id;
  int threads;
  bool sync;
};

bool perform(Worker& worker, Thread* lanes, unsigned mask) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  const Arguments& arguments = *static_cast<Arguments*>(first.arguments);
  if (Tracer* tracer = worker.tracer()) tracer->count(first.warp(), EventKind::named_barrier, first.site);
  return worker.named_barriers.arrive(arguments.id, arguments.threads, arguments.sync, lanes, mask);
}
constexpr WarpOperation kSync = {"bar.sync", true, perform};
constexpr WarpOperation kArrive = {"bar.arrive", true, perform};

void named_barrier(const WarpOperation& operation, Arguments arguments, Site site) {
  Worker& worker = *current_worker;
  if (arguments.id < 0 || arguments.id >= kNamedBarriers || arguments.threads <= 0 ||
      arguments.threads % 32 != 0) {
    report({.kind = ReportKind::bad_mask,
            .site = site,
            .message =
                fmt::format("named barrier {} for {} threads: there are barriers 0 to 15, for whole warps",
                            arguments.id, arguments.threads),
            .threads = {worker.current().linear}});
    worker.fail();
  }
  worker.join(operation, kAllLanes, &arguments, site);
}

}  // namespace

void named_barrier_sync(int id, int threads, Site site) {
  named_barrier(kSync, {id, threads, true}, site);
}
void named_barrier_arrive(int id, int threads, Site site) {
  named_barrier(kArrive, {id, threads, false}, site);
}

}  // namespace emulator
