// How a part of L2 is set aside, and how a launch says which addresses should stay there. L2 evicts what has
// not been used for longest, so a kernel that streams through a large matrix evicts even what it will need
// again.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>

#include "attention/launch.hpp"
#include "attention/problem.hpp"

namespace attention::tiled {

// [set_aside]
// Sets a part of L2 aside, as large as K and V where the device allows that. It changes the whole device, so
// it belongs before the first launch and outside any capture of a graph.
inline cudaError_t set_aside_l2(const Problem& p) {
  int most_bytes = 0;
  const cudaError_t status = device_attribute(&most_bytes, cudaDevAttrMaxPersistingL2CacheSize);
  if (status != cudaSuccess || most_bytes == 0) return status;  // none: the window has no effect
  const size_t wanted_bytes = 2 * p.kv_elements() * sizeof(half);
  return cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, std::min(wanted_bytes, size_t(most_bytes)));
}

inline cudaError_t give_l2_back() {
  const cudaError_t status = cudaCtxResetPersistingL2Cache();
  const cudaError_t limit_status = cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 0);
  return status != cudaSuccess ? status : limit_status;
}
// [set_aside]

// [access_policy]
// Marks `bytes` at `start` as worth keeping in the part of L2 that was set aside. Of a range larger than that
// part, only the share that fits is kept, chosen by address, so that its lines do not evict each other.
inline cudaLaunchAttribute keep_in_l2(const void* start, size_t bytes) {
  int window_bytes = 0;
  size_t set_aside_bytes = 0;
  (void)device_attribute(&window_bytes, cudaDevAttrMaxAccessPolicyWindowSize);
  (void)cudaDeviceGetLimit(&set_aside_bytes, cudaLimitPersistingL2CacheSize);
  const size_t covered_bytes = std::min(bytes, size_t(window_bytes));

  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeAccessPolicyWindow;
  cudaAccessPolicyWindow& window = attribute.val.accessPolicyWindow;
  window.base_ptr = const_cast<void*>(start);
  window.num_bytes = covered_bytes;
  window.hitRatio = covered_bytes == 0 ? 0.f : std::min(1.f, float(set_aside_bytes) / float(covered_bytes));
  window.hitProp = cudaAccessPropertyPersisting;
  window.missProp = cudaAccessPropertyStreaming;
  return attribute;
}
// [access_policy]

}  // namespace attention::tiled
