#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "emulator/runtime_types.hpp"

/// What tests and tools ask of the emulated device. It checks and counts; it does not time.
namespace emulator {

struct Options {
  /// Decides the order in which lanes, warps and blocks run. One seed gives one order, whatever the
  /// number of workers.
  std::uint64_t schedule_seed = 1;
  /// OS threads that run blocks; 0: one per core.
  int worker_threads = 0;
  /// Look for races, uninitialised and out-of-bounds accesses. Needs traced kernels.
  bool check = false;
  /// Count requests, sectors, wavefronts, instructions. Needs traced kernels.
  bool profile = false;
  /// Check and count in only so many blocks of a launch, spread over the grid; 0: in all.
  int traced_blocks = 0;
};

/// Sets the options for the launches to come. With `check` or `profile` the program is started again with
/// traced kernels where it has plain ones; it must not have done anything yet that it should not do twice.
/// @throws attention::InvalidInput where traced kernels are not built; what() says what builds them.
void configure(const Options& options);
const Options& options();

/// Are this program's kernels the traced ones?
bool kernels_are_traced();

// ---- Faults ----

enum class ReportKind {
  shared_race,        ///< two threads, one place in shared memory, one of them writes, nothing orders them
  global_race,        ///< the same in global memory, threads of one block
  in_flight_access,   ///< data of an asynchronous copy, or a register of a wgmma, used before the wait for it
  wait_never_made,    ///< threads end with copies or wgmmas that no thread waited for
  launch_not_waited,  ///< global memory used with no griddepcontrol_wait() by a launch that may start early
  missing_fence,      ///< TMA or wgmma may not see what threads wrote
  bad_mbarrier,       ///< not initialised, too many arrivals, more bytes than it can count
  bad_registers,      ///< setmaxnreg in the wrong direction
  uninitialized_shared,  ///< shared memory read before it was written
  out_of_bounds,         ///< outside the allocation, the dynamic shared memory of the launch, or the variable
  use_after_free,        ///< global memory after cudaFree
  double_free,           ///< cudaFree of what is free, or was never allocated
  misaligned,            ///< an address that is not a multiple of what the instruction needs
  divergent_barrier,     ///< threads of a block, or lanes of a warp, meet at different instructions
  deadlock,              ///< no thread can go on
  exited_at_barrier,     ///< threads wait at a barrier for threads that have returned
  bad_mask,              ///< a lane outside its own mask, a shuffle from a lane outside it
  stack_overflow,        ///< a thread used more than its stack
  trap,                  ///< the kernel called __trap()
  fault,                 ///< any other access that the CPU refused
};
const char* name(ReportKind kind);

struct Report {
  ReportKind kind;
  std::string file;
  int line = 0;
  std::string message;       ///< one line: what, which block and threads, which variable
  std::vector<int> threads;  ///< indices in the block; of a race the earlier access first
  std::string variable;      ///< of shared memory, where known
  std::string kernel;
  std::string other_file;  ///< of a race: the earlier access
  int other_line = 0;
};

/// Every place once, in the order found; also printed on stderr when found.
std::vector<Report> reports();
std::size_t report_count();
void clear_reports();
/// Forgets the error of a failed launch, which a GPU keeps until the process ends.
void clear_error();

// ---- Launches ----

struct Launch {
  std::string kernel;
  dim3 grid, block;
  std::size_t dynamic_smem_bytes = 0;
  std::size_t static_smem_bytes = 0;  ///< shared variables of the kernel itself
  cudaStream_t stream = nullptr;
  bool from_graph = false;
  std::vector<cudaLaunchAttribute> attributes;  ///< as given, and those set on the stream
  cudaError_t error = cudaSuccess;
  /// The attribute `id`, or null.
  const cudaLaunchAttributeValue* attribute(cudaLaunchAttributeID id) const;
};

/// Launches since the start or the last clear_launches(), at most 100,000.
std::vector<Launch> launches();
void clear_launches();

// ---- Counters ----

/// What Nsight Compute counts, for the source as the compiler of the traced kernels sees it. A request is one
/// instruction of one warp.
struct Counters {
  std::uint64_t global_load_requests = 0, global_load_sectors = 0, global_load_sectors_ideal = 0;
  std::uint64_t global_load_bytes = 0;
  std::uint64_t global_store_requests = 0, global_store_sectors = 0, global_store_sectors_ideal = 0;
  std::uint64_t global_store_bytes = 0;
  std::uint64_t shared_load_requests = 0, shared_load_wavefronts = 0, shared_load_wavefronts_ideal = 0;
  std::uint64_t shared_load_bytes = 0;
  std::uint64_t shared_store_requests = 0, shared_store_wavefronts = 0, shared_store_wavefronts_ideal = 0;
  std::uint64_t shared_store_bytes = 0;
  /// Writes to shared memory by cp.async; their reads are among the global loads.
  std::uint64_t async_store_wavefronts = 0, async_store_wavefronts_ideal = 0, async_bytes = 0;
  std::uint64_t ldmatrix = 0;     ///< LDSM instructions, those of wmma loads from shared memory included
  std::uint64_t mma = 0;          ///< HMMA instructions; a wmma 16x16x16 is two
  std::uint64_t tensor_flop = 0;  ///< floating-point operations of those
  std::uint64_t cp_async = 0;     ///< LDGSTS instructions
  std::uint64_t cp_async_commits = 0, cp_async_waits = 0;
  std::uint64_t block_barriers = 0;  ///< a warp's arrivals at __syncthreads
  std::uint64_t named_barriers = 0;  ///< a warp's arrivals at named barriers
  std::uint64_t warp_barriers = 0;   ///< __syncwarp
  std::uint64_t shuffles = 0, votes = 0;
  std::uint64_t atomic_requests = 0;
  std::uint64_t wgmma = 0;             ///< wgmmas, counted by warp; their operations are among tensor_flop
  std::uint64_t wgmma_wavefronts = 0;  ///< to read their tiles; a warpgroup's first warp counts B's
  /// Bulk copies: instructions that load to shared memory or store from it through TMA, and their bytes.
  /// Loads count what arrives in a block, with the zeros for what is outside a tensor; stores count what is
  /// inside. None of this is among the loads and stores above.
  std::uint64_t bulk_loads = 0, bulk_load_bytes = 0, bulk_stores = 0, bulk_store_bytes = 0;
  std::uint64_t remote_stores = 0;  ///< to the shared memory of another block, st.async
  std::uint64_t mbarrier_arrivals = 0, mbarrier_waits = 0;
  /// Most commit groups of cp.async with copies in them that one thread had outstanding.
  std::uint64_t max_groups_in_flight = 0;

