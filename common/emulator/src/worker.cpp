#include "worker.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "cluster.hpp"
#include "mbarrier.hpp"
#include "tracer.hpp"

// What `extern __shared__` arrays of kernels are: see attention/launch.hpp.
alignas(1024) thread_local unsigned char dynamic_smem[emulator::kMaxSmemBytes];
__thread dim3 blockDim, gridDim;

namespace emulator {

__thread Worker* current_worker = nullptr;

namespace {

// 0xff: NaN as half and as float, so that reading what nobody wrote shows in the result.
constexpr int kPoison = 0xff;

// Of a multiprocessor, which a block can have to itself, and at most of one thread.
constexpr int kRegisters = 64 * 1024;
constexpr int kMostRegistersOfThread = 256;

unsigned lanes_below(int count) {
  return count >= 32 ? ~0u : (1u << count) - 1;
}

}  // namespace

Worker::Worker(Cluster& cluster, unsigned rank) : cluster(cluster), rank(rank) {}
Worker::~Worker() = default;

std::uint64_t Worker::next_random() {
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return random_;
}

int Worker::pick_bit(unsigned mask) {
  const unsigned first = unsigned(next_random() >> 32) & 31;
  const unsigned rotated = (mask >> first) | (mask << ((32 - first) & 31));
  return (__builtin_ctz(rotated) + int(first)) & 31;
}

// A lane of the warp that ran last if there is one, else of another warp. Null: nobody can run.
Thread* Worker::pick_next() {
  if (tracer && !warps[current_warp_].ready) tracer->continue_threads_with_full_logs(current_warp_);
  if (!warps[current_warp_].ready) {
    if (!ready_warps_) return nullptr;
    current_warp_ = pick_bit(ready_warps_);
  }
  Warp& warp = warps[current_warp_];
  const int lane = pick_bit(warp.ready);
  warp.ready &= ~(1u << lane);
  if (!warp.ready) ready_warps_ &= ~(1u << current_warp_);
  return &threads[current_warp_ * 32 + lane];
}

void Worker::make_ready(Thread& thread) {
  thread.state = State::ready;
  warps[thread.warp()].ready |= 1u << thread.lane();
  ready_warps_ |= 1u << thread.warp();
}

void Worker::wait_for_trace() {
  Thread& self = *current;
  self.state = State::waiting_for_trace;
  yield();
}

namespace {
struct BlockFailed {};
}  // namespace

void Worker::fail() {
  failed = true;
  if (!current) throw BlockFailed{};  // by a copy that lands
  Thread& from = *current;
  current = nullptr;
  from.fiber.leave_for(block_loop);
}

bool Worker::first_time(ReportKind kind, std::uintptr_t place) {
  return seen_faults_.insert(std::uint64_t(place) * 32 + std::uint64_t(kind)).second;
}

// Once a launch: whatever is used, one wait is missing.
void Worker::report_launch_before(Site site, std::uintptr_t pc) {
  if (!first_time(ReportKind::launch_not_waited, 0)) return;
  report({.kind = ReportKind::launch_not_waited,
          .site = site,
          .pc = pc,
          .message = fmt::format("{} thread {} uses global memory before any thread of its block has called "
                                 "griddepcontrol_wait(); the launch before may still be writing it",
                                 block_name(), current->linear),
          .threads = {current->linear}});
}

void griddepcontrol_wait() {
  current_worker->launch_before_ended = true;
}

std::string Worker::block_name() const {
  return fmt::format("block ({},{},{})", block_index.x, block_index.y, block_index.z);
}

std::string Worker::shared_name(std::ptrdiff_t offset, std::string* variable) const {
  std::string name = "dynamic_smem";
  std::ptrdiff_t within = offset - static_bytes();
  if (within < 0) {
    const SharedVariable* found = image->variable_at(std::size_t(offset));
    name = found ? found->name : "static shared memory";
    within = found ? offset - std::ptrdiff_t(found->offset) : offset;
  }
  if (variable) *variable = name;
  return within == 0 ? name : name + fmt::format("+{}", within);
}

void thread_entry() {
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  self.fiber.arrived(&worker.block_loop);
  (*worker.body)();
  worker.thread_exits(self);
}

void Worker::begin_launch(const LaunchJob& job) {
  body = job.body;
  image = job.image;
  thread_count = int(job.block.x * job.block.y * job.block.z);
  warp_count = (thread_count + 31) / 32;
  static_smem = job.image->segment();
  dynamic_smem = reinterpret_cast<char*>(::dynamic_smem);
  dynamic_bytes = job.dynamic_smem_bytes;
  kept_aside = false;  // what the last launch's clusters left there is nobody's
  blockDim = job.block;
  gridDim = job.grid;
  products.resize(std::size_t(warp_count));
  seen_faults_.clear();
  if (job.trace && !tracer_storage) tracer_storage = std::make_unique<Tracer>();
  if (job.trace) tracer_storage->begin_launch(*this);
}

void Worker::begin_block(const LaunchJob& job, uint3 index, std::uint64_t seed) {
  block_index = index;
  const std::uint64_t block = index.x + job.grid.x * (index.y + std::uint64_t(job.grid.y) * index.z);
  // Multiplied to spread neighbouring seeds and blocks (the constant is 2^64 over the golden ratio); never
  // zero.
  random_ = (seed * 0x9e3779b97f4a7c15ull ^ (block + 1) * 0xd1342543de82ef95ull) | 1;
  next_random();

  if (static_smem.begin) {
    std::memset(static_smem.begin, kPoison, std::size_t(static_smem.end - static_smem.begin));
  }
  std::memset(dynamic_smem, kPoison, dynamic_bytes);
  for (NamedBarrier& barrier : named_barriers) barrier = {};
  barrier_arrived = barrier_sum = 0;
  cluster_barrier_arrived = 0;
  cluster_phase = 0;
  at_mbarriers.clear();
  unfenced_mbarriers.clear();
  bulk_copies.clear();
  bulk_stores.clear();
  for (WarpProducts& warp : products) warp.clear();
  // A block starts with an equal share a thread; what setmaxnreg hands round is what others have given up.
  const int registers = std::min(kRegisters / thread_count, kMostRegistersOfThread) / 8 * 8;
  free_registers = 0;
  wanted_registers.clear();
  live = thread_count;
  failed = false;
  launch_before_ended = !job.starts_early;
  ready_warps_ = lanes_below(warp_count);
  for (int i = 0; i < warp_count; ++i) {
    const unsigned lanes = lanes_below(thread_count - i * 32);
    warps[i] = {.existing = lanes,
                .alive = lanes,
                .ready = lanes,
                .waiting = 0,
                .arrived_at_cluster = false,
                .cluster_phase = 0,
                .registers = registers};
  }
  const unsigned bx = job.block.x, by = job.block.y;
  for (int i = 0; i < thread_count; ++i) {
    Thread& thread = threads[i];
    thread.index = {unsigned(i) % bx, unsigned(i) / bx % by, unsigned(i) / (bx * by)};
    thread.linear = i;
    thread.state = State::ready;
    thread.copies.clear();
    thread.committed_groups.clear();
    thread.bulk_groups = 0;
    cluster.stacks.prepare<thread_entry>(thread.fiber, int(rank) * thread_count + i);
  }
  current_warp_ = pick_bit(ready_warps_);

  const bool traced = job.trace && (job.traced_blocks.empty() || job.traced_blocks[block]);
  tracer = traced ? tracer_storage.get() : nullptr;
  if (tracer) tracer->begin_block(block);
}

bool Worker::run() {
  while (!failed && can_run()) {
    if (ready_warps_) {
      current = pick_next();
      block_loop.switch_to(current->fiber);
      current = nullptr;
    } else {
      land_a_copy();
    }
  }
  return !failed;
}

void Worker::land_a_copy() {
  const std::size_t chosen = bulk_copies.size() == 1 ? 0 : next_random() % bulk_copies.size();
  const BulkCopy copy = bulk_copies[chosen];
  bulk_copies.erase(bulk_copies.begin() + std::ptrdiff_t(chosen));
  try {
    carry_out(*this, copy);
  } catch (const BlockFailed&) {
    // Reported, and `failed` says so.
  }
}

Worker& Worker::block_of_cluster(unsigned number, Site site) {
  const bool exists = number < cluster.size();
  if (exists && (number == rank || cluster.block(number).live > 0)) return cluster.block(number);
  report({.kind = ReportKind::out_of_bounds,
          .site = site,
          .message = fmt::format("{} thread {} reaches for block {} of a cluster of {}", block_name(),
                                 current->linear, number, cluster.size()) +
                     (exists ? ", which has returned" : ""),
          .threads = {current->linear}});
  fail();
}

void Worker::end_block() {
  if (tracer) tracer->end_block();
  tracer = nullptr;
}

void Worker::keep_smem() {
  kept_smem.resize(std::size_t(smem_bytes()));
  if (static_smem.begin) {
    std::memcpy(kept_smem.data(), static_smem.begin, std::size_t(static_smem.end - static_smem.begin));
  }
  std::memcpy(kept_smem.data() + static_bytes(), dynamic_smem, dynamic_bytes);
  kept_aside = true;
}

void Worker::restore_smem() {
  if (!kept_aside) return;
  if (static_smem.begin) {
    std::memcpy(static_smem.begin, kept_smem.data(), std::size_t(static_smem.end - static_smem.begin));
  }
  std::memcpy(dynamic_smem, kept_smem.data() + static_bytes(), dynamic_bytes);
  kept_aside = false;
}

// What a thread, the last lane of a warp, or the last thread of the block leaves undone when it returns.
void Worker::report_unfinished(const Thread& thread) {
  const auto never_waited = [&](Site site, const std::string& what) {
    if (!first_time(ReportKind::wait_never_made, std::uintptr_t(site.line))) return;
    report({.kind = ReportKind::wait_never_made,
            .site = site,
            .message = fmt::format("{} thread {} ends with ", block_name(), thread.linear) + what +
                       " that nobody waited for",
            .threads = {thread.linear}});
  };
  if (!thread.copies.empty()) never_waited(thread.site, fmt::format("{} copies", thread.copies.size()));
  for (const BulkStore& store : bulk_stores) {
    if (store.thread == thread.linear) never_waited(store.site, "a bulk store");
  }
  if (__builtin_popcount(warps[thread.warp()].alive) == 1) {
    const WarpProducts& warp = products[std::size_t(thread.warp())];
    if (!warp.products.empty())
      never_waited(warp.products.front().site, fmt::format("{} wgmmas", warp.products.size()));
  }
  if (live > 1) return;
  for (const BulkCopy& copy : bulk_copies) {
    if (copy.ranks >> rank & 1) never_waited(copy.site, "a bulk copy into its shared memory");
  }
  for (int warp = 0; warp < warp_count; ++warp) {
    const int first = warp / 4 * 4;
    if (products[std::size_t(warp)].issued == products[std::size_t(first)].issued) continue;
    report({.kind = ReportKind::divergent_barrier,
            .site = thread.site,
            .message = fmt::format("{} warps {} and {} are of one warpgroup and did not make the same wgmmas",
                                   block_name(), first, warp),
            .threads = {first * 32, warp * 32}});
  }
}

void Worker::thread_exits(Thread& thread) {
  const unsigned bit = 1u << thread.lane();
  Warp& warp = warps[thread.warp()];
  report_unfinished(thread);
  thread.state = State::exited;
  warp.alive &= ~bit;
  --live;

  // Whoever waits for this thread waits in vain; on a GPU of today the rest goes on without it.
  for (unsigned lanes = warp.waiting; lanes; lanes &= lanes - 1) {
    Thread& other = threads[thread.warp() * 32 + __builtin_ctz(lanes)];
    if (!(other.mask & bit)) continue;
    report({.kind = ReportKind::exited_at_barrier,
            .site = other.site,
            .message = fmt::format("{} thread {} returned while thread {} waits for it in {}", block_name(),
                                   thread.linear, other.linear, other.operation->name),
            .threads = {thread.linear, other.linear}});
    if (try_operation(warp, other, nullptr)) break;
  }
  if (warp.arrived_at_cluster && warp.cluster_phase == cluster_phase) --cluster_barrier_arrived;
  cluster.check_barrier();
  if (tracer && warp.alive == 0) tracer->write_out(thread.warp(), warp.existing);
  if (barrier_arrived > 0) {
    report({.kind = ReportKind::exited_at_barrier,
            .site = barrier_site,
            .message = fmt::format("{} thread {} returned, thread {} waits at this __syncthreads",
                                   block_name(), thread.linear, barrier_thread),
            .threads = {thread.linear, barrier_thread}});
    if (barrier_arrived == live) release_block_barrier();
  }

  Thread* next = pick_next();
  ++switches;
  current = next;
  thread.fiber.leave_for(next ? next->fiber : block_loop);
}

// ---- Block barriers ----

void Worker::release_block_barrier() {
  barrier_arrived = 0;
  barrier_result = barrier_sum;
  barrier_sum = 0;
  if (tracer) tracer->block_barrier_released(barrier_site);
  for (int i = 0; i < thread_count; ++i) {
    if (threads[i].state == State::at_block_barrier) make_ready(threads[i]);
  }
}

int block_barrier(BarrierReduction reduction, int predicate, Site site) {
  Worker& worker = *current_worker;
  Thread& self = *worker.current;
  if (worker.barrier_arrived == 0) {
    worker.barrier_site = site;
    worker.barrier_thread = self.linear;
  } else if ((worker.barrier_site.line != site.line || worker.barrier_site.file != site.file) &&
             worker.first_time(ReportKind::divergent_barrier, std::uintptr_t(site.line))) {
    report({.kind = ReportKind::divergent_barrier,
            .site = site,
            .message = fmt::format("{} thread {} is at this __syncthreads, thread {} at the one in line {}",
                                   worker.block_name(), self.linear, worker.barrier_thread,
                                   worker.barrier_site.line),
            .threads = {worker.barrier_thread, self.linear}});
  }
  if (worker.live < worker.thread_count &&
      worker.first_time(ReportKind::exited_at_barrier, std::uintptr_t(site.line))) {
    int gone = 0;
    while (worker.threads[gone].state != State::exited) ++gone;
    report({.kind = ReportKind::exited_at_barrier,
            .site = site,
            .message = fmt::format(
                "{} thread {} is at this __syncthreads, {} threads have returned (thread {} among them)",
                worker.block_name(), self.linear, worker.thread_count - worker.live, gone),
            .threads = {gone, self.linear}});
  }

  self.state = State::at_block_barrier;
  self.site = site;
  worker.barrier_sum += predicate != 0;
  if (++worker.barrier_arrived == worker.live) {
    worker.release_block_barrier();
    // This thread runs on; the others are ready.
    self.state = State::ready;
    worker.warps[self.warp()].ready &= ~(1u << self.lane());
    if (!worker.warps[self.warp()].ready) worker.ready_warps_ &= ~(1u << self.warp());
  } else {
    worker.yield();
  }
  switch (reduction) {
    case BarrierReduction::all:
      return worker.barrier_result == worker.live;
    case BarrierReduction::any:
      return worker.barrier_result != 0;
    default:
      return worker.barrier_result;
  }
}

// ---- Warp operations ----

// Performs what `member` waits in if all lanes of its mask are there. `performer` runs on, the others become
// ready.
bool Worker::try_operation(Warp& warp, Thread& member, Thread* performer) {
  const unsigned needed = member.mask & warp.alive;
  if ((warp.waiting & needed) != needed) return false;
  Thread* lanes = &threads[member.warp() * 32];
  for (unsigned rest = needed; rest; rest &= rest - 1) {
    Thread& other = lanes[__builtin_ctz(rest)];
    const bool same = other.operation == member.operation && other.mask == member.mask;
    const bool same_place = other.site.line == member.site.line && other.site.file == member.site.file;
    if (same && (same_place || !member.operation->aligned)) continue;
    report({.kind = ReportKind::divergent_barrier,
            .site = member.site,
            .message = fmt::format(
                "{}: thread {} is in {} with mask {:08x} here, thread {} in {} with mask {:08x} in line {}",
                block_name(), member.linear, member.operation->name, member.mask, other.linear,
                other.operation->name, other.mask, other.site.line),
            .threads = {other.linear, member.linear}});
    if (!same) fail();
  }
  if (tracer) tracer->write_out(member.warp(), needed);
  const WarpOperation& operation = *member.operation;
  const bool release = operation.perform(*this, lanes, needed);
  warp.waiting &= ~needed;
  if (!release) return true;
  for (unsigned rest = needed; rest; rest &= rest - 1) {
    Thread& other = lanes[__builtin_ctz(rest)];
    if (&other == performer)
      other.state = State::ready;
    else
      make_ready(other);
  }
  return true;
}

// True: the operation was done, and this thread runs on.
bool Worker::arrive(const WarpOperation& operation, unsigned mask, void* arguments, Site site) {
  Thread& self = *current;
  Warp& warp = warps[self.warp()];
  const unsigned bit = 1u << self.lane();
  if (!(mask & bit)) {
    report({.kind = ReportKind::bad_mask,
            .site = site,
            .message = fmt::format("{} thread {} (lane {}) is not in the mask {:08x} of its own {}",
                                   block_name(), self.linear, self.lane(), mask, operation.name),
            .threads = {self.linear}});
    fail();
  }
  if (const unsigned gone = mask & warp.existing & ~warp.alive;
      gone && first_time(ReportKind::exited_at_barrier, std::uintptr_t(site.line))) {
    const int other = self.warp() * 32 + __builtin_ctz(gone);
    report({.kind = ReportKind::exited_at_barrier,
            .site = site,
            .message = fmt::format("{} thread {} waits in {} for thread {}, which has returned", block_name(),
                                   self.linear, operation.name, other),
            .threads = {other, self.linear}});
  }
  self.state = State::at_collective;
  self.operation = &operation;
  self.mask = mask & warp.existing;
  self.arguments = arguments;
  self.site = site;
  warp.waiting |= bit;
  return try_operation(warp, self, &self) && self.state == State::ready;
}

// ---- Deadlock ----

void Worker::report_deadlock() {
  const Thread* at_barrier = nullptr;
  const Thread* at_operation = nullptr;
  const Thread* at_named = nullptr;
  const Thread* at_cluster = nullptr;
  const Thread* at_mbarrier = nullptr;
  const Thread* at_registers = nullptr;
  int barrier_count = 0, operation_count = 0, named_count = 0, cluster_count = 0, mbarrier_count = 0,
      registers_count = 0;
  for (int i = 0; i < thread_count; ++i) {
    const Thread& thread = threads[i];
    if (thread.state == State::at_block_barrier) ++barrier_count, at_barrier = &thread;
    if (thread.state == State::at_collective) ++operation_count, at_operation = &thread;
    if (thread.state == State::at_named_barrier) ++named_count, at_named = &thread;
    if (thread.state == State::at_cluster_barrier) ++cluster_count, at_cluster = &thread;
    if (thread.state == State::at_mbarrier) ++mbarrier_count, at_mbarrier = &thread;
    if (thread.state == State::at_register_pool) ++registers_count, at_registers = &thread;
  }
  std::string message = block_name() + ": nobody can run on.";
  std::vector<int> stuck;
  Site site;
  const auto add = [&](const Thread* thread, int count, const std::string& where) {
    if (!thread) return;
    message += fmt::format(" {} threads wait {} (thread {}, line {});", count, where, thread->linear,
                           thread->site.line);
    stuck.push_back(thread->linear);
    site = thread->site;
  };
  add(at_barrier, barrier_count, "at __syncthreads");
  add(at_named, named_count, "at a named barrier");
  add(at_cluster, cluster_count, "at the cluster's barrier");
  add(at_mbarrier, mbarrier_count,
      at_mbarrier ? "at an mbarrier, " + mbarrier_in_words(*this, at_mbarrier->mbarrier) : "");
  add(at_registers, registers_count, "for registers that nobody gives up");
  if (at_operation) {
    const Warp& warp = warps[at_operation->warp()];
    add(at_operation, operation_count,
        fmt::format("in {} for lanes {:08x}", at_operation->operation->name,
                    at_operation->mask & warp.alive & ~warp.waiting));
  }
  message += fmt::format(" {} have returned", thread_count - live);
  report({.kind = ReportKind::deadlock, .site = site, .message = message, .threads = stuck});
}

// ---- What a kernel asks of its thread ----

uint3 thread_index() {
  return current_worker->current->index;
}
uint3 block_index() {
  return current_worker->block_index;
}
int lane_index() {
  return current_worker->current->lane();
}
unsigned active_mask() {
  const Worker& worker = *current_worker;
  return worker.warps[worker.current->warp()].alive;
}

void trap(Site site) {
  Worker& worker = *current_worker;
  report({.kind = ReportKind::trap,
          .site = site,
          .message = fmt::format("{} thread {} called __trap()", worker.block_name(), worker.current->linear),
          .threads = {worker.current->linear}});
  worker.fail();
}

}  // namespace emulator
