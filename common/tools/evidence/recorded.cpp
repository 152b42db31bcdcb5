// A CUDA runtime that runs nothing: it writes down what a variant asks for, in order. Object files made by
// nvcc are linked to it, so what is written down is what a GPU would be asked to do, kernels by the names
// that they have in the machine code. It defines the functions that stages may call and no other; one that
// calls anything else, a library's function say, does not link.
#include <cuda.h>
#include <cuda_runtime.h>

#include <functional>
#include <map>

#include "attention/timing.hpp"
#include "device_control.hpp"
#include "observe.hpp"

namespace attention::evidence {
namespace {

using nlohmann::json;

// An H200, as far as stages ask.
constexpr int kMultiprocessors = 132, kSmemBytes = 227 * 1024, kPersistingL2Bytes = 39321600,
              kWindowBytes = 128 << 20, kL2Bytes = 60 << 20;
constexpr std::size_t kMemoryBytes = std::size_t(141) << 30;

json calls;
std::size_t persisting_l2_bytes = 0;

// Functions on the host that stand for kernels -> the kernels' names.
std::map<const void*, std::string>& kernels() {
  static std::map<const void*, std::string> map;  // filled before main() begins
  return map;
}

json to_json(const cudaLaunchAttribute& attribute) {
  const cudaLaunchAttributeValue& value = attribute.val;
  switch (attribute.id) {
    case cudaLaunchAttributeAccessPolicyWindow: {
      const cudaAccessPolicyWindow& window = value.accessPolicyWindow;
      return {{"id", "accessPolicyWindow"},
              {"base", std::uintptr_t(window.base_ptr)},
              {"bytes", window.num_bytes},
              {"hit_ratio", window.hitRatio},
              {"persisting", window.hitProp == cudaAccessPropertyPersisting}};
    }
    case cudaLaunchAttributeClusterDimension:
      return {{"id", "clusterDimension"},
              {"blocks", value.clusterDim.x * value.clusterDim.y * value.clusterDim.z}};
    case cudaLaunchAttributeProgrammaticStreamSerialization:
      return {{"id", "programmaticStreamSerialization"},
              {"value", value.programmaticStreamSerializationAllowed}};
    default:
      return {{"id", int(attribute.id)}};
  }
}

void record_launch(const void* function, dim3 grid, dim3 block, std::size_t smem_bytes, cudaStream_t stream,
                   json attributes) {
  calls.push_back({{"call", "launch"},
                   {"stream", std::uintptr_t(stream)},
                   {"kernel", kernels().at(function)},
                   {"grid", {grid.x, grid.y, grid.z}},
                   {"block", {block.x, block.y, block.z}},
                   {"dynamic_smem_bytes", smem_bytes},
                   {"attributes", std::move(attributes)}});
}

// A call on streams, events and graphs.
void record(const char* call, std::initializer_list<std::pair<const char*, const void*>> handles) {
  json event = {{"call", call}};
  for (const auto& [name, handle] : handles) event[name] = std::uintptr_t(handle);
  calls.push_back(event);
}

template <typename Handle>
Handle next_handle() {
  static std::uintptr_t last = 0;
  return reinterpret_cast<Handle>(++last);
}

CUresult CUDAAPI encode_tiled(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                              const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                              CUtensorMapSwizzle swizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  calls.push_back({{"call", "cuTensorMapEncodeTiled"}, {"swizzled", swizzle != CU_TENSOR_MAP_SWIZZLE_NONE}});
  return CUDA_SUCCESS;
}

}  // namespace

const char* kind() {
  return "recorded";
}

// The headline shape, then one so large, and one of so few rows, that a variant with another kernel for those
// shows it.
std::vector<Shape> shapes() {
  return {{}, {.batch = 4, .heads = 16, .seq_q = 2048, .head_dim = 128}, {.seq_q = 16, .seq_kv = 8192}};
}

Device device() {
  return {.name = "recorder",
          .emulated = false,
          .compute_capability = 90,
          .sm_count = kMultiprocessors,
          .smem_per_block_bytes = kSmemBytes,
          .l2_bytes = kL2Bytes,
          .persisting_l2_bytes = kPersistingL2Bytes,
          .memory_bytes = kMemoryBytes};
}

json observe(const Variant& variant, const Problem& problem) {
  // Nothing is read or written: places far apart do for tensors.
  const auto place = [](std::uintptr_t number) { return reinterpret_cast<half*>(number << 40); };
  const Tensors tensors{.q = place(1), .k = place(2), .v = place(3), .o = place(4)};
  calls = json::array();
  persisting_l2_bytes = 0;
  if (variant.set_up) CUDA_CHECK(variant.set_up(problem));
  CUDA_CHECK(variant.launch(problem, tensors, place(5), nullptr));
  if (variant.tear_down) CUDA_CHECK(variant.tear_down());
  return {{"calls", calls},
          {"k", std::uintptr_t(tensors.k)},
          {"v", std::uintptr_t(tensors.v)},
          {"kv_bytes", problem.kv_elements() * sizeof(half)}};
}

}  // namespace attention::evidence

