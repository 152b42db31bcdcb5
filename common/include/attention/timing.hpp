#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

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

/// Puts one call on a stream, without waiting; every argument of the call is in it.
using Enqueue = std::function<void(cudaStream_t)>;

/// A captured graph, ready to replay.
class Graph {
 public:
  /// Captures what `enqueue` puts on the stream it is given. @throws CudaError, also where capture is
  /// refused.
  explicit Graph(const Enqueue& enqueue);
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
  int max_launches = 100;   ///< calls in a graph, fewer for long ones
  double graph_us = 5'000;  ///< about as long as a graph of fewer calls shall take
  int min_launches = 2;
  int replays = 50;  ///< fewer, but min_replays, where they would take longer than total_us
  int min_replays = 10;
  double total_us = 300'000;
  int warmup_replays = 3;
};

/// Median, tenth and ninetieth percentile (nearest rank) of at least one time.
Timing summarize(std::vector<double> times_us, int launches);

// The four ways in which this project times a call. All of them replay CUDA graphs and read events around a
// replay, so launches by the host are never in a time.
// @throws CudaError; std::logic_error on the emulated device, which has no times.

/// `chain`, the one that is meant where nothing else is said: a graph of up to 100 calls, one after the other
/// on one stream; time of a replay divided by the number of calls. What a call costs inside a model's graph:
/// launch gaps of the device are in it. Inputs stay in L2 where they fit.
Timing time_chain(const Enqueue& enqueue, const TimingOptions& options = {});

/// `single`: a graph of one call, replayed on an idle device. What one call costs that nothing hides.
Timing time_single(const Enqueue& enqueue, const TimingOptions& options = {});

/// `cold`: as `single`, with `flush_bytes` of other memory written right before, so that nothing of the call
/// is in L2. Replay i takes calls[i % calls.size()]: the same call on tensors of its own.
Timing time_cold(std::span<const Enqueue> calls, std::size_t flush_bytes, const TimingOptions& options = {});

/// `streams`: one graph in which every one of `calls` is a chain of its own, all of them free to run at once;
/// time of a replay divided by the calls in all of it. What a call costs a device that serves several
/// requests.
Timing time_streams(std::span<const Enqueue> calls, const TimingOptions& options = {});

}  // namespace attention
