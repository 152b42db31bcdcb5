#include "tracer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "device_memory.hpp"
#include "profile.hpp"
#include "request_cost.hpp"

namespace emulator {
namespace {

constexpr std::size_t kMaxEvents = 20'000;
constexpr std::size_t kPlaceCacheSize = 1024;

EventKind event_of(Access access, bool shared) {
  switch (access) {
    case Access::load:
      return shared ? EventKind::shared_load : EventKind::global_load;
    case Access::store:
      return shared ? EventKind::shared_store : EventKind::global_store;
    case Access::atomic:
      return EventKind::atomic;
    case Access::async_load:
      return EventKind::global_load;
    case Access::async_store:
      return EventKind::cp_async;
    case Access::ldmatrix:
      return EventKind::ldmatrix;
    case Access::bulk_store:
    case Access::proxy_load:
      break;  // checked, and counted as what they are part of
  }
  return EventKind::global_load;
}

}  // namespace

// ---- Launches and blocks ----

void Tracer::begin_launch(Worker& worker) {
  worker_ = &worker;
  checks_ = options().check;
  counts_ = options().profile;
  if (!logs_) logs_ = std::make_unique<Record[]>(std::size_t(kLogCapacity) * kMaxBlockThreads);
  place_cache_.resize(kPlaceCacheSize);
}

void Tracer::begin_block() {
  if (checks_) races_.begin_block(*worker_);
  std::fill_n(log_length_, worker_->scheduler.thread_count(), 0);
  std::fill_n(full_logs_, worker_->scheduler.warp_count(), 0u);
  lane_times_.clear();
  records_events_ = counts_ && may_record_events();
  ++traced_blocks_;
}

void Tracer::end_block() {
  for (int warp = 0; warp < worker_->scheduler.warp_count(); ++warp)
    write_out(warp, worker_->scheduler.existing(warp));
  records_events_ = false;
}

void Tracer::end_launch() {
  KernelCounts counts;
  counts.traced_blocks = traced_blocks_;
  counts.warps.assign(warps_, warps_ + worker_->scheduler.warp_count());
  for (AccessPlace& place : places_) {
    counts.places.push_back({.pc = place.pc, .site = {}, .counters = place.counters});
    place.counters = {};
  }
  for (SiteCounters& site : sites_) {
    counts.places.push_back({.pc = 0, .site = site.site, .counters = site.counters});
    site.counters = {};
  }
  for (const TracedEvent& event : events_) {
    counts.events.push_back({event.kind, event.warp, event.pc, event.site, event.begin, event.end});
  }
  events_.clear();
  traced_blocks_ = 0;
  std::fill(warps_, warps_ + kMaxWarps, Counters{});
  if (counts_) add_to_profile(counts);
}

// ---- Accesses ----

std::uint32_t Tracer::place_of(std::uintptr_t pc, bool shared, Access access) {
  // A call of cp.async is two places, its load and its store.
  const std::uintptr_t key = pc * 4 + (access == Access::async_store) * 2 + shared;
  CachedPlace& cached = place_cache_[(pc ^ pc >> 10 ^ std::uintptr_t(shared) << 9) % kPlaceCacheSize];
  if (cached.key == key) return cached.place;
  const auto [entry, is_new] = place_index_.try_emplace(key, std::uint32_t(places_.size()));
  if (is_new) places_.push_back({.pc = pc, .shared = shared, .access = access, .counters = {}});
  cached = {key, entry->second};
  return entry->second;
}

// False: reported, and the access must not be made.
bool Tracer::check_global(std::uintptr_t pc, const char* address, int bytes, bool writes) {
  worker_->check_previous_launch({}, pc);
  const DeviceMemory& memory = DeviceMemory::instance();
  Allocation* allocation = memory.find(address);
  if (allocation && !allocation->freed && address >= allocation->begin &&
      address + bytes <= allocation->end()) {
    if (writes && !allocation->written.load(std::memory_order_relaxed)) {
      allocation->written.store(true, std::memory_order_relaxed);
    }
    return true;
  }
  const Thread& self = worker_->current();
  const bool freed = allocation && allocation->freed;
  report({.kind = freed ? ReportKind::use_after_free : ReportKind::out_of_bounds,
          .site = {},
          .pc = pc,
          .message = fmt::format("{} thread {} {} {} bytes of global memory, {}", worker_->name(),
                                 self.linear, writes ? "writes" : "reads", bytes, memory.describe(address)),
          .threads = {self.linear}});
  return false;
}

bool Tracer::check_shared(std::uintptr_t pc, std::ptrdiff_t offset, int bytes, bool writes) {
  const std::ptrdiff_t within = offset - worker_->smem.static_bytes();
  const Thread& self = worker_->current();
  const char* does = writes ? "writes" : "reads";
  if (within >= 0) {
    if (std::size_t(within + bytes) <= worker_->smem.dynamic_bytes()) return true;
    report({.kind = ReportKind::out_of_bounds,
            .site = {},
            .pc = pc,
            .message =
                fmt::format("{} thread {} {} {} bytes of dynamic shared memory at {}, the launch gave {}",
                            worker_->name(), self.linear, does, bytes, within, worker_->smem.dynamic_bytes()),
            .threads = {self.linear},
            .variable = "dynamic_smem"});
    return false;
  }
  const SharedVariable* variable = worker_->smem.variable_at(offset);
  if (variable && std::size_t(offset + bytes) <= variable->offset + variable->bytes) return true;
  if (!variable && bytes == 1) return true;  // gcc's guard of a variable is a byte of its own
  if (!worker_->faults.first_time(ReportKind::out_of_bounds, pc)) return true;
  const std::string name = variable ? variable->name : "";
  report({.kind = ReportKind::out_of_bounds,
          .site = {},
          .pc = pc,
          .message = fmt::format("{} thread {} {} {} bytes of static shared memory {}{}", worker_->name(),
                                 self.linear, does, bytes,
                                 variable ? "past the end of " : "outside every variable", name),
          .threads = {self.linear},
          .variable = name});
  return true;  // harmless to the emulated device itself
}

void Tracer::access(std::uintptr_t pc, const void* address, int bytes, Access access) {
  const std::ptrdiff_t offset = worker_->smem.offset_of(address);
  const bool shared = offset >= 0;
  if (!shared && !DeviceMemory::instance().contains(address)) {
    // The thread's own stack, or a constant.
    if (checks_) check_register(pc, address, bytes);
    return;
  }
  const std::uint32_t place = place_of(pc, shared, access);
  Thread& self = worker_->current();
  if (checks_) {
    const bool writes = is_write(access) || access == Access::atomic;
    const char* at = static_cast<const char*>(address);
    if (shared ? !check_shared(pc, offset, bytes, writes) : !check_global(pc, at, bytes, writes))
      worker_->fail();
    if (reinterpret_cast<std::uintptr_t>(address) % std::uintptr_t(bytes) != 0 &&
        (bytes & (bytes - 1)) == 0) {
      report(
          {.kind = ReportKind::misaligned,
           .site = {},
           .pc = pc,
           .message = fmt::format("{} thread {} {} {} bytes at an address that is {} past a multiple of it",
                                  worker_->name(), self.linear, writes ? "writes" : "reads", bytes,
                                  int(reinterpret_cast<std::uintptr_t>(address) % std::uintptr_t(bytes))),
           .threads = {self.linear}});
      worker_->fail();
    }
    if (shared) {
      races_.shared_access(offset, bytes, access, place);
    } else if (DeviceMemory::instance().find(address)->written.load(std::memory_order_relaxed)) {
      races_.global_access(at, bytes, access, place);
    }
  }
  if (!counts_) return;
  int& length = log_length_[self.linear];
  logs_[std::size_t(self.linear) * kLogCapacity + std::size_t(length)] = {
      reinterpret_cast<std::uint64_t>(address), place, std::uint32_t(bytes)};
  if (++length < kLogCapacity) return;
  full_logs_[self.warp()] |= 1u << self.lane();
  worker_->wait_for_trace();
}

// A local variable that is an accumulator of a wgmma stands for registers.
void Tracer::check_register(std::uintptr_t pc, const void* address, int bytes) {
  const Thread& self = worker_->current();
  if (!worker_->products(self.warp()).is_pending(self.lane(), address, bytes)) return;
  if (!worker_->faults.first_time(ReportKind::in_flight_access, pc)) return;
  report({.kind = ReportKind::in_flight_access,
          .site = {},
          .pc = pc,
          .message = fmt::format("{} thread {} uses a register of a wgmma that was not waited for",
                                 worker_->name(), self.linear),
          .threads = {self.linear}});
}

void Tracer::continue_threads_with_full_logs(int warp) {
  const unsigned lanes = full_logs_[warp];
  if (!lanes) return;
  write_out(warp, lanes);
  full_logs_[warp] = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    worker_->scheduler.make_ready(worker_->scheduler.lanes(warp)[__builtin_ctz(rest)]);
  }
}