bool attention::device_is_emulated() {
  return false;
}

// ---- How the harness calls ----

namespace attention::evidence {
namespace {

// A kernel of the first stage; which one does not matter here.
void enqueue(cudaStream_t stream) {
  const Tensors nowhere = {};
  CUDA_CHECK(registry().front()->variants.front().launch(Problem(), nowhere, nullptr, stream));
}

json mode(const char* name, std::initializer_list<const char*> techniques,
          const std::function<void()>& time) {
  calls = json::array();
  time();
  return {{"name", name},
          {"techniques", techniques},
          {"extra_roundings", 0},
          {"calls", {{{"shape", "any"}, {"workspace_bytes", 0}, {"calls", calls}}}}};
}

// Launched call by call, however many events stand around it.
void no_graph() {
  const Stream stream;
  const Event start, stop;
  CUDA_CHECK(cudaEventRecord(start, stream));
  enqueue(stream);
  CUDA_CHECK(cudaEventRecord(stop, stream));
}

// Three streams, each of which waits for the one before it.
void streams_in_a_row() {
  const Stream branches[3];
  const Event done[3];
  const Graph graph([&](cudaStream_t capture) {
    CUDA_CHECK(cudaEventRecord(done[0], capture));
    for (int i = 0; i < 3; ++i) {
      CUDA_CHECK(cudaStreamWaitEvent(branches[i], done[i]));
      enqueue(branches[i]);
      CUDA_CHECK(cudaEventRecord(done[(i + 1) % 3], branches[i]));
    }
    CUDA_CHECK(cudaStreamWaitEvent(capture, done[0]));
  });
  graph.replay(branches[0]);
}

}  // namespace

json harness() {
  constexpr TimingOptions kFew = {.max_launches = 6, .min_launches = 2, .replays = 2, .min_replays = 2};
  const Enqueue requests[] = {enqueue, enqueue, enqueue};
  const json own = {
      mode("chain", {"graphs"}, [&] { time_chain(enqueue, kFew); }),
      mode("single", {"graphs"}, [&] { time_single(enqueue, kFew); }),
      mode("streams", {"graphs", "streams"}, [&] { time_streams(requests, kFew); }),
  };
  const json not_so = {
      mode("no_graph", {"graphs"}, no_graph),
      mode("chain_as_streams", {"streams"}, [&] { time_chain(enqueue, kFew); }),
      mode("streams_in_a_row", {"streams"}, streams_in_a_row),
  };
  return {{{"name", "harness"}, {"variants", own}},
          {{"name", "counter_examples_harness"}, {"variants", not_so}}};
}

}  // namespace attention::evidence

// ---- The runtime, as its headers declare it ----

using namespace attention::evidence;

