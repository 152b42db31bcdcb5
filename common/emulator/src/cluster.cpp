#include "cluster.hpp"

#include <fmt/format.h>

#include "deadlock.hpp"
#include "emulator/hopper_operations.hpp"

namespace emulator {

void Cluster::begin_launch(const LaunchJob& job) {
  size_ = job.cluster.x * job.cluster.y * job.cluster.z;
  while (blocks_.size() < size_) blocks_.push_back(std::make_unique<Worker>(*this, unsigned(blocks_.size())));
  stacks_.reserve(int(size_ * job.block.x * job.block.y * job.block.z));
  current_worker = blocks_.front().get();
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->begin_launch(job);
}

void Cluster::end_launch(const LaunchJob& job) {
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->end_launch(job);
}

// From here on `rank` is the block that runs.
void Cluster::enter(unsigned rank) {
  if (current_worker == blocks_[rank].get()) return;
  current_worker->smem.keep_aside();
  current_worker = blocks_[rank].get();
  current_worker->smem.restore();
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
    if (blocks_[rank]->scheduler.live() == 0) continue;
    report_deadlock(*blocks_[rank]);
    failed = true;
  }
  if (failed) stacks_.abandon();
  for (unsigned rank = 0; rank < size_; ++rank) {
    enter(rank);
    blocks_[rank]->end_block();
  }
  return !failed;
}

Cluster::Arrivals Cluster::arrivals() const {
  Arrivals all = {0, 0};
  for (unsigned rank = 0; rank < size_; ++rank) {
    all.arrived += blocks_[rank]->cluster_barrier.arrived();
    all.live += blocks_[rank]->scheduler.live();
  }
  return all;
}

void Cluster::check_barrier() {
  const auto [arrived, live] = arrivals();
  if (arrived == 0 || arrived < live) return;
  for (unsigned rank = 0; rank < size_; ++rank) blocks_[rank]->cluster_barrier.release();
}

std::string Cluster::barrier_in_words() const {
  const auto [arrived, live] = arrivals();
  return fmt::format("the cluster's barrier, where {} of {} threads have arrived", arrived, live);
}

std::uint64_t Cluster::take_switches() {
  std::uint64_t switches = 0;
  for (const auto& block : blocks_) switches += block->scheduler.take_switches();
  return switches;
}

unsigned cluster_ctarank() {
  return current_worker->rank;
}

std::uint32_t mapa(const void* pointer, unsigned rank, Site site) {
  Worker& worker = *current_worker;
  const std::ptrdiff_t offset = worker.smem.offset_of(pointer);
  if (offset < 0) {
    worker.refuse_thread(
        ReportKind::out_of_bounds, site,
        fmt::format("mapa of {}, which is not shared memory and so has no place in another block", pointer));
  }
  (void)worker.block_of_cluster(rank, site);
  return ClusterAddress::number(rank, offset);
}

}  // namespace emulator