// ---- Requests ----

void Tracer::request(int warp, std::uint32_t place_index, int lane_bytes, const std::uint64_t* addresses,
                     unsigned lanes) {
  AccessPlace& place = places_[place_index];
  const std::uint64_t bytes = std::uint64_t(lane_bytes) * unsigned(__builtin_popcount(lanes));
  std::uint64_t compact[32];
  int count = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) compact[count++] = addresses[__builtin_ctz(rest)];

  RequestCost cost;
  if (place.shared)
    cost = shared_wavefronts(addresses, lanes, lane_bytes);
  else
    cost = global_sectors(compact, count, lane_bytes);

  for (Counters* counters : {&place.counters, &warps_[warp]}) {
    switch (place.access) {
      case Access::load:
      case Access::async_load:
      case Access::ldmatrix:
        if (place.shared) {
          counters->shared_load_requests += 1;
          counters->shared_load_wavefronts += cost.work;
          counters->shared_load_wavefronts_ideal += cost.ideal;
          counters->shared_load_bytes += bytes;
          if (place.access == Access::ldmatrix) counters->ldmatrix += 1;
        } else {
          counters->global_load_requests += 1;
          counters->global_load_sectors += cost.work;
          counters->global_load_sectors_ideal += cost.ideal;
          counters->global_load_bytes += bytes;
        }
        break;
      case Access::store:
        if (place.shared) {
          counters->shared_store_requests += 1;
          counters->shared_store_wavefronts += cost.work;
          counters->shared_store_wavefronts_ideal += cost.ideal;
          counters->shared_store_bytes += bytes;
        } else {
          counters->global_store_requests += 1;
          counters->global_store_sectors += cost.work;
          counters->global_store_sectors_ideal += cost.ideal;
          counters->global_store_bytes += bytes;
        }
        break;
      case Access::async_store:
        counters->cp_async += 1;
        counters->async_store_wavefronts += cost.work;
        counters->async_store_wavefronts_ideal += cost.ideal;
        counters->async_bytes += bytes;
        break;
      case Access::atomic:
        counters->atomic_requests += 1;
        break;
      case Access::bulk_store:
      case Access::proxy_load:
        break;
    }
  }
  if (!records_events_) return;
  const auto [low, high] = std::minmax_element(compact, compact + count);
  std::uint64_t begin = *low, end = *high + std::uint64_t(lane_bytes);
  if (place.shared) {
    const auto offset = worker_->smem.offset_of(reinterpret_cast<const void*>(begin));
    end = std::uint64_t(offset) + (end - begin);
    begin = std::uint64_t(offset);
  }
  record_event({event_of(place.access, place.shared), warp, place.pc, {}, begin, end});
}

