#pragma once

#include <cuda_runtime.h>

#include <functional>

#include "attention/cuda_check.hpp"

namespace attention {

/// A stream of its own, not ordered with the default stream.
class Stream {
 public:
  Stream() { CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { (void)cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  operator cudaStream_t() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// A point in a stream's work, with a time on a GPU.
class Event {
 public:
  Event() { CUDA_CHECK(cudaEventCreate(&event_)); }
  ~Event() { (void)cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  operator cudaEvent_t() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// A captured graph, ready to replay.
class Graph {
 public:
  /// Captures what `enqueue` puts on the stream it is given. @throws CudaError, also where capture is refused.
  explicit Graph(const std::function<void(cudaStream_t)>& enqueue);
  ~Graph() { (void)cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void replay(cudaStream_t stream) const { CUDA_CHECK(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Microseconds a call, over the replays of a graph.
struct Timing {
  double median_us, p10_us, p90_us;
  int launches;  ///< calls in the graph
  int replays;
};

/// How long to measure; the defaults are the protocol of every recorded result.
struct TimingOptions {
  int max_launches = 100;        ///< calls in a graph, fewer for long ones
  double graph_us = 20'000;      ///< about as long as a graph of fewer calls shall take
  int min_launches = 5;
  int replays = 50;
  int warmup_replays = 5;
};

/// The one definition of this project's times: `chain`, a CUDA graph of up to 100 calls of `enqueue`, one after the
/// other on one stream, replayed; event time of a replay divided by the number of calls. What a call costs inside
/// a model's graph: launch gaps of the device are in it, launches by the host are not. Inputs stay in L2 where
/// they fit.
/// @throws CudaError; std::logic_error on the emulated device, which has no times.
Timing time_chain(const std::function<void(cudaStream_t)>& enqueue, const TimingOptions& options = {});

}  // namespace attention
