// Streams, events and graphs. A stream does everything at once, so events have nothing to wait for; a stream
// that is being captured keeps what it is given for the graph.

#include <mutex>
#include <set>

#include "emulator/runtime_api.hpp"
#include "runtime_state.hpp"

struct CUgraphNode_st {
  emulator::StreamOperation operation;
};
struct CUgraph_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};
struct CUgraphExec_st {
  std::vector<std::shared_ptr<CUgraphNode_st>> nodes;
};
struct CUstream_st {
  std::vector<cudaLaunchAttribute> attributes;
  CUgraph_st* captured_into = nullptr;
  bool began_capture = false;  // and not just joined one by waiting for an event
};
struct CUevent_st {
  CUgraph_st* recorded_in = nullptr;  // the capture it was recorded in, if any
};

namespace emulator {
namespace {

std::recursive_mutex mutex;
thread_local int replay_depth = 0;

CUstream_st& default_stream() {
  static auto* stream = new CUstream_st;
  return *stream;
}

std::set<CUstream_st*>& streams() {
  static auto* streams = new std::set<CUstream_st*>;
  return *streams;
}

// null: not a stream, or one that was destroyed.
CUstream_st* resolve(cudaStream_t stream) {
  if (!stream) return &default_stream();
  return streams().count(stream) ? stream : nullptr;
}

bool any_capture() {
  for (const CUstream_st* stream : streams()) {
    if (stream->captured_into) return true;
  }
  return false;
}

}  // namespace

cudaError_t submit(cudaStream_t handle, StreamOperation operation) {
  {
    std::lock_guard lock(mutex);
    CUstream_st* stream = resolve(handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    if (stream->captured_into) {
      stream->captured_into->nodes.push_back(
          std::make_shared<CUgraphNode_st>(CUgraphNode_st{std::move(operation)}));
      return cudaSuccess;
    }
    // The default stream waits for the others, which cannot be captured.
    if (stream == &default_stream() && any_capture()) return cudaErrorStreamCaptureUnsupported;
  }
  return operation.run();
}

std::vector<cudaLaunchAttribute> stream_attributes(cudaStream_t handle) {
  std::lock_guard lock(mutex);
  const CUstream_st* stream = resolve(handle);
  return stream ? stream->attributes : std::vector<cudaLaunchAttribute>{};
}

bool replaying_graph() {
  return replay_depth > 0;
}

}  // namespace emulator

using emulator::device_error;
using emulator::remember;
using emulator::resolve;

// ---- Streams ----

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  std::lock_guard lock(emulator::mutex);
  *stream = new CUstream_st;
  emulator::streams().insert(*stream);
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  return cudaStreamCreate(stream);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(emulator::mutex);
  if (emulator::streams().erase(stream) == 0) return remember(cudaErrorInvalidResourceHandle);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  std::lock_guard lock(emulator::mutex);
  const CUstream_st* stream = resolve(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (stream->captured_into) return remember(cudaErrorStreamCaptureUnsupported);
  return remember(device_error());
}

cudaError_t cudaStreamSetAttribute(cudaStream_t handle, cudaStreamAttrID id,
                                   const cudaStreamAttrValue* value) {
  std::lock_guard lock(emulator::mutex);
  CUstream_st* stream = resolve(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (id == cudaStreamAttributeAccessPolicyWindow &&
      value->accessPolicyWindow.num_bytes > emulator::kMaxAccessPolicyWindowBytes) {
    return remember(cudaErrorInvalidValue);
  }
  for (cudaLaunchAttribute& attribute : stream->attributes) {
    if (attribute.id != id) continue;
    attribute.val = *value;
    return cudaSuccess;
  }
  stream->attributes.push_back({.id = id, .pad = {}, .val = *value});
  return cudaSuccess;
}

// ---- Events ----

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle) {
  std::lock_guard lock(emulator::mutex);
  const CUstream_st* stream = resolve(handle);
  if (!event || !stream) return remember(cudaErrorInvalidResourceHandle);
  event->recorded_in = stream->captured_into;
  return cudaSuccess;
}

// A stream that waits for an event of a capture joins it: how a graph forks.
cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned) {
  std::lock_guard lock(emulator::mutex);
  CUstream_st* stream = resolve(handle);
  if (!event || !stream) return remember(cudaErrorInvalidResourceHandle);
  if (event->recorded_in && !stream->captured_into) stream->captured_into = event->recorded_in;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return remember(device_error());
}
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 0;
  return remember(device_error());
}

// ---- Graphs ----

cudaError_t cudaStreamBeginCapture(cudaStream_t handle, cudaStreamCaptureMode) {
  std::lock_guard lock(emulator::mutex);
  CUstream_st* stream = resolve(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (stream == &emulator::default_stream()) return remember(cudaErrorStreamCaptureUnsupported);
  if (stream->captured_into) return remember(cudaErrorIllegalState);
  stream->captured_into = new CUgraph_st;
  stream->began_capture = true;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t handle, cudaGraph_t* graph) {
  std::lock_guard lock(emulator::mutex);
  *graph = nullptr;
  CUstream_st* stream = resolve(handle);
  if (!stream) return remember(cudaErrorInvalidResourceHandle);
  if (!stream->captured_into || !stream->began_capture) return remember(cudaErrorIllegalState);
  *graph = stream->captured_into;
  for (CUstream_st* other : emulator::streams()) {
    if (other->captured_into == *graph) other->captured_into = nullptr;
  }
  stream->began_capture = false;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (nodes) {
    for (std::size_t i = 0; i < *count; ++i)
      nodes[i] = i < graph->nodes.size() ? graph->nodes[i].get() : nullptr;
  }
  *count = graph->nodes.size();
  return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType* type) {
  *type = node->operation.type;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  if (!executable) return remember(cudaErrorInvalidResourceHandle);
  ++emulator::replay_depth;
  cudaError_t error = cudaSuccess;
  for (const auto& node : executable->nodes) {
    error = node->operation.run();
    if (error) break;
  }
  --emulator::replay_depth;
  return remember(error);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