void Tracer::write_out(int warp, unsigned lanes) {
  if (!counts_) return;
  int longest = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    longest = std::max(longest, log_length_[warp * 32 + __builtin_ctz(rest)]);
  }
  // As long as all lanes that have anything left did the same, their k-th accesses belong together.
  std::uint64_t addresses[32];
  for (int i = 0; i < longest; ++i) {
    unsigned together = 0;
    std::uint32_t place = 0;
    int bytes = 0;
    for (unsigned rest = lanes; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest), thread = warp * 32 + lane;
      if (i >= log_length_[thread]) continue;
      const Record& record = logs_[std::size_t(thread) * kLogCapacity + std::size_t(i)];
      if (together == 0) {
        place = record.place;
        bytes = int(record.bytes);
      } else if (record.place != place) {
        write_out_diverged(warp, lanes, i);
        longest = 0;
        break;
      }
      together |= 1u << lane;
      addresses[lane] = record.address;
    }
    if (longest) request(warp, place, bytes, addresses, together);
  }
  for (unsigned rest = lanes; rest; rest &= rest - 1) log_length_[warp * 32 + __builtin_ctz(rest)] = 0;
}

void Tracer::write_out_diverged(int warp, unsigned lanes, int from) {
  groups_.clear();
  if (groups_of_place_.size() < places_.size()) groups_of_place_.resize(places_.size());
  if (occurrences_.size() < places_.size()) occurrences_.resize(places_.size());
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    const int lane = __builtin_ctz(rest), thread = warp * 32 + lane;
    const Record* log = &logs_[std::size_t(thread) * kLogCapacity];
    for (int i = from; i < log_length_[thread]; ++i) occurrences_[log[i].place] = 0;
    for (int i = from; i < log_length_[thread]; ++i) {
      std::vector<std::uint32_t>& of_place = groups_of_place_[log[i].place];
      const std::size_t occurrence = std::size_t(occurrences_[log[i].place]++);
      if (occurrence == of_place.size()) {
        of_place.push_back(std::uint32_t(groups_.size()));
        groups_.push_back({.place = log[i].place, .bytes = int(log[i].bytes), .lanes = 0, .addresses = {}});
      }
      Group& group = groups_[of_place[occurrence]];
      group.lanes |= 1u << lane;
      group.addresses[lane] = log[i].address;
    }
  }
  for (const Group& group : groups_) {
    request(warp, group.place, group.bytes, group.addresses, group.lanes);
    groups_of_place_[group.place].clear();
  }
}

