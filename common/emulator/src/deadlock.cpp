#include "deadlock.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "cluster.hpp"

namespace emulator {
namespace {

// Threads that wait in one place for one thing.
struct Group {
  const Thread* first;
  int threads;
  std::string what;
};

std::string what_it_waits_for(const Worker& worker, const Thread& thread) {
  switch (thread.state) {
    case State::at_block_barrier:
      return worker.block_barrier.in_words();
    case State::at_named_barrier:
      return worker.named_barriers.in_words(thread);
    case State::at_cluster_barrier:
      return worker.cluster.barrier_in_words();
    case State::at_mbarrier:
      return worker.mbarriers.in_words(thread);
    case State::at_register_pool:
      return worker.registers.in_words(thread);
    default:
      return fmt::format("lanes {:08x} to reach {}", worker.convergence.missing(thread),
                         thread.operation->name);
  }
}

int closeness_to_cause(State state) {
  switch (state) {
    case State::at_block_barrier:
      return 0;
    case State::at_named_barrier:
      return 1;
    case State::at_cluster_barrier:
      return 2;
    case State::at_mbarrier:
      return 3;
    case State::at_register_pool:
      return 4;
    default:
      return 5;
  }
}

std::vector<Group> waiting_groups(const Worker& worker) {
  std::vector<Group> groups;
  for (int i = 0; i < worker.scheduler.thread_count(); ++i) {
    const Thread& thread = worker.scheduler.thread(i);
    if (thread.state == State::exited) continue;
    const std::string what = what_it_waits_for(worker, thread);
    const auto known = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
      return group.what == what && group.first->site.line == thread.site.line &&
             group.first->site.file == thread.site.file;
    });
    if (known == groups.end())
      groups.push_back({&thread, 1, what});
    else
      ++known->threads;
  }
  return groups;
}

}  // namespace

void report_deadlock(Worker& worker) {
  const std::vector<Group> groups = waiting_groups(worker);
  std::string message = fmt::format("{}: no thread can go on.", worker.name());
  std::vector<int> threads;
  for (const Group& group : groups) {
    const Site site = group.first->site;
    message += fmt::format(" {} {} at {}:{} for {} (thread {});", group.threads,
                           group.threads == 1 ? "thread waits" : "threads wait",
                           std::filesystem::path(site.file).filename().string(), site.line, group.what,
                           group.first->linear);
    threads.push_back(group.first->linear);
  }
  const int returned = worker.scheduler.thread_count() - worker.scheduler.live();
  message += fmt::format(" {} {} returned", returned, returned == 1 ? "has" : "have");
  // Where the cause most likely is: the threads at the block's barrier mostly wait for those at another one.
  const auto cause = std::max_element(groups.begin(), groups.end(), [](const Group& a, const Group& b) {
    return closeness_to_cause(a.first->state) < closeness_to_cause(b.first->state);
  });
  report({.kind = ReportKind::deadlock, .site = cause->first->site, .message = message, .threads = threads});
}

}  // namespace emulator
