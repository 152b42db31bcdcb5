#include "attention/timing.hpp"

#include <algorithm>
#include <cmath>
#include <deque>
#include <stdexcept>
#include <utility>

#include "attention/device_buffer.hpp"
#include "device_control.hpp"

namespace attention {
namespace {

// Event time of one replay, in microseconds.
double replay_us(const Graph& graph, cudaStream_t stream, const Event& start, const Event& stop) {
  CUDA_CHECK(cudaEventRecord(start, stream));
  graph.replay(stream);
  CUDA_CHECK(cudaEventRecord(stop, stream));
  CUDA_CHECK(cudaEventSynchronize(stop));
  float elapsed_ms = 0;
  CUDA_CHECK(cudaEventElapsedTime(&elapsed_ms, start, stop));
  return 1000.0 * elapsed_ms;
}

double quantile(const std::vector<double>& sorted, double fraction) {
  return sorted[std::size_t(std::lround(fraction * double(sorted.size() - 1)))];
}

void refuse_emulated_device() {
  if (device_is_emulated()) throw std::logic_error("the emulated device has no times to measure");
}

// How many of something that takes `each_us` fit in `total_us`, within limits.
int how_many(double total_us, double each_us, int least, int most) {
  return int(std::clamp(total_us / each_us, double(least), double(std::max(least, most))));
}

// Event time of a replay of one call, after a first replay that loads the module.
double one_call_us(const Enqueue& enqueue, cudaStream_t stream, const Event& start, const Event& stop) {
  const Graph single(enqueue);
  replay_us(single, stream, start, stop);
  return replay_us(single, stream, start, stop);
}

// Warms up, then takes replay(i), i = 0, 1, ... (microseconds) as often as the options allow.
Timing measure(const std::function<double(int)>& replay, int launches, const TimingOptions& options) {
  const double first_us = replay(0);
  for (int i = 1; i < options.warmup_replays; ++i) replay(i);
  std::vector<double> times_us(how_many(options.total_us, first_us, options.min_replays, options.replays));
  for (std::size_t i = 0; i < times_us.size(); ++i) times_us[i] = replay(int(i)) / launches;
  return summarize(std::move(times_us), launches);
}

}  // namespace

Timing summarize(std::vector<double> times_us, int launches) {
  std::sort(times_us.begin(), times_us.end());
  return {.median_us = quantile(times_us, 0.5),
          .p10_us = quantile(times_us, 0.1),
          .p90_us = quantile(times_us, 0.9),
          .launches = launches,
          .replays = int(times_us.size())};
}

Graph::Graph(const Enqueue& enqueue) {
  Stream stream;
  cudaGraph_t graph = nullptr;
  CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  try {
    enqueue(stream);
  } catch (...) {
    (void)cudaStreamEndCapture(stream, &graph);
    if (graph) (void)cudaGraphDestroy(graph);
    throw;
  }
  CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
  const cudaError_t status = cudaGraphInstantiate(&executable_, graph, 0);
  (void)cudaGraphDestroy(graph);
  CUDA_CHECK(status);
}

Timing time_chain(const Enqueue& enqueue, const TimingOptions& options) {
  refuse_emulated_device();
  const Stream stream;
  const Event start, stop;
  const int launches = how_many(options.graph_us, one_call_us(enqueue, stream, start, stop),
                                options.min_launches, options.max_launches);
  const Graph chain([&](cudaStream_t capture) {
    for (int i = 0; i < launches; ++i) enqueue(capture);
  });
  return measure([&](int) { return replay_us(chain, stream, start, stop); }, launches, options);
}

Timing time_single(const Enqueue& enqueue, const TimingOptions& options) {
  refuse_emulated_device();
  const Stream stream;
  const Event start, stop;
  const Graph single(enqueue);
  return measure([&](int) { return replay_us(single, stream, start, stop); }, 1, options);
}

Timing time_cold(std::span<const Enqueue> calls, std::size_t flush_bytes, const TimingOptions& options) {
  refuse_emulated_device();
  const Stream stream;
  const Event start, stop;
  const RawDeviceBuffer other_memory(flush_bytes, RawDeviceBuffer::Guards::none);
  const std::deque<Graph> graphs(calls.begin(), calls.end());
  // The host is done enqueueing long before the device is done flushing, so the call starts at once after it.
  return measure(
      [&](int i) {
        CUDA_CHECK(cudaMemsetAsync(other_memory.data(), i & 0xff, other_memory.bytes(), stream));
        return replay_us(graphs[std::size_t(i) % graphs.size()], stream, start, stop);
      },
      1, options);
}

Timing time_streams(std::span<const Enqueue> calls, const TimingOptions& options) {
  refuse_emulated_device();
  const Stream stream;
  const Event start, stop;
  const double round_us = one_call_us(calls.front(), stream, start, stop) * double(calls.size());
  const int rounds =
      how_many(options.graph_us, round_us, options.min_launches, options.max_launches / int(calls.size()));
  const std::deque<Stream> branches(calls.size());
  const std::deque<Event> done(calls.size());
  const Event forked;
  const Graph graph([&](cudaStream_t capture) {
    CUDA_CHECK(cudaEventRecord(forked, capture));
    for (std::size_t i = 0; i < calls.size(); ++i) {
      CUDA_CHECK(cudaStreamWaitEvent(branches[i], forked));
      for (int round = 0; round < rounds; ++round) calls[i](branches[i]);
      CUDA_CHECK(cudaEventRecord(done[i], branches[i]));
      CUDA_CHECK(cudaStreamWaitEvent(capture, done[i]));
    }
  });
  return measure([&](int) { return replay_us(graph, stream, start, stop); }, rounds * int(calls.size()),
                 options);
}

}  // namespace attention
