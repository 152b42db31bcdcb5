#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "emulator/emulator.hpp"
#include "race_checker.hpp"
#include "worker.hpp"

namespace emulator {

/// Takes in every access to memory of the block that a worker runs, checks it, and counts what the accesses
/// of a warp cost together. Lanes run one after the other, so accesses are logged by lane and put together
/// into requests when the warp's lanes next meet: the k-th access of each lane from one place in the code
/// is one request.
class Tracer {
 public:
  void begin_launch(Worker& worker);
  void begin_block();
  void end_block();
  /// Adds what was counted to the profile, and forgets it.
  void end_launch();

  /// One access by the current thread. `pc` is a return address in the kernel. May switch to another thread.
  void access(std::uintptr_t pc, const void* address, int bytes, Access access);

  /// Puts the logged accesses of these lanes together.
  void write_out(int warp, unsigned lanes);
  /// Lets threads go on whose log was full, when no other lane of the warp can run.
  void continue_threads_with_full_logs(int warp);

  /// One instruction of a warp other than an access; `amount`: FLOP of a matrix product, bytes of
  /// a bulk copy.
  void count(int warp, EventKind kind, Site site, std::uint64_t instructions = 1, std::uint64_t amount = 0);
  /// The same for what each lane does on its own, by the current thread: as of accesses, the k-th time of
  /// each lane at one place is one instruction.
  void count_lane(EventKind kind, Site site);
  void count_wgmma_wavefronts(int warp, Site site, std::uint64_t wavefronts);
  void count_groups_in_flight(int warp, std::uint64_t groups);

  void block_barrier_released(Site site);
  void warp_barrier_passed(int warp);
  void named_barrier_arrived(int id, int warp);
  void named_barrier_passed(int id, int warp);
  void named_barrier_complete(int id);
  void cluster_barrier_arrived(int warp);
  void cluster_barrier_passed(int warp);
  void copy_issued(const AsyncCopy& copy);
  void copy_completed(const AsyncCopy& copy, std::uintptr_t pc);

  /// The current thread, or one of another block (`own` false), issues a copy that will write this.
  void bulk_issued(std::ptrdiff_t offset, int bytes, std::uintptr_t pc, bool own);
  void bulk_landed(std::ptrdiff_t offset, int bytes, std::ptrdiff_t mbarrier, std::uintptr_t pc);
  /// A bulk store of the current thread will read this, until it is done.
  void bulk_store_issued(std::ptrdiff_t offset, int bytes);
  void bulk_store_done(std::ptrdiff_t offset, int bytes);
  /// TMA or wgmma reads, for `thread`.
  void proxy_read(const Thread& thread, std::uintptr_t pc, std::ptrdiff_t offset, int bytes);
  void proxy_fence();
  /// The current thread initialises an mbarrier, or arrives or waits there.
  void mbarrier_access(std::uintptr_t pc, std::ptrdiff_t offset, bool initialises);
  void mbarrier_initialised(std::ptrdiff_t offset);
  void mbarrier_arrived(std::ptrdiff_t offset);
  void mbarrier_phase_ended(std::ptrdiff_t offset);
  void mbarrier_waited(std::ptrdiff_t offset);

  std::uintptr_t pc_of(std::uint32_t place) const { return places_[place].pc; }

 private:
  static constexpr int kLogCapacity = 256;

  // A place in the code that accesses memory, in one of the two spaces.
  struct AccessPlace {
    std::uintptr_t pc;
    bool shared;
    Access access;
    Counters counters;
  };
  struct Record {
    std::uint64_t address;
    std::uint32_t place;
    std::uint32_t bytes;
  };
  struct SiteCounters {
    Site site;
    Counters counters;
  };
  // How often each lane of a warp has been at a place, for what lanes do on their own.
  struct LaneTimes {
    int warp;
    EventKind kind;
    Site site;
    std::uint64_t most;
    std::uint64_t times[32];
  };
  struct TracedEvent {
    EventKind kind;
    int warp;
    std::uintptr_t pc;
    Site site;
    std::uint64_t begin, end;
  };
  // Accesses of several lanes that make one request, while lanes that diverged are sorted out.
  struct Group {
    std::uint32_t place;
    int bytes;
    unsigned lanes;
    std::uint64_t addresses[32];
  };

  std::uint32_t place_of(std::uintptr_t pc, bool shared, Access access);
  bool check_global(std::uintptr_t pc, const char* address, int bytes, bool writes);
  bool check_shared(std::uintptr_t pc, std::ptrdiff_t offset, int bytes, bool writes);
  void request(int warp, std::uint32_t place, int lane_bytes, const std::uint64_t* addresses, unsigned lanes);
  void write_out_diverged(int warp, unsigned lanes, int from);
  void check_register(std::uintptr_t pc, const void* address, int bytes);
  void record_event(TracedEvent event);
  Counters& at_site(Site site);

  Worker* worker_ = nullptr;
  bool checks_ = false;
  bool counts_ = false;
  bool records_events_ = false;

  RaceChecker races_;
  std::vector<AccessPlace> places_;
  std::unordered_map<std::uintptr_t, std::uint32_t> place_index_;
  struct CachedPlace {
    std::uintptr_t key = 0;
    std::uint32_t place = 0;
  };
  std::vector<CachedPlace> place_cache_;
  std::vector<SiteCounters> sites_;
  std::vector<LaneTimes> lane_times_;

  std::unique_ptr<Record[]> logs_;  // kLogCapacity records for each thread
  int log_length_[kMaxBlockThreads] = {};
  unsigned full_logs_[kMaxWarps] = {};
  std::vector<Group> groups_;
  std::vector<std::vector<std::uint32_t>> groups_of_place_;
  std::vector<int> occurrences_;

  Counters warps_[kMaxWarps];
  std::uint64_t traced_blocks_ = 0;
  std::vector<TracedEvent> events_;
};

}  // namespace emulator
