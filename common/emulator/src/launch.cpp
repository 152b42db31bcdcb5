// Launches: what CUDA would refuse, the workers that run the blocks, and the record of what was launched.

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <thread>
#include <unordered_map>

#include "device_memory.hpp"
#include "emulator/launch.hpp"
#include "emulator/runtime_api.hpp"
#include "fault_handler.hpp"
#include "profile.hpp"
#include "runtime_state.hpp"
#include "tracer.hpp"
#include "worker.hpp"

namespace emulator {
namespace {

constexpr std::size_t kMaxRecordedLaunches = 100'000;
constexpr int kMaxWorkers = 16;  // 1024 stacks with guard pages each: the system limits mappings to 65530

// ---- Workers ----

/// OS threads that run blocks. They stay, asleep, until the process ends.
class WorkerPool {
 public:
  /// Runs function(worker) on `count` workers at once, and returns when all have.
  void run(int count, const std::function<void(Worker&)>& function) {
    std::unique_lock lock(mutex_);
    for (int id = started_; id < count; ++id) std::thread([this, id] { work(id); }).detach();
    started_ = std::max(started_, count);
    function_ = &function;
    wanted_ = count;
    running_ = count;
    ++round_;
    wake_.notify_all();
    done_.wait(lock, [this] { return running_ == 0; });
  }

  std::uint64_t switches() const { return switches_; }

 private:
  void work(int id) {
    make_signal_stack();
    auto worker = std::make_unique<Worker>();
    current_worker = worker.get();
    std::uint64_t round = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != round; });
      round = round_;
      if (id >= wanted_) continue;
      lock.unlock();
      (*function_)(*worker);
      lock.lock();
      switches_ += worker->switches;
      worker->switches = 0;
      if (--running_ == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(Worker&)>* function_ = nullptr;
  int started_ = 0;
  int wanted_ = 0;
  int running_ = 0;
  std::uint64_t round_ = 0;
  std::atomic<std::uint64_t> switches_ = 0;
};

// Never destroyed: its threads sleep on its members until the process ends.
WorkerPool& pool() {
  static auto* pool = new WorkerPool;
  return *pool;
}

int worker_count(std::uint64_t blocks) {
  int count = options().worker_threads;
  if (count <= 0) count = int(std::thread::hardware_concurrency());
  count = std::clamp(count, 1, kMaxWorkers);
  return int(std::min<std::uint64_t>(std::uint64_t(count), blocks));
}

// The order in which blocks run: a permutation that the seed alone decides.
std::vector<std::uint32_t> block_order(std::uint64_t blocks, std::uint64_t seed) {
  std::vector<std::uint32_t> order(blocks);
  std::iota(order.begin(), order.end(), 0);
  std::uint64_t random = seed * 0x9e3779b97f4a7c15ull | 1;
  for (std::uint64_t i = blocks - 1; i > 0; --i) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    std::swap(order[i], order[random % (i + 1)]);
  }
  return order;
}

// Which blocks are traced where only some are: spread over the grid, the first among them.
std::vector<bool> traced_blocks(std::uint64_t blocks, int wanted) {
  if (wanted <= 0 || std::uint64_t(wanted) >= blocks) return {};
  std::vector<bool> traced(blocks);
  for (int i = 0; i < wanted; ++i) traced[std::uint64_t(i) * blocks / std::uint64_t(wanted)] = true;
  return traced;
}

// ---- The record ----

struct Record {
  std::mutex mutex;
  std::vector<Launch> launches;
};
Record& record() {
  static auto* record = new Record;
  return *record;
}

void keep(const Launch& launch) {
  std::lock_guard lock(record().mutex);
  if (record().launches.size() < kMaxRecordedLaunches) record().launches.push_back(launch);
}

// ---- What CUDA would refuse ----

std::mutex function_mutex;
// Dynamic shared memory that a kernel has opted in to, in bytes.
std::unordered_map<const void*, int>& opted_in() {
  static auto* bytes = new std::unordered_map<const void*, int>;
  return *bytes;
}

std::size_t allowed_dynamic_smem(const void* kernel) {
  std::lock_guard lock(function_mutex);
  const auto found = opted_in().find(kernel);
  return found == opted_in().end() ? kDefaultSmemBytes : std::size_t(found->second);
}

cudaError_t check_configuration(const cudaLaunchConfig_t& config, const void* kernel,
                                std::size_t static_bytes) {
  const dim3 &grid = config.gridDim, &block = config.blockDim;
  if (!grid.x || !grid.y || !grid.z || !block.x || !block.y || !block.z) return cudaErrorInvalidConfiguration;
  if (grid.x > unsigned(kMaxGridX) || grid.y > unsigned(kMaxGridYZ) || grid.z > unsigned(kMaxGridYZ)) {
    return cudaErrorInvalidConfiguration;
  }
  if (block.x > 1024 || block.y > 1024 || block.z > 64) return cudaErrorInvalidConfiguration;
  if (std::uint64_t(block.x) * block.y * block.z > std::uint64_t(kMaxBlockThreads)) {
    return cudaErrorInvalidConfiguration;
  }
  if (config.dynamicSmemBytes > allowed_dynamic_smem(kernel)) return cudaErrorInvalidValue;
  if (config.dynamicSmemBytes + static_bytes > kMaxSmemBytes) return cudaErrorInvalidValue;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    const cudaLaunchAttribute& attribute = config.attrs[i];
    if (attribute.id == cudaLaunchAttributeAccessPolicyWindow &&
        attribute.val.accessPolicyWindow.num_bytes > kMaxAccessPolicyWindowBytes) {
      return cudaErrorInvalidValue;
    }
    // Clusters, with shared memory across blocks, are not emulated: better refused than run without.
    const auto& cluster = attribute.val.clusterDim;
    if (attribute.id == cudaLaunchAttributeClusterDimension && cluster.x * cluster.y * cluster.z > 1) {
      return cudaErrorNotSupported;
    }
  }
  return cudaSuccess;
}