// ---- Other instructions ----

Counters& Tracer::at_site(Site site) {
  // A kernel has a few dozen such places; the last one is usually the one again.
  for (SiteCounters& known : sites_) {
    if (known.site.line == site.line && known.site.file == site.file) return known.counters;
  }
  sites_.push_back({site, {}});
  return sites_.back().counters;
}

void Tracer::record_event(TracedEvent event) {
  if (events_.size() < kMaxEvents) events_.push_back(event);
}

void Tracer::count(int warp, EventKind kind, Site site, std::uint64_t instructions, std::uint64_t amount) {
  if (!counts_) return;
  for (Counters* counters : {&at_site(site), &warps_[warp]}) {
    switch (kind) {
      case EventKind::mma:
        counters->mma += instructions;
        counters->tensor_flop += amount;
        break;
      case EventKind::wgmma:
        counters->wgmma += instructions;
        counters->tensor_flop += amount;
        break;
      case EventKind::cp_async_bulk:
        counters->bulk_loads += instructions;
        counters->bulk_load_bytes += amount;
        break;
      case EventKind::bulk_store:
        counters->bulk_stores += instructions;
        counters->bulk_store_bytes += amount;
        break;
      case EventKind::remote_store:
        counters->remote_stores += instructions;
        break;
      case EventKind::mbarrier_arrive:
        counters->mbarrier_arrivals += instructions;
        break;
      case EventKind::mbarrier_wait:
        counters->mbarrier_waits += instructions;
        break;
      case EventKind::cp_async_commit_group:
        counters->cp_async_commits += instructions;
        break;
      case EventKind::cp_async_wait_group:
        counters->cp_async_waits += instructions;
        break;
      case EventKind::block_barrier:
        counters->block_barriers += instructions;
        break;
      case EventKind::named_barrier:
        counters->named_barriers += instructions;
        break;
      case EventKind::warp_barrier:
        counters->warp_barriers += instructions;
        break;
      case EventKind::shuffle:
        counters->shuffles += instructions;
        break;
      case EventKind::vote:
        counters->votes += instructions;
        break;
      default:
        break;  // accesses are counted as such
    }
  }
  if (records_events_) record_event({kind, warp, 0, site, 0, 0});
}

void Tracer::count_lane(EventKind kind, Site site) {
  if (!counts_) return;
  const Thread& self = worker_->current();
  const auto is_here = [&](const LaneTimes& known) {
    return known.warp == self.warp() && known.kind == kind && known.site.line == site.line &&
           known.site.file == site.file;
  };
  auto place = std::find_if(lane_times_.begin(), lane_times_.end(), is_here);
  if (place == lane_times_.end()) {
    place = lane_times_.insert(place, {self.warp(), kind, site, 0, {}});
  }
  if (++place->times[self.lane()] <= place->most) return;
  place->most = place->times[self.lane()];
  count(self.warp(), kind, site);
}

void Tracer::count_wgmma_wavefronts(int warp, Site site, std::uint64_t wavefronts) {
  if (!counts_) return;
  at_site(site).wgmma_wavefronts += wavefronts;
  warps_[warp].wgmma_wavefronts += wavefronts;
}

