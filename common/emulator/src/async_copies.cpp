// cp.async: nothing moves until the issuing thread waits for it, so that a missing wait is a wrong answer.

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "emulator/matrix_operations.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {

void copy_async(void* to, const void* from, int bytes, int source_bytes, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  const auto refuse = [&](ReportKind kind, const std::string& what) {
    report({.kind = kind,
            .site = site,
            .message =
                fmt::format("{} thread {}: cp.async of {} bytes ", worker.block_name(), self.linear, bytes) +
                what,
            .threads = {self.linear}});
    worker.fail();
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
  const std::ptrdiff_t offset = worker.shared_offset(to);
  if (offset < 0) refuse(ReportKind::out_of_bounds, fmt::format("to {}, which is not shared memory", to));
  worker.check_launch_before(site, 0);

  if (worker.tracer) {
    if (source_bytes > 0) worker.tracer->access(pc, from, source_bytes, Access::async_load);
    worker.tracer->access(pc, to, bytes, Access::async_store);
  }
  self.copies.push_back({static_cast<char*>(to), static_cast<const char*>(from), bytes, source_bytes});
  self.site = site;
  if (worker.tracer) worker.tracer->copy_issued(self.copies.back());
}

void copy_async_commit(Site site) {
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  int committed = 0;
  for (const int size : self.committed_groups) committed += size;
  self.committed_groups.push_back(int(self.copies.size()) - committed);
  if (!worker.tracer) return;
  const auto in_flight = std::count_if(self.committed_groups.begin(), self.committed_groups.end(),
                                       [](int size) { return size > 0; });
  worker.tracer->count_groups_in_flight(self.warp(), std::uint64_t(in_flight));
  worker.tracer->count_lane(EventKind::cp_async_commit_group, site);
}

void copy_async_wait(int groups, Site site) {
  const auto pc = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0));
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  if (worker.tracer) worker.tracer->count_lane(EventKind::cp_async_wait_group, site);

  std::size_t done_groups = self.committed_groups.size();
  std::size_t done_copies = self.copies.size();
  if (groups >= 0) {
    done_groups -= std::min(done_groups, std::size_t(groups));
    done_copies = 0;
    for (std::size_t i = 0; i < done_groups; ++i) done_copies += std::size_t(self.committed_groups[i]);
  }
  for (std::size_t i = 0; i < done_copies; ++i) {
    const AsyncCopy& copy = self.copies[i];
    std::memcpy(copy.to, copy.from, std::size_t(copy.source_bytes));
    std::memset(copy.to + copy.source_bytes, 0, std::size_t(copy.bytes - copy.source_bytes));
    if (worker.tracer) worker.tracer->copy_completed(copy, pc);
  }
  self.copies.erase(self.copies.begin(), self.copies.begin() + std::ptrdiff_t(done_copies));
  self.committed_groups.erase(self.committed_groups.begin(),
                              self.committed_groups.begin() + std::ptrdiff_t(done_groups));
}

}  // namespace emulator
