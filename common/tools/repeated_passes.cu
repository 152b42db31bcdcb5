// Why a GPU counts more passes through shared memory than its instructions make.
//
// One warp of each block stores, or loads, 1024 times, without bank conflicts: one pass each. Beside it other
// parts of the SM use shared memory. Run under Nsight Compute, by `fidelity passes`: what the memory unit
// counted, against what the instructions account for. All blocks are clusters of two, for the cases in which
// the other block stores.
#include <cuda_runtime.h>

#include <cstdio>
#include <span>

#include "attention/cuda_check.hpp"
#include "attention/device.hpp"
#include "attention/device_buffer.hpp"
#include "attention/error.hpp"
#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/ptx.cuh"

namespace {

using namespace attention;

constexpr int kAccesses = 1024;
constexpr int kThreads = 256;
constexpr int kTileBytes = 16384;
constexpr int kCopies = 32;  // of a tile
constexpr int kRounds = 64;  // of products, and of stores to the other block
constexpr int kPolls = 256;

enum class Access { none, store, load };
enum class Beside { nothing, loads, stores, cp_async, copy_in, wgmma, other_block, polls };

struct Smem {
  alignas(1024) unsigned char tiles[2][kTileBytes];
  alignas(16) float own[32 * 64], others[32 * 64];
  float4 from_other_block[32];
  Mbarrier copied, received, polled;
};

template <Access kAccess, Beside kBeside>
__global__ void __launch_bounds__(kThreads) passes_kernel(unsigned char* gmem) {
  Smem& smem = *reinterpret_cast<Smem*>(dynamic_smem);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (Mbarrier* barrier : {&smem.copied, &smem.received, &smem.polled}) mbarrier_init(barrier, 1);
    fence_mbarrier_init();
    mbarrier_arrive_expect_tx(&smem.received,
                              kBeside == Beside::other_block ? kRounds * 32 * sizeof(float4) : 0);
  }
  __syncthreads();
  cluster_arrive();
  cluster_wait();

  float sum = 0.f;
  const auto accesses = [&](volatile float* tile, Access access) {
    for (int i = 0; i < kAccesses; ++i) {
      volatile float& place = tile[i % 64 * 32 + lane];
      if (access == Access::store) place = float(i);
      if (access == Access::load) sum += place;
    }
  };
  if (warp == 0) accesses(smem.own, kAccess);
  if (warp == 1 && kBeside == Beside::loads) accesses(smem.others, Access::load);
  if (warp == 1 && kBeside == Beside::stores) accesses(smem.others, Access::store);
  if (warp == 1 && kBeside == Beside::cp_async) {
    for (int i = 0; i < kAccesses; ++i) cp_async_16(&smem.others[i % 16 * 128 + 4 * lane], gmem + 16 * lane);
    cp_async_commit_group();
    cp_async_wait_group<0>();
  }
  if (threadIdx.x == 32 && kBeside == Beside::copy_in) {
    for (int i = 0; i < kCopies; ++i) {
      mbarrier_arrive_expect_tx(&smem.copied, kTileBytes);
      cp_async_bulk(smem.tiles[0], gmem, kTileBytes, &smem.copied);
      mbarrier_wait(&smem.copied, i % 2);
    }
  }
  if constexpr (kBeside == Beside::wgmma) {
    if (warp >= 4) {
      float d[32];
      for (int i = 0; i < kRounds; ++i) {
        wgmma_fence();
        wgmma(d, wgmma_descriptor(smem.tiles[0]), wgmma_descriptor(smem.tiles[1]), i > 0);
        wgmma_commit_group();
        wgmma_wait_group<0>(d);
      }
      for (const float x : d) sum += x;
    }
  }
  if (warp == 1 && kBeside == Beside::other_block) {
    const unsigned other = cluster_ctarank() ^ 1;
    for (int i = 0; i < kRounds; ++i) {
      st_async(mapa(&smem.from_other_block[lane], other), make_float4(1.f, 2.f, 3.f, 4.f),
               mapa(&smem.received, other));
    }
  }
  if (warp == 1 && kBeside == Beside::polls) {
    for (int i = 0; i < kPolls; ++i) sum += mbarrier_try_wait(&smem.polled, 0);
  }
  mbarrier_wait(&smem.received, 0);
  cluster_arrive();  // no block ends while the other may still store here
  cluster_wait();
  if (sum == -1.f) gmem[threadIdx.x] = 1;  // or nvcc would leave it out
}

struct Case {
  const char* access;
  const char* beside;
  void (*kernel)(unsigned char*);
};
template <Access kAccess, Beside kBeside>
constexpr Case case_of(const char* access, const char* beside) {
  return {access, beside, passes_kernel<kAccess, kBeside>};
}

const Case kCases[] = {
    case_of<Access::store, Beside::nothing>("stores", "nothing"),
    case_of<Access::store, Beside::loads>("stores", "loads of another warp"),
    case_of<Access::store, Beside::stores>("stores", "stores of another warp"),
    case_of<Access::store, Beside::cp_async>("stores", "cp.async of another warp"),
    case_of<Access::store, Beside::copy_in>("stores", "bulk copies into shared memory"),
    case_of<Access::store, Beside::other_block>("stores", "st.async from the other block"),
    case_of<Access::store, Beside::polls>("stores", "polls of an mbarrier"),
    case_of<Access::store, Beside::wgmma>("stores", "wgmma"),
    case_of<Access::none, Beside::copy_in>("none", "bulk copies into shared memory"),
    case_of<Access::none, Beside::other_block>("none", "st.async from the other block"),
    case_of<Access::none, Beside::wgmma>("none", "wgmma"),
    case_of<Access::load, Beside::nothing>("loads", "nothing"),
    case_of<Access::load, Beside::cp_async>("loads", "cp.async of another warp"),
    case_of<Access::load, Beside::copy_in>("loads", "bulk copies into shared memory"),
    case_of<Access::load, Beside::other_block>("loads", "st.async from the other block"),
    case_of<Access::load, Beside::polls>("loads", "polls of an mbarrier"),
    case_of<Access::load, Beside::wgmma>("loads", "wgmma"),
};

}  // namespace

int main() {
  return run_program([] {
    const Device device = current_device();
    if (device.compute_capability != 90) {
      throw InvalidInput(device.name +
                         " has no copy engine, clusters or wgmma; this needs compute capability 9.0");
    }
    DeviceBuffer<unsigned char> gmem(kTileBytes, RawDeviceBuffer::Guards::none);
    for (const Case& one : kCases) {
      std::printf("case: %s beside %s\n", one.access, one.beside);  // fidelity.py reads this
      std::fflush(stdout);
      const cudaLaunchAttribute cluster[] = {clusters_of(2)};
      CUDA_CHECK(launch_with(std::span(cluster), one.kernel, dim3(2), dim3(kThreads), sizeof(Smem), nullptr,
                             gmem.data()));
      CUDA_CHECK(cudaDeviceSynchronize());
    }
    return ExitCode::right;
  });
}
