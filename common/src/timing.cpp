#include "attention/timing.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <vector>

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

}  // namespace

Graph::Graph(const std::function<void(cudaStream_t)>& enqueue) {
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

Timing time_chain(const std::function<void(cudaStream_t)>& enqueue, const TimingOptions& options) {
  if (device_is_emulated()) throw std::logic_error("the emulated device has no times to measure");
  Stream stream;
  const Event start, stop;

  const Graph single(enqueue);
  replay_us(single, stream, start, stop);  // loads the module
  const double single_us = replay_us(single, stream, start, stop);
  const int launches =
      int(std::clamp(options.graph_us / single_us, double(options.min_launches), double(options.max_launches)));

  const Graph chain([&](cudaStream_t capture) {
    for (int i = 0; i < launches; ++i) enqueue(capture);
  });
  for (int i = 0; i < options.warmup_replays; ++i) replay_us(chain, stream, start, stop);
  std::vector<double> times_us(options.replays);
  for (double& time_us : times_us) time_us = replay_us(chain, stream, start, stop) / launches;
  std::sort(times_us.begin(), times_us.end());
  return {.median_us = quantile(times_us, 0.5),
          .p10_us = quantile(times_us, 0.1),
          .p90_us = quantile(times_us, 0.9),
          .launches = launches,
          .replays = options.replays};
}

}  // namespace attention
