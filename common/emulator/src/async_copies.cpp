#include "async_copies.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "emulator/matrix_operations.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {

void AsyncCopies::begin_block(int thread_count) {
  if (queues_.size() < std::size_t(thread_count)) queues_.resize(std::size_t(thread_count));
  for (Queue& queue : queues_) {
    queue.copies.clear();
    queue.committed_groups.clear();
  }
}

void AsyncCopies::issue(const Thread& thread, const AsyncCopy& copy, Site site) {
  Queue& queue = queue_of(thread);
  queue.copies.push_back(copy);
  queue.latest = site;
}

std::size_t AsyncCopies::commit(const Thread& thread) {
  Queue& queue = queue_of(thread);
  int committed = 0;
  for (const int size : queue.committed_groups) committed += size;
  queue.committed_groups.push_back(int(queue.copies.size()) - committed);
  return std::size_t(std::count_if(queue.committed_groups.begin(), queue.committed_groups.end(),
                                   [](int size) { return size > 0; }));
}

const std::vector<AsyncCopy>& AsyncCopies::wait(const Thread& thread, int groups) {
  auto& [copies, committed_groups, latest] = queue_of(thread);
  std::size_t done_groups = committed_groups.size();
  std::size_t done_copies = copies.size();
  if (groups >= 0) {
    done_groups -= std::min(done_groups, std::size_t(groups));
    done_copies = 0;
    for (std::size_t i = 0; i < done_groups; ++i) done_copies += std::size_t(committed_groups[i]);
  }
  const auto end = copies.begin() + std::ptrdiff_t(done_copies);
  completed_.assign(copies.begin(), end);
  for (const AsyncCopy& copy : completed_) {
    std::memcpy(copy.to, copy.from, std::size_t(copy.source_bytes));
    std::memset(copy.to + copy.source_bytes, 0, std::size_t(copy.bytes - copy.source_bytes));
  }
  copies.erase(copies.begin(), end);
  committed_groups.erase(committed_groups.begin(), committed_groups.begin() + std::ptrdiff_t(done_groups));
  return completed_;
}

// ---- For kernels ----

void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  const auto refuse = [&](ReportKind kind, const std::string& what) {
    worker.refuse_thread(kind, site, fmt::format("cp.async of {} bytes {}", bytes, what));
  };
  if (bytes != 4 && bytes != 8 && bytes != 16) refuse(ReportKind::misaligned, "; it copies 4, 8 or 16");
  if (source_bytes < 0 || source_bytes > bytes) {
    refuse(ReportKind::out_of_bounds, fmt::format("of which {} come from the source", source_bytes));
  }
  if ((reinterpret_cast<std::uintptr_t>(to) | reinterpret_cast<std::uintptr_t>(from)) %
          std::uintptr_t(bytes) !=
      0) {
    refuse(ReportKind::misaligned,
           fmt::format("from {} to {}, which are not both multiples of it", from, to));
  }
  if (worker.smem.offset_of(to) < 0) {
    refuse(ReportKind::out_of_bounds, fmt::format("to {}, which is not shared memory", to));
  }
  worker.check_previous_launch(site, 0);

  Tracer* tracer = worker.tracer();
  if (tracer) {
    if (source_bytes > 0) tracer->access(pc, from, source_bytes, Access::async_load);
    tracer->access(pc, to, bytes, Access::async_store);
  }
  const AsyncCopy copy = {static_cast<char*>(to), static_cast<const char*>(from), bytes, source_bytes};
  worker.async_copies.issue(worker.current(), copy, site);
  if (tracer) tracer->copy_issued(copy);
}

void copy_async_commit(Site site) {
  Worker& worker = *current_worker;
  const std::size_t in_flight = worker.async_copies.commit(worker.current());
  Tracer* tracer = worker.tracer();
  if (!tracer) return;
  tracer->count_groups_in_flight(worker.current().warp(), in_flight);
  tracer->count_lane(EventKind::cp_async_commit_group, site);
}

void copy_async_wait(int groups, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Tracer* tracer = worker.tracer();
  if (tracer) tracer->count_lane(EventKind::cp_async_wait_group, site);
  const std::vector<AsyncCopy>& completed = worker.async_copies.wait(worker.current(), groups);
  if (!tracer) return;
  for (const AsyncCopy& copy : completed) tracer->copy_completed(copy, pc);
}

}  // namespace emulator