// ---- Running ----

cudaError_t run_now(const Launch& launch, const void* kernel, const KernelBody& body) {
  static std::mutex one_launch_at_a_time;
  std::lock_guard lock(one_launch_at_a_time);
  if (const cudaError_t error = device_error()) return error;
  FaultHandler fault_handler;
  LaunchJob job = {.body = &body,
                   .image = &KernelImage::of(kernel),
                   .grid = launch.grid,
                   .block = launch.block,
                   .dynamic_smem_bytes = launch.dynamic_smem_bytes,
                   .trace = false,
                   .traced_blocks = {}};
  const std::uint64_t blocks = std::uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  const Options& chosen = options();
  job.trace = chosen.check || chosen.profile;
  if (job.trace && !job.image->traced()) {
    // Silence would be taken for a clean bill.
    std::fprintf(stderr,
                 "emulated device: %s cannot be checked or counted, its kernels in %s are not traced\n",
                 launch.kernel.c_str(), job.image->path().c_str());
    return cudaErrorNotSupported;
  }
  if (job.trace) job.traced_blocks = traced_blocks(blocks, chosen.traced_blocks);
  DeviceMemory::instance().begin_launch();
  set_reported_kernel(launch.kernel.c_str());
  if (job.trace && chosen.profile) begin_profiled_launch(launch.kernel, blocks);

  const std::vector<std::uint32_t> order = block_order(blocks, chosen.schedule_seed);
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> failed = false;
  pool().run(worker_count(blocks), [&](Worker& worker) {
    worker.begin_launch(job);
    for (std::uint64_t i; !failed && (i = next++) < blocks;) {
      if (!worker.run_block(job, order[i], chosen.schedule_seed)) failed = true;
    }
    if (job.trace) worker.tracer_storage->end_launch();
  });

  DeviceMemory::instance().check_bands();
  publish_findings();
  set_reported_kernel(nullptr);
  if (failed) set_device_error(cudaErrorLaunchFailure);
  return cudaSuccess;  // the failure is for the next call that waits
}

}  // namespace