void Tracer::count_groups_in_flight(int warp, std::uint64_t groups) {
  warps_[warp].max_groups_in_flight = std::max(warps_[warp].max_groups_in_flight, groups);
}

void Tracer::block_barrier_released(Site site) {
  for (int warp = 0; warp < worker_->scheduler.warp_count(); ++warp) {
    write_out(warp, worker_->scheduler.existing(warp));
    if (worker_->scheduler.alive(warp)) count(warp, EventKind::block_barrier, site);
  }
  if (checks_) races_.block_barrier();
}

void Tracer::warp_barrier_passed(int warp) {
  if (checks_) races_.warp_barrier(warp);
}
void Tracer::named_barrier_arrived(int id, int warp) {
  if (checks_) races_.named_barrier_arrived(id, warp);
}
void Tracer::named_barrier_passed(int id, int warp) {
  if (checks_) races_.named_barrier_passed(id, warp);
}
void Tracer::cluster_barrier_arrived(int warp) {
  if (checks_) races_.named_barrier_arrived(kNamedBarriers, warp);
}
void Tracer::cluster_barrier_passed(int warp) {
  if (checks_) races_.named_barrier_passed(kNamedBarriers, warp);
}
void Tracer::named_barrier_complete(int id) {
  if (checks_) races_.named_barrier_complete(id);
}

// ---- cp.async ----

void Tracer::copy_issued(const AsyncCopy& copy) {
  const std::ptrdiff_t offset = worker_->smem.offset_of(copy.to);
  if (checks_ && offset >= 0) races_.set_in_flight(offset, copy.bytes, true);
}

void Tracer::copy_completed(const AsyncCopy& copy, std::uintptr_t pc) {
  const std::ptrdiff_t offset = worker_->smem.offset_of(copy.to);
  if (!checks_ || offset < 0) return;
  races_.set_in_flight(offset, copy.bytes, false);
  races_.shared_access(offset, copy.bytes, Access::async_store, place_of(pc, true, Access::async_store));
}

// ---- Bulk copies, wgmma, mbarriers ----

void Tracer::bulk_issued(std::ptrdiff_t offset, int bytes, std::uintptr_t pc, bool own) {
  if (!checks_) return;
  // Between blocks nothing is known of the order of accesses.
  if (own) races_.shared_access(offset, bytes, Access::bulk_store, place_of(pc, true, Access::bulk_store));
  races_.set_in_flight(offset, bytes, true);
}

void Tracer::bulk_landed(std::ptrdiff_t offset, int bytes, std::ptrdiff_t mbarrier, std::uintptr_t pc) {
  if (checks_) races_.bulk_landed(offset, bytes, mbarrier, place_of(pc, true, Access::bulk_store));
}

void Tracer::bulk_store_issued(std::ptrdiff_t offset, int bytes) {
  if (checks_) races_.set_being_read(offset, bytes, true);
}
void Tracer::bulk_store_done(std::ptrdiff_t offset, int bytes) {
  if (checks_) races_.set_being_read(offset, bytes, false);
}

void Tracer::proxy_read(const Thread& thread, std::uintptr_t pc, std::ptrdiff_t offset, int bytes) {
  if (checks_)
    races_.shared_access_by(thread.linear, offset, bytes, Access::proxy_load,
                            place_of(pc, true, Access::proxy_load));
}

void Tracer::proxy_fence() {
  if (checks_) races_.proxy_fence();
}

void Tracer::mbarrier_access(std::uintptr_t pc, std::ptrdiff_t offset, bool initialises) {
  const Access access = initialises ? Access::store : Access::atomic;
  if (checks_) races_.shared_access(offset, int(sizeof(std::uint64_t)), access, place_of(pc, true, access));
}

void Tracer::mbarrier_initialised(std::ptrdiff_t offset) {
  if (checks_) races_.mbarrier_initialised(offset);
}
void Tracer::mbarrier_arrived(std::ptrdiff_t offset) {
  if (checks_) races_.mbarrier_arrived(offset);
}
void Tracer::mbarrier_phase_ended(std::ptrdiff_t offset) {
  if (checks_) races_.mbarrier_phase_ended(offset);
}
void Tracer::mbarrier_waited(std::ptrdiff_t offset) {
  if (checks_) races_.mbarrier_waited(offset);
}

}  // namespace emulator