  Counters& operator+=(const Counters& other);
};

/// The counters by name, in the order above: for tables and files.
std::vector<std::pair<const char*, std::uint64_t>> named_values(const Counters& counters);

struct SourceLine {
  std::string file;
  int line = 0;
  std::string text;  ///< the line itself, where the file can be read
  Counters counters;
};

enum class EventKind {
  global_load,
  global_store,
  shared_load,
  shared_store,
  ldmatrix,
  mma,
  cp_async,
  cp_async_commit_group,
  cp_async_wait_group,
  block_barrier,
  named_barrier,
  warp_barrier,
  shuffle,
  vote,
  atomic,
  wgmma,
  wgmma_wait_group,
  cp_async_bulk,
  bulk_store,
  remote_store,
  mbarrier_arrive,
  mbarrier_wait,
};
const char* name(EventKind kind);

/// One instruction of one warp of the first traced block of a launch, in the order in which it ran.
struct Event {
  EventKind kind;
  int warp = 0;
  std::string file;
  int line = 0;
  /// Shared memory: offsets of the first and past the last byte (static variables first, then dynamic).
  /// Global memory: addresses.
  std::uint64_t begin = 0, end = 0;
};

/// What was counted for the launches of one kernel.
struct KernelProfile {
  std::string kernel;
  std::uint64_t launches = 0, blocks = 0, traced_blocks = 0;
  Counters total;                 ///< of the traced blocks
  std::vector<Counters> warps;    ///< by warp of the block
  std::vector<SourceLine> lines;  ///< most waste first
  std::vector<Event> events;      ///< at most 20,000 per kernel, of its first launch
};

struct Profile {
  std::vector<KernelProfile> kernels;
  Counters total;
};

/// What was counted since the start or the last clear_profile().
Profile profile();
void clear_profile();
/// One JSON object; see the README for its members.
std::string profile_json(const Profile& profile);
/// Tables for people: the totals of each kernel, then its source lines, those that waste most first.
void print_profile(std::ostream& out, const Profile& profile);

/// Switches between fibers since the start, of all workers: what the scheduler does.
std::uint64_t fiber_switches();

}  // namespace emulator