extern "C" {

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void**) {
  json attributes = json::array();
  for (unsigned i = 0; i < config->numAttrs; ++i) attributes.push_back(to_json(config->attrs[i]));
  record_launch(function, config->gridDim, config->blockDim, config->dynamicSmemBytes, config->stream,
                attributes);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) {
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = kMultiprocessors;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = kSmemBytes;
      return cudaSuccess;
    case cudaDevAttrMaxPersistingL2CacheSize:
      *value = kPersistingL2Bytes;
      return cudaSuccess;
    case cudaDevAttrMaxAccessPolicyWindowSize:
      *value = kWindowBytes;
      return cudaSuccess;
    case cudaDevAttrL2CacheSize:
      *value = kL2Bytes;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    default:
      return cudaErrorInvalidValue;  // nobody asked so far
  }
}

cudaError_t cudaDeviceGetLimit(std::size_t* value, cudaLimit limit) {
  *value = limit == cudaLimitPersistingL2CacheSize ? persisting_l2_bytes : 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceSetLimit(cudaLimit limit, std::size_t value) {
  if (limit != cudaLimitPersistingL2CacheSize || value > kPersistingL2Bytes) return cudaErrorInvalidValue;
  persisting_l2_bytes = value;
  calls.push_back({{"call", "cudaDeviceSetLimit"}, {"persisting_l2_bytes", value}});
  return cudaSuccess;
}

cudaError_t cudaCtxResetPersistingL2Cache() {
  calls.push_back({{"call", "cudaCtxResetPersistingL2Cache"}});
  return cudaSuccess;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                             unsigned long long, cudaDriverEntryPointQueryResult* found) {
  const bool known = std::string_view(symbol) == "cuTensorMapEncodeTiled";
  *function = known ? reinterpret_cast<void*>(encode_tiled) : nullptr;
  if (found) *found = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(std::size_t* free, std::size_t* total) {
  *free = *total = kMemoryBytes;
  return cudaSuccess;
}

const char* cudaGetErrorString(cudaError_t error) {
  static std::string text;
  return (text = "error " + std::to_string(error)).c_str();
}

cudaError_t cudaMemsetAsync(void* place, int, std::size_t bytes, cudaStream_t) {
  calls.push_back({{"call", "cudaMemsetAsync"}, {"place", std::uintptr_t(place)}, {"bytes", bytes}});
  return cudaSuccess;
}

// Streams, events and graphs are numbers; 0 is the default stream.
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = next_handle<cudaStream_t>();
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) {
  return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  record("cudaStreamWaitEvent", {{"stream", stream}, {"event", event}});
  return cudaSuccess;
}
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  record("cudaStreamBeginCapture", {{"stream", stream}});
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  *graph = next_handle<cudaGraph_t>();
  record("cudaStreamEndCapture", {{"stream", stream}, {"graph", *graph}});
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = next_handle<cudaEvent_t>();
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  record("cudaEventRecord", {{"stream", stream}, {"event", event}});
  return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1.f;  // anything: it decides how often a call is repeated, and nothing here is a time
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = reinterpret_cast<cudaGraphExec_t>(graph);  // goes by the graph's number
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  record("cudaGraphLaunch", {{"stream", stream}, {"graph", executable}});
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t) {
  return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) {
  return cudaSuccess;
}

// What code that nvcc makes calls before main() and at kernel<<<...>>>.
void** __cudaRegisterFatBinary(void*) {
  static void* handle = nullptr;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*, uint3*, dim3*,
                            dim3*, int*) {
  kernels()[function] = name;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, std::size_t, int, int) {}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = reinterpret_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void**, std::size_t smem_bytes,
                               cudaStream_t stream) {
  record_launch(kernel, grid, block, smem_bytes, stream, json::array());
  return cudaSuccess;
}
// Only kernel<<<...>>> needs these two, and the stages launch by attention/launch.hpp.
unsigned __cudaPushCallConfiguration(dim3, dim3, std::size_t, CUstream_st*) {
  return 1;
}
cudaError_t __cudaPopCallConfiguration(dim3*, dim3*, std::size_t*, void*) {
  return cudaErrorNotSupported;
}

}  // extern "C"
