#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace emulator {

class Worker;

enum class Access : std::uint8_t {
  load,
  store,
  atomic,
  async_load,   ///< the global side of a cp.async
  async_store,  ///< its shared side
  ldmatrix,
  bulk_store,  ///< what TMA will write, when the copy is issued
  proxy_load,  ///< by TMA or wgmma, which miss what threads wrote and have not fenced
};
inline bool is_write(Access access) {
  return access == Access::store || access == Access::async_store || access == Access::bulk_store;
}

/// Finds pairs of accesses by two threads of a block to the same bytes, one of them a write,
/// that nothing orders.
///
/// A block barrier orders everything. A named barrier orders what its warps did before they arrived before
/// what the waiting warps do afterwards. __syncwarp orders the lanes of its warp. An mbarrier orders what an
/// arriving thread did, and what its warp did before the last operation that ordered the warp, before what
/// the warps of waiting threads do afterwards. What TMA writes is over for threads that waited for the phase
/// of the mbarrier that counted it.
///
/// Time is counted in ticks, one per synchronisation. Each warp carries the tick it is in and, for each other
/// warp, the last tick of that warp that it knows to be over. These are vector clocks, as in FastTrack
/// (Flanagan and Freund 2009), with warps in place of threads, single threads where they arrive alone, and
/// mbarriers for what TMA does.
class RaceChecker {
 public:
  void begin_block(Worker& worker);

  void block_barrier();
  void warp_barrier(int warp);
  void named_barrier_arrived(int id, int warp);
  void named_barrier_passed(int id, int warp);
  void named_barrier_complete(int id);

  // mbarriers are told apart by their offset in shared memory; arrivals and waits are the current thread's.
  void mbarrier_initialised(std::ptrdiff_t offset);
  void mbarrier_arrived(std::ptrdiff_t offset);
  void mbarrier_phase_ended(std::ptrdiff_t offset);
  void mbarrier_waited(std::ptrdiff_t offset);
  /// The current thread's writes to shared memory are now visible to TMA and wgmma.
  void proxy_fence();

  /// `place` is an index into the tracer's places, for the report.
  void shared_access(std::ptrdiff_t offset, int bytes, Access access, std::uint32_t place);
  void global_access(const char* address, int bytes, Access access, std::uint32_t place);
  /// The same by a given thread: what TMA or wgmma read on its behalf.
  void shared_access_by(int thread, std::ptrdiff_t offset, int bytes, Access access, std::uint32_t place);
  /// What TMA has written, to be counted by the mbarrier at `mbarrier`.
  void bulk_landed(std::ptrdiff_t offset, int bytes, std::ptrdiff_t mbarrier, std::uint32_t place);
  /// From the issue of a bulk store until the wait for it, no thread may write to what it reads.
  void set_being_read(std::ptrdiff_t offset, int bytes, bool being_read);
  /// Between issue and wait of a copy, no thread may touch the bytes.
  void set_in_flight(std::ptrdiff_t offset, int bytes, bool in_flight);

 private:
  static constexpr int kWarps = 32;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kBarriers = 17;    // named ones, and the cluster's
  static constexpr int kMbarriers = 128;  // more share the last one's clock
  // In place of a thread: TMA, with kTma + i for what counts on mbarrier i.
  static constexpr int kTma = kThreads;

  // For each warp, thread and mbarrier, the last tick known to be over.
  struct Clock {
    std::uint32_t of_warp[kWarps] = {};
    std::uint32_t of_thread[kThreads] = {};  // where a single thread's is later than its warp's
    std::uint32_t of_mbarrier[kMbarriers] = {};
    void merge(const Clock& other);
  };
  struct Mbarrier {
    std::ptrdiff_t offset;
    std::uint32_t tick;  // of the phase that has not ended, for what TMA writes
    Clock arrived;       // what is over for threads that wait for that phase
    Clock ended;         // ... for the phase before it
  };

  // A warp's reads of a cell since it last synchronised.
  struct Reader {
    std::uint32_t tick;
    std::uint32_t place;
    std::uint16_t thread;        // the last to read
    std::uint16_t other_thread;  // another lane that has read, or the same where there is none
    bool by_several_lanes() const { return other_thread != thread; }
    int thread_besides(int self) const { return thread != self ? thread : other_thread; }
    void add(const Reader& next) {
      if (thread != next.thread) other_thread = thread;
      tick = next.tick;
      place = next.place;
      thread = next.thread;
    }
  };

  // Shadow of two bytes of memory. Ticks before the block's first stand for "never in this block".
  struct Cell {
    std::uint32_t write_tick;
    std::uint32_t write_place;
    Reader read;               // the last one
    std::uint32_t read_warps;  // bit by warp
    std::uint32_t readers;     // where several warps read: index into readers_; 0 before there were any
    std::uint16_t write_thread;
    std::uint8_t write_bytes;  // which of the two bytes: bits 0 and 1
    std::uint8_t read_bytes;
    bool write_was_atomic;
    std::uint16_t write_fences;  // proxy fences that the writer had made before
  };

  bool is_over(std::uint16_t thread, std::uint32_t tick) const;
  void check(Cell& cell, std::uint8_t bytes, Access access, std::uint32_t place, bool shared,
             std::uintptr_t where);
  const Reader& reader_of(const Cell& cell, int warp) const;
  bool is_over(const Reader& reader) const;
  void note_read(Cell& cell, std::uint8_t bytes, std::uint32_t place);
  void found_in_flight(std::ptrdiff_t offset, std::uint32_t place, Access access, const char* what);
  void found_race(const char* what, int other, std::uint32_t other_place, std::uint32_t place, bool shared,
                  std::uintptr_t where);
  Cell* global_cells(const char* address);

  Worker* worker_ = nullptr;
  std::uint32_t tick_ = 1;
  std::uint32_t first_tick_ = 1;  // of this block
  std::uint32_t warp_tick_[kWarps] = {};
  std::uint32_t thread_tick_[kThreads] = {};  // later than its warp's where it has arrived alone
  std::vector<Clock> known_;                  // by warp
  std::uint32_t all_known_[kWarps] = {};      // the least of known_[warp].of_warp
  std::vector<Clock> released_;               // by named barrier
  std::vector<Mbarrier> mbarriers_;
  std::uint16_t fences_[kThreads] = {};

  std::uint32_t now() const;
  Mbarrier& mbarrier_at(std::ptrdiff_t offset);
  void learn(int warp, const Clock& clock);

  // The thread that makes the access, looked up once.
  int self_ = 0;
  int self_warp_ = 0;

  std::vector<Cell> shared_;
  std::vector<Reader> readers_;  // warps_ for each cell that several warps read
  std::size_t warps_ = 0;        // of the largest block so far
  std::vector<bool> in_flight_;
  bool any_in_flight_ = false;
  struct Range {
    std::ptrdiff_t begin, end;
  };
  std::vector<Range> being_read_;
  // Shadow of global memory, by 64 KB of it, made where a block first touches it and reused by
  // the next block.
  std::vector<std::unique_ptr<Cell[]>> global_;
  std::vector<std::size_t> used_chunks_;
  std::vector<std::unique_ptr<Cell[]>> free_chunks_;
};

}  // namespace emulator
