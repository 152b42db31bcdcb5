#include "cluster_barrier.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "cluster.hpp"
#include "emulator/hopper_operations.hpp"
#include "tracer.hpp"

namespace emulator {

void ClusterBarrier::begin_block() {
  arrived_ = 0;
  phase_ = 0;
  std::fill_n(warps_, kMaxWarps, WarpState{});
}

void ClusterBarrier::arrive(Thread* lanes, unsigned mask, bool relaxed) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  WarpState& warp = warps_[first.warp()];
  if (warp.has_arrived) {
    worker_.refuse_warp(ReportKind::divergent_barrier, first,
                        "arrives at the cluster's barrier twice without a wait in between");
  }
  if (Tracer* tracer = worker_.tracer(); tracer && !relaxed) {
    tracer->cluster_barrier_arrived(first.warp());
  }
  warp = {true, phase_};
  arrived_ += __builtin_popcount(mask);
  worker_.cluster.check_barrier();
}

bool ClusterBarrier::wait(Thread* lanes, unsigned mask) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  WarpState& warp = warps_[first.warp()];
  if (!warp.has_arrived) {
    worker_.refuse_warp(ReportKind::divergent_barrier, first,
                        "waits at the cluster's barrier and has not arrived there");
  }
  warp.has_arrived = false;
  if (phase_ != warp.phase) {
    if (Tracer* tracer = worker_.tracer()) tracer->cluster_barrier_passed(first.warp());
    return true;
  }
  for (unsigned rest = mask; rest; rest &= rest - 1) {
    lanes[__builtin_ctz(rest)].state = State::at_cluster_barrier;
  }
  return false;
}

void ClusterBarrier::thread_exits(const Thread& thread) {
  const WarpState& warp = warps_[thread.warp()];
  if (warp.has_arrived && warp.phase == phase_) --arrived_;
  worker_.cluster.check_barrier();
}

void ClusterBarrier::release() {
  arrived_ = 0;
  ++phase_;
  Scheduler& scheduler = worker_.scheduler;
  for (int i = 0; i < scheduler.thread_count(); ++i) {
    Thread& thread = scheduler.thread(i);
    if (thread.state != State::at_cluster_barrier) continue;
    if (Tracer* tracer = worker_.tracer(); tracer && thread.lane() == 0) {
      tracer->cluster_barrier_passed(thread.warp());
    }
    scheduler.make_ready(thread);
  }
}

// ---- For kernels ----

namespace {

bool perform_arrive(Worker& worker, Thread* lanes, unsigned mask) {
  const bool relaxed = *static_cast<const bool*>(lanes[__builtin_ctz(mask)].arguments);
  worker.cluster_barrier.arrive(lanes, mask, relaxed);
  return true;
}
constexpr WarpOperation kArrive = {"cluster_arrive", true, perform_arrive};

bool perform_wait(Worker& worker, Thread* lanes, unsigned mask) {
  return worker.cluster_barrier.wait(lanes, mask);
}
constexpr WarpOperation kWait = {"cluster_wait", true, perform_wait};

}  // namespace

void cluster_arrive(bool relaxed, Site site) {
  current_worker->join(kArrive, kAllLanes, &relaxed, site);
}
void cluster_wait(Site site) {
  current_worker->join(kWait, kAllLanes, nullptr, site);
}

}  // namespace emulator