cudaError_t launch_kernel(const cudaLaunchConfig_t& config, const void* kernel, KernelBody body) {
  const KernelImage& image = KernelImage::of(kernel);
  Launch launch = {.kernel = image.name_of(kernel),
                   .grid = config.gridDim,
                   .block = config.blockDim,
                   .dynamic_smem_bytes = config.dynamicSmemBytes,
                   .static_smem_bytes = image.static_smem_bytes(kernel),
                   .stream = config.stream,
                   .from_graph = false,
                   .attributes = stream_attributes(config.stream),
                   .error = cudaSuccess};
  launch.attributes.insert(launch.attributes.end(), config.attrs, config.attrs + config.numAttrs);
  launch.error = check_configuration(config, kernel, launch.static_smem_bytes);
  if (launch.error != cudaSuccess) {
    keep(launch);
    return remember(launch.error);
  }
  // The body holds copies of the arguments, as a captured launch must.
  const auto shared_body = std::make_shared<const KernelBody>(std::move(body));
  return remember(submit(config.stream, {cudaGraphNodeTypeKernel, [launch, kernel, shared_body]() mutable {
                                           launch.from_graph = replaying_graph();
                                           launch.error = run_now(launch, kernel, *shared_body);
                                           keep(launch);
                                           return launch.error;
                                         }}));
}

cudaError_t set_function_attribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributePreferredSharedMemoryCarveout) {
    return remember(value >= -1 && value <= 100 ? cudaSuccess : cudaErrorInvalidValue);
  }
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  const std::size_t static_bytes = KernelImage::of(kernel).static_smem_bytes(kernel);
  if (value < 0 || std::size_t(value) + static_bytes > kMaxSmemBytes) return remember(cudaErrorInvalidValue);
  std::lock_guard lock(function_mutex);
  opted_in()[kernel] = value;
  return cudaSuccess;
}

cudaError_t get_function_attributes(cudaFuncAttributes* attributes, const void* kernel) {
  *attributes = {};
  attributes->sharedSizeBytes = KernelImage::of(kernel).static_smem_bytes(kernel);
  attributes->maxThreadsPerBlock = kMaxBlockThreads;
  attributes->maxDynamicSharedSizeBytes = int(allowed_dynamic_smem(kernel));
  attributes->binaryVersion = attributes->ptxVersion = 90;
  return cudaSuccess;
}

cudaError_t occupancy(int* blocks, const void* kernel, int block_threads, std::size_t dynamic_smem_bytes) {
  *blocks = 0;
  if (block_threads < 1 || block_threads > kMaxBlockThreads) return remember(cudaErrorInvalidValue);
  constexpr std::size_t kReservedBytes = 1024;  // of each block, by the system
  constexpr std::size_t kSmemOfMultiprocessor = kMaxSmemBytes + kReservedBytes;
  const std::size_t bytes =
      dynamic_smem_bytes + KernelImage::of(kernel).static_smem_bytes(kernel) + kReservedBytes;
  const int warps = (block_threads + 31) / 32;
  *blocks = std::min({32, 64 / warps, int(kSmemOfMultiprocessor / bytes)});
  return cudaSuccess;
}

const cudaLaunchAttributeValue* Launch::attribute(cudaLaunchAttributeID id) const {
  // What the launch itself says comes last and wins.
  for (auto it = attributes.rbegin(); it != attributes.rend(); ++it) {
    if (it->id == id) return &it->val;
  }
  return nullptr;
}

std::vector<Launch> launches() {
  std::lock_guard lock(record().mutex);
  return record().launches;
}

void clear_launches() {
  std::lock_guard lock(record().mutex);
  record().launches.clear();
}

std::uint64_t fiber_switches() {
  return pool().switches();
}

}  // namespace emulator
