// Launches: what CUDA would refuse, the workers that run the blocks, and the record of what was launched.

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <numeric>
#include <thread>
#include <unordered_map>

#include "cluster.hpp"
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
constexpr int kMaxStacks = 16 * 1024;  // of all workers, two mappings each: the system allows 65530

// ---- Workers ----

/// OS threads that run blocks. They stay, asleep, until the process ends.
class WorkerPool {
 public:
  /// Runs function(blocks) on `count` threads at once, and returns when all have.
  void run(int count, const std::function<void(Cluster&)>& function) {
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
    Cluster cluster;
    std::uint64_t round = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return round_ != round; });
      round = round_;
      if (id >= wanted_) continue;
      lock.unlock();
      (*function_)(cluster);
      lock.lock();
      switches_ += cluster.take_switches();
      if (--running_ == 0) done_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(Cluster&)>* function_ = nullptr;
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

int worker_count(std::uint64_t clusters, std::uint64_t threads_of_cluster) {
  int count = options().worker_threads;
  if (count <= 0) count = int(std::thread::hardware_concurrency());
  count =
      std::clamp(count, 1, std::max(1, int(kMaxStacks / std::max<std::uint64_t>(threads_of_cluster, 1024))));
  return int(std::min<std::uint64_t>(std::uint64_t(count), clusters));
}

// The order in which clusters (or blocks, where there are none) run: a permutation that the
// seed alone decides.
std::vector<std::uint32_t> run_order(std::uint64_t count, std::uint64_t seed) {
  std::vector<std::uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  std::uint64_t random = seed * 0x9e3779b97f4a7c15ull | 1;
  for (std::uint64_t i = count - 1; i > 0; --i) {
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

// Kernels that have opted in to clusters of more than 8 blocks.
std::unordered_map<const void*, bool>& large_clusters_allowed() {
  static auto* allowed = new std::unordered_map<const void*, bool>;
  return *allowed;
}

dim3 cluster_of(const Launch& launch) {
  const cudaLaunchAttributeValue* value = launch.attribute(cudaLaunchAttributeClusterDimension);
  if (!value) return {1, 1, 1};
  return {value->clusterDim.x, value->clusterDim.y, value->clusterDim.z};
}

bool starts_early(const Launch& launch) {
  const cudaLaunchAttributeValue* value =
      launch.attribute(cudaLaunchAttributeProgrammaticStreamSerialization);
  return value && value->programmaticStreamSerializationAllowed;
}

cudaError_t check_cluster(const Launch& launch, const void* kernel) {
  constexpr unsigned kPortable = 8, kLargest = 16;
  const dim3 cluster = cluster_of(launch);
  const std::uint64_t blocks = std::uint64_t(cluster.x) * cluster.y * cluster.z;
  std::lock_guard lock(function_mutex);
  const unsigned most = large_clusters_allowed()[kernel] ? kLargest : kPortable;
  const bool fits = blocks >= 1 && blocks <= most && launch.grid.x % cluster.x == 0 &&
                    launch.grid.y % cluster.y == 0 && launch.grid.z % cluster.z == 0;
  return fits ? cudaSuccess : cudaErrorInvalidClusterSize;
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
                   .cluster = cluster_of(launch),
                   .dynamic_smem_bytes = launch.dynamic_smem_bytes,
                   .starts_early = starts_early(launch),
                   .trace = false,
                   .traced_blocks = {}};
  const std::uint64_t blocks = std::uint64_t(launch.grid.x) * launch.grid.y * launch.grid.z;
  const Options& chosen = options();
  job.trace = chosen.check || chosen.profile;
  if (job.trace && !job.image->traced()) {
    // Silence would be taken for a clean bill.
    fmt::print(stderr, "emulated device: {} cannot be checked or counted, its kernels in {} are not traced\n",
               launch.kernel, job.image->path());
    return cudaErrorNotSupported;
  }
  if (job.trace) job.traced_blocks = traced_blocks(blocks, chosen.traced_blocks);
  DeviceMemory::instance().begin_launch();
  set_reported_kernel(launch.kernel.c_str());
  if (job.trace && chosen.profile) begin_profiled_launch(launch.kernel, blocks);

  const std::uint64_t cluster_blocks = std::uint64_t(job.cluster.x) * job.cluster.y * job.cluster.z;
  const std::uint64_t clusters = blocks / cluster_blocks;
  const std::uint64_t threads_of_cluster = cluster_blocks * launch.block.x * launch.block.y * launch.block.z;
  const std::vector<std::uint32_t> order = run_order(clusters, chosen.schedule_seed);
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> failed = false;
  pool().run(worker_count(clusters, threads_of_cluster), [&](Cluster& cluster) {
    cluster.begin_launch(job);
    for (std::uint64_t i; !failed && (i = next++) < clusters;) {
      if (!cluster.run(job, order[i], chosen.schedule_seed)) failed = true;
    }
    cluster.end_launch(job);
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
  if (launch.error == cudaSuccess) launch.error = check_cluster(launch, kernel);
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
  if (attribute == cudaFuncAttributeNonPortableClusterSizeAllowed) {
    std::lock_guard lock(function_mutex);
    large_clusters_allowed()[kernel] = value != 0;
    return cudaSuccess;
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
