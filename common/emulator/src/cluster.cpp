#include "cluster.hpp"

#include <fmt/format.h>

#include <utility>

#include "bulk_copies.hpp"
#include "emulator/hopper_operations.hpp"
#include "tracer.hpp"

namespace emulator {

void Cluster::begin_launch(const LaunchJob& job) {
  size_ = job.cluster.x * job.cluster.y * job.cluster.z;
  while (blocks_.size() < size_) blocks_.push_back(std::make_unique<Worker>(*this, unsigned(blocks_.size())));
  stacks.reserve(int(size_ * job.block.x * job.block.y * job.block.z));
  current_worker = blocks_.front().get();
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->begin_launch(job);
}

void Cluster::end_launch(const LaunchJob& job) {
  if (!job.trace) return;
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->tracer_storage->end_launch();
}

// From here on `rank` is the block that runs.
void Cluster::enter(unsigned rank) {
  if (current_worker == blocks_[rank].get()) return;
  current_worker->keep_smem();
  current_worker = blocks_[rank].get();
  current_worker->restore_smem();
}

bool Cluster::run(const LaunchJob& job, std::uint64_t index, std::uint64_t seed) {
  const dim3 clusters = {job.grid.x / job.cluster.x, job.grid.y / job.cluster.y, job.grid.z / job.cluster.z};
  const uint3 first = {unsigned(index % clusters.x) * job.cluster.x,
                       unsigned(index / clusters.x % clusters.y) * job.cluster.y,
                       unsigned(index / (std::uint64_t(clusters.x) * clusters.y)) * job.cluster.z};
  for (unsigned rank = 0; rank < size_; ++rank) {
    enter(rank);
    blocks_[rank]->begin_block(
        job,
        {first.x + rank % job.cluster.x, first.y + rank / job.cluster.x % job.cluster.y,
         first.z + rank / (job.cluster.x * job.cluster.y)},
        seed);
  }

  bool failed = false;
  std::uint64_t random = seed * 0x9e3779b97f4a7c15ull ^ (index + 1);
  for (unsigned first_tried = 0; !failed;) {
    unsigned rank = size_;
    for (unsigned i = 0; i < size_ && rank == size_; ++i) {
      if (blocks_[(first_tried + i) % size_]->can_run()) rank = (first_tried + i) % size_;
    }
    if (rank == size_) break;
    enter(rank);
    failed = !blocks_[rank]->run();
    random = random * 6364136223846793005ull + 1442695040888963407ull;
    first_tried = unsigned(random >> 33) % size_;
  }
  for (unsigned rank = 0; rank < size_ && !failed; ++rank) {
    if (blocks_[rank]->live == 0) continue;
    blocks_[rank]->report_deadlock();
    failed = true;
  }
  if (failed) stacks.abandon();
  for (unsigned rank = 0; rank < size_; ++rank) {
    enter(rank);
    blocks_[rank]->end_block();
  }
  return !failed;
}

void Cluster::check_barrier() {
  int arrived = 0, live = 0;
  for (unsigned rank = 0; rank < size_; ++rank) {
    arrived += blocks_[rank]->cluster_barrier_arrived;
    live += blocks_[rank]->live;
  }
  if (arrived == 0 || arrived < live) return;
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->release_cluster_barrier();
}

std::uint64_t Cluster::take_switches() {
  std::uint64_t switches = 0;
  for (const auto& block : blocks_) switches += std::exchange(block->switches, 0);
  return switches;
}

// ---- The cluster's barrier, at which a warp's lanes arrive together ----

void Worker::release_cluster_barrier() {
  cluster_barrier_arrived = 0;
  ++cluster_phase;
  for (int i = 0; i < thread_count; ++i) {
    if (threads[i].state != State::at_cluster_barrier) continue;
    if (tracer && threads[i].lane() == 0) tracer->named_barrier_passed(kClusterBarrier, threads[i].warp());
    make_ready(threads[i]);
  }
}

namespace {

bool perform_arrive(Worker& worker, Thread* lanes, unsigned mask) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  Warp& warp = worker.warps[first.warp()];
  if (warp.arrived_at_cluster) {
    report({.kind = ReportKind::divergent_barrier,
            .site = first.site,
            .message = fmt::format(
                "{} warp {} arrives at the cluster's barrier twice and waits in between for nothing",
                worker.block_name(), first.warp()),
            .threads = {first.linear}});
    worker.fail();
  }
  const bool relaxed = *static_cast<const bool*>(first.arguments);
  if (worker.tracer && !relaxed) worker.tracer->named_barrier_arrived(kClusterBarrier, first.warp());
  warp.arrived_at_cluster = true;
  warp.cluster_phase = worker.cluster_phase;
  worker.cluster_barrier_arrived += __builtin_popcount(mask);
  worker.cluster.check_barrier();
  return true;
}
constexpr WarpOperation kArrive = {"cluster_arrive", true, perform_arrive};

bool perform_wait(Worker& worker, Thread* lanes, unsigned mask) {
  const Thread& first = lanes[__builtin_ctz(mask)];
  Warp& warp = worker.warps[first.warp()];
  if (!warp.arrived_at_cluster) {
    report({.kind = ReportKind::divergent_barrier,
            .site = first.site,
            .message = fmt::format("{} warp {} waits at the cluster's barrier and has not arrived there",
                                   worker.block_name(), first.warp()),
            .threads = {first.linear}});
    worker.fail();
  }
  warp.arrived_at_cluster = false;
  if (worker.cluster_phase != warp.cluster_phase) {
    if (worker.tracer) worker.tracer->named_barrier_passed(kClusterBarrier, first.warp());
    return true;
  }
  for (unsigned rest = mask; rest; rest &= rest - 1)
    lanes[__builtin_ctz(rest)].state = State::at_cluster_barrier;
  return false;
}
constexpr WarpOperation kWait = {"cluster_wait", true, perform_wait};

}  // namespace

unsigned cluster_ctarank() {
  return current_worker->rank;
}

std::uint32_t mapa(const void* pointer, unsigned rank, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.shared_offset(pointer);
  if (offset < 0) {
    report({.kind = ReportKind::out_of_bounds,
            .site = site,
            .message = fmt::format("{} thread {}: no place in shared memory, {}, has one in another block",
                                   worker.block_name(), worker.current->linear, pointer),
            .threads = {worker.current->linear}});
    worker.fail();
  }
  (void)worker.block_of_cluster(rank, site);
  return ClusterAddress::number(rank, offset);
}

void cluster_arrive(bool relaxed, Site site) {
  current_worker->join(kArrive, ~0u, &relaxed, site);
}

void cluster_wait(Site site) {
  current_worker->join(kWait, ~0u, nullptr, site);
}

}  // namespace emulator
