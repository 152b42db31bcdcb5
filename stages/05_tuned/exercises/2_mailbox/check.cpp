#include <fmt/format.h>

#include "exercise.hpp"

namespace attention::exercise {

// Both blocks must do half of the work, and nothing may go through global memory.
std::string through_shared_memory(const emulator::Profile& profile) {
  for (const emulator::Launch& launch : emulator::launches()) {
    if (launch.kernel.find("cluster_kernel") == std::string::npos) continue;
    const cudaLaunchAttributeValue* dimension = launch.attribute(cudaLaunchAttributeClusterDimension);
    if (dimension == nullptr || dimension->clusterDim.x != 2)
      return "cluster_kernel is not launched in clusters of two";
  }
  const emulator::Counters c = counters_of(profile, "cluster_kernel");
  constexpr std::uint64_t kStored = 8 * 64 * 2;
  if (c.global_store_bytes != kStored) {
    return fmt::format("cluster_kernel stores {} bytes to global memory; O has {}", c.global_store_bytes,
                       kStored);
  }
  return "";
}

const Task task = {
    .number = "05.2",
    .title = "a letter to the other block",
    .cases = {{.shape = {.heads = 1, .seq_q = 8, .seq_kv = 40},
               .hint =
                   "the mailbox is read when the phase ends: with its last arrival, and with its last byte"},
              {.shape = {.heads = 2, .kv_heads = 1, .seq_q = 21, .seq_kv = 33, .causal = true}},
              {.shape = {.heads = 1, .seq_q = 30, .seq_kv = 7, .causal = true}},
              {.shape = {.heads = 1, .seq_q = 5, .seq_kv = 64}, .distribution = Distribution::outlier_key}},
    .fault_hint =
        "has the other block initialised the barrier by then, and does the barrier know of the bytes?",
    .questions = {through_shared_memory}};

}  // namespace attention::exercise
