#include "worker.hpp"

#include <fmt/format.h>

#include "cluster.hpp"
#include "tracer.hpp"

__thread dim3 blockDim, gridDim;

namespace emulator {

__thread Worker* current_worker = nullptr;

Worker::Worker(Cluster& cluster, unsigned rank)
    : cluster(cluster),
      rank(rank),
      convergence(*this),
      block_barrier(*this),
      named_barriers(*this),
      cluster_barrier(*this),
      mbarriers(*this),
      bulk_copies(*this),
      registers(*this) {}
Worker::~Worker() = default;

std::string Worker::name() const {
  return fmt::format("block ({},{},{})", block_index_.x, block_index_.y, block_index_.z);
}

// ---- A launch, and its blocks one after the other ----

void Worker::begin_launch(const LaunchJob& job) {
  body_ = job.body;
  blockDim = job.block;
  gridDim = job.grid;
  scheduler.begin_launch(job.block);
  smem.begin_launch(*job.image, job.dynamic_smem_bytes);
  faults.begin_launch();
  if (job.trace && !tracer_storage_) tracer_storage_ = std::make_unique<Tracer>();
  if (job.trace) tracer_storage_->begin_launch(*this);
}

void Worker::begin_block(const LaunchJob& job, uint3 index, std::uint64_t seed) {
  block_index_ = index;
  failed_ = false;
  previous_launch_ended_ = !job.starts_early;
  const std::uint64_t block = index.x + job.grid.x * (index.y + std::uint64_t(job.grid.y) * index.z);
  const bool traced = job.trace && (job.traced_blocks.empty() || job.traced_blocks[block]);
  tracer_ = traced ? tracer_storage_.get() : nullptr;

  const int thread_count = scheduler.thread_count();
  // Multiplied to spread neighbouring seeds and blocks; the constant is 2^64 over the golden ratio.
  const std::uint64_t order = seed * 0x9e3779b97f4a7c15ull ^ (block + 1) * 0xd1342543de82ef95ull;
  scheduler.begin_block(cluster.stacks(), int(rank) * thread_count, order, tracer_);
  convergence.begin_block();
  block_barrier.begin_block();
  named_barriers.begin_block();
  cluster_barrier.begin_block();
  smem.poison();
  mbarriers.begin_block();
  async_copies.begin_block(thread_count);
  bulk_copies.begin_block(thread_count);
  registers.begin_block(thread_count);
  for (int warp = 0; warp < scheduler.warp_count(); ++warp) products_[warp].begin_block();
  if (tracer_) tracer_->begin_block();
}

namespace {
struct BlockFailed {};
}  // namespace

bool Worker::run() {
  try {
    while (!failed_ && can_run()) {
      if (scheduler.can_run())
        scheduler.run();
      else
        bulk_copies.land_one();
    }
  } catch (const BlockFailed&) {
    // Reported, and `failed_` says so.
  }
  return !failed_;
}

void Worker::fail() {
  failed_ = true;
  if (!scheduler.has_current()) throw BlockFailed{};  // by a copy that lands
  scheduler.abandon_block();
}

void Worker::end_block() {
  if (tracer_) tracer_->end_block();
  tracer_ = nullptr;
}

void Worker::end_launch(const LaunchJob& job) {
  if (job.trace) tracer_storage_->end_launch();
}

// ---- Threads ----

void Worker::run_thread() {
  (*body_)();
  thread_exits(scheduler.current());
  scheduler.leave_returned();
}

void Worker::thread_exits(Thread& thread) {
  report_unfinished(thread);
  scheduler.retire(thread);
  convergence.thread_exits(thread);
  cluster_barrier.thread_exits(thread);
  const int warp = thread.warp();
  if (tracer_ && scheduler.alive(warp) == 0) tracer_->write_out(warp, scheduler.existing(warp));
  block_barrier.thread_exits(thread);
}

void Worker::wait_for_trace() {
  scheduler.current().state = State::waiting_for_trace;
  scheduler.yield();
}

Worker& Worker::block_of_cluster(unsigned number, Site site) {
  const bool exists = number < cluster.size();
  if (exists && (number == rank || cluster.block(number).scheduler.live() > 0)) return cluster.block(number);
  report(
      {.kind = ReportKind::out_of_bounds,
       .site = site,
       .message = fmt::format("{} thread {} reaches for block {} of a cluster of {}{}", name(),
                              current().linear, number, cluster.size(), exists ? ", which has returned" : ""),
       .threads = {current().linear}});
  fail();
}

// ---- Reports ----

void Worker::refuse_thread(ReportKind kind, Site site, const std::string& what) {
  report({.kind = kind,
          .site = site,
          .message = fmt::format("{} thread {}: {}", name(), current().linear, what),
          .threads = {current().linear}});
  fail();
}

void Worker::refuse_warp(ReportKind kind, const Thread& thread, const std::string& what) {
  report({.kind = kind,
          .site = thread.site,
          .message = fmt::format("{} warp {}: {}", name(), thread.warp(), what),
          .threads = {thread.linear}});
  fail();
}

// Once per launch: whatever is used, one wait is missing.
void Worker::report_previous_launch(Site site, std::uintptr_t pc) {
  if (!faults.first_time(ReportKind::launch_not_waited, 0)) return;
  report({.kind = ReportKind::launch_not_waited,
          .site = site,
          .pc = pc,
          .message = fmt::format("{} thread {} uses global memory before any thread of its block has called "
                                 "griddepcontrol_wait(); the previous launch may still be writing it",
                                 name(), current().linear),
          .threads = {current().linear}});
}

// What a thread, the last lane of a warp, or the last thread of the block leaves undone when it returns.
void Worker::report_unfinished(const Thread& thread) {
  const auto never_waited = [&](Site site, const std::string& what) {
    if (!faults.first_time(ReportKind::wait_never_made, std::uintptr_t(site.line))) return;
    report({.kind = ReportKind::wait_never_made,
            .site = site,
            .message = fmt::format("{} thread {} ends with {} that it never waited for", name(),
                                   thread.linear, what),
            .threads = {thread.linear}});
  };
  if (const std::size_t copies = async_copies.outstanding(thread)) {
    never_waited(async_copies.latest_site(thread), fmt::format("{} copies", copies));
  }
  for (const BulkStore& store : bulk_copies.stores()) {
    if (store.thread == thread.linear) never_waited(store.site, "a bulk store");
  }
  const bool last_of_warp = __builtin_popcount(scheduler.alive(thread.warp())) == 1;
  const WarpProducts& warp = products(thread.warp());
  if (last_of_warp && warp.outstanding() > 0) {
    never_waited(warp.oldest_site(), fmt::format("{} wgmmas", warp.outstanding()));
  }
  if (scheduler.live() > 1) return;
  for (const BulkCopy& copy : bulk_copies.in_flight()) {
    if (copy.ranks >> rank & 1) never_waited(copy.site, "a bulk copy into its shared memory");
  }
  report_different_products(thread);
}

void Worker::report_different_products(const Thread& last) {
  for (int warp = 0; warp < scheduler.warp_count(); ++warp) {
    const int first = warp / 4 * 4;
    if (products(warp).issued() == products(first).issued()) continue;
    report({.kind = ReportKind::divergent_barrier,
            .site = last.site,
            .message = fmt::format("{} warps {} and {} are of one warpgroup and did not make the same wgmmas",
                                   name(), first, warp),
            .threads = {first * 32, warp * 32}});
  }
}

// ---- What a kernel asks of its thread ----

uint3 thread_index() {
  return current_worker->scheduler.current().index;
}
uint3 block_index() {
  return current_worker->block_index();
}
int lane_index() {
  return current_worker->scheduler.current().lane();
}

void griddepcontrol_wait() {
  current_worker->note_previous_launch_ended();
}

void trap(Site site) {
  Worker& worker = *current_worker;
  report({.kind = ReportKind::trap,
          .site = site,
          .message = fmt::format("{} thread {} called __trap()", worker.name(), worker.current().linear),
          .threads = {worker.current().linear}});
  worker.fail();
}

}  // namespace emulator
