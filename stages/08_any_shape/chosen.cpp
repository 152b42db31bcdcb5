// chosen: one function for every shape. It has no kernel of its own: it estimates what each candidate of the
// other stages takes for this problem on this GPU (choice.cpp), and launches the fastest.
#include "attention/launch.hpp"
#include "choice.hpp"

namespace attention::any_shape {

cudaError_t chosen(const Problem& problem, const Tensors& tensors, void* workspace, cudaStream_t stream) {
  int major = 0, minor = 0, sm_count = 0, smem_bytes = 0;
  for (const cudaError_t status : {device_attribute(&major, cudaDevAttrComputeCapabilityMajor),
                                   device_attribute(&minor, cudaDevAttrComputeCapabilityMinor),
                                   device_attribute(&sm_count, cudaDevAttrMultiProcessorCount),
                                   device_attribute(&smem_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin)}) {
    if (status != cudaSuccess) return status;
  }
  Device device = {};
  device.compute_capability = 10 * major + minor;
  device.sm_count = sm_count;
  device.smem_per_block_bytes = std::size_t(smem_bytes);
  const Candidate* candidate = choose(problem, device);
  if (!candidate) return cudaErrorNotSupported;
  return candidate->variant().launch(problem, tensors, workspace, stream);
}

}  // namespace attention::any_shape
