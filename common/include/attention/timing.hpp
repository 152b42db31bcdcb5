#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "attention/cuda_check.hpp"

namespace attention {

/// A new stream that does not synchronise with the default stream.
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

/// A CUDA event: a point in a stream's work, which has a time on a GPU.
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

/// A call with all its arguments, which puts itself on a stream and does not wait.
using Enqueue = std::function<void(cudaStream_t)>;

/// A captured graph, ready to replay.
class Graph {
 public:
  /// Captures what `enqueue` puts on a stream. @throws CudaError, also where the capture fails.
  explicit Graph(const Enqueue& enqueue);
  ~Graph() { (void)cudaGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void replay(cudaStream_t stream) const { CUDA_CHECK(cudaGraphLaunch(executable_, stream)); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

/// Microseconds per call, over the replays of a graph.
struct Timing {
  double median_us, p10_us, p90_us;
  int launches;  ///< calls in the graph
  int replays;
};

/// How long to measure. The defaults are the protocol of every recorded result.
struct TimingOptions {
  int max_launches = 100;     ///< calls in a graph; fewer where they would take longer than graph_us
  double graph_us = 5'000;    ///< microseconds
  int min_launches = 2;       ///< calls in a graph, however long they take
  int replays = 50;           ///< timed replays; fewer where they would take longer than total_us
  int min_replays = 10;       ///< timed replays, however long they take
  double total_us = 300'000;  ///< microseconds
  int warmup_replays = 3;     ///< untimed replays before
};

/// Median, 10th and 90th percentile (nearest rank) of at least
/// one time; `launches` is the number of calls in a graph.
Timing summarize(std::vector<double> times_us, int launches);

// The four ways in which this project times a call. All of them replay CUDA graphs and record events around a
// replay, so the host's cost of launching is never part of a time. All throw CudaError, and std::logic_error
// on the emulated device, which has no times.

/// `chain`, which we mean wherever we name no mode: a graph of up to 100 calls, one after the other on one
/// stream; the time of a replay divided by the number of calls. This is what a call costs inside a model's
/// graph: the device's gaps between launches are included. Inputs stay in L2 where they fit.
Timing time_chain(const Enqueue& enqueue, const TimingOptions& options = {});

/// `single`: a graph of one call, replayed on an idle device.
/// This is the latency of one call that overlaps with nothing.
Timing time_single(const Enqueue& enqueue, const TimingOptions& options = {});

/// `cold`: as `single`, but with `flush_bytes` of other memory written right before, so that no tensor is in
/// L2. Replay i takes calls[i % calls.size()], which are the same call on different tensors.
Timing time_cold(std::span<const Enqueue> calls, std::size_t flush_bytes, const TimingOptions& options = {});

/// `streams`: one graph in which each of `calls` is a chain, and the chains
/// may run at once; the time of a replay divided by the number of all calls.
/// This is what a call costs on a device that serves several requests.
Timing time_streams(std::span<const Enqueue> calls, const TimingOptions& options = {});

}  // namespace attention
