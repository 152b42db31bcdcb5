// Planted faults of Hopper's instructions, as faults.cu has them of the others.

#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/tensor_map.hpp"
#include "faults.hpp"

namespace faults {
namespace {

using attention::Mbarrier;

// One thread: the barrier, and 1024 bytes of `in` on their way.
__device__ void start_line(float* line_smem, const float* in, Mbarrier* arrived, bool expects = true) {
  attention::mbarrier_init(arrived, 1);
  attention::fence_mbarrier_init();
  if (expects)
    attention::mbarrier_arrive_expect_tx(arrived, 1024);
  else
    attention::mbarrier_arrive(arrived);
  attention::cp_async_bulk(line_smem, in, 1024, arrived);
}

// ---- mbarriers ----

template <bool kFault>
__global__ void mbarrier_uninitialized(const float* in, float* out) {
  __shared__ Mbarrier barrier;
  if (!kFault && threadIdx.x == 0) attention::mbarrier_init(&barrier, 32);
  __syncwarp();
  attention::mbarrier_arrive(&barrier);  // fault: mbarrier_uninitialized
  attention::mbarrier_wait(&barrier, 0);
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool kFault>
__global__ void mbarrier_starved(const float* in, float* out) {
  __shared__ Mbarrier barrier;
  if (threadIdx.x == 0) attention::mbarrier_init(&barrier, 32);
  __syncwarp();
  if (!kFault || threadIdx.x != 7) attention::mbarrier_arrive(&barrier);
  attention::mbarrier_wait(&barrier, 0);  // fault: mbarrier_starved
  out[threadIdx.x] = in[threadIdx.x];
}

// A producer warp, a consumer warp; the producer arrives before it writes.
template <bool kFault>
__global__ void arrives_too_early(const float* in, float* out) {
  __shared__ float tile[32];
  __shared__ Mbarrier full;
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  if (threadIdx.x == 0) attention::mbarrier_init(&full, 32);
  __syncthreads();
  if (warp_id == 0) {
    if (kFault) attention::mbarrier_arrive(&full);
    tile[lane_id] = in[lane_id];
    if (!kFault) attention::mbarrier_arrive(&full);
  } else {
    attention::mbarrier_wait(&full, 0);
    out[lane_id] = tile[31 - lane_id];  // fault: arrives_too_early
  }
}

// One lane arrives for all, without waiting for them.
template <bool kFault>
__global__ void arrives_for_others(const float* in, float* out) {
  __shared__ float tile[32];
  __shared__ Mbarrier full;
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  if (threadIdx.x == 0) attention::mbarrier_init(&full, 1);
  __syncthreads();
  if (warp_id == 0) {
    tile[lane_id] = in[lane_id];
    if (!kFault) __syncwarp();
    if (lane_id == 0) attention::mbarrier_arrive(&full);
  } else {
    attention::mbarrier_wait(&full, 0);
    out[lane_id] = tile[31 - lane_id];  // fault: arrives_for_others
  }
}

// ---- Bulk copies ----

template <bool kFault>
__global__ void line_not_waited(const float* in, float* out) {
  __shared__ __align__(128) float line[256];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) start_line(line, in, &arrived);
  __syncwarp();
  if (!kFault) attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x];  // fault: line_not_waited
  attention::mbarrier_wait(&arrived, 0);
}

template <bool kFault>
__global__ void line_not_expected(const float* in, float* out) {
  __shared__ __align__(128) float line[256];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) start_line(line, in, &arrived, !kFault);
  __syncwarp();
  attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x];  // fault: line_not_expected
}

// Two lines, each with an mbarrier of its own. The first has landed when the second copy is issued, but only
// threads that wait at its mbarrier may rely on that.
template <bool kFault>
__global__ void waits_for_another(const float* in, float* out) {
  __shared__ __align__(128) float line[2][256];
  __shared__ Mbarrier arrived[2];
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      attention::mbarrier_init(&arrived[i], 1);
      attention::fence_mbarrier_init();
      attention::mbarrier_arrive_expect_tx(&arrived[i], 1024);
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    attention::cp_async_bulk(line[0], in, 1024, &arrived[0]);
    attention::mbarrier_wait(&arrived[0], 0);
    attention::cp_async_bulk(line[1], in + 256, 1024, &arrived[1]);
  }
  if (threadIdx.x < 32) return;
  attention::mbarrier_wait(&arrived[kFault ? 1 : 0], 0);
  out[threadIdx.x] = line[0][threadIdx.x];  // fault: waits_for_another
  attention::mbarrier_wait(&arrived[1], 0);
}

template <bool kFault>
__global__ void init_not_shown(const float* in, float* out) {
  __shared__ __align__(128) float line[256];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    if (!kFault) attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, 1024);
    attention::cp_async_bulk(line, in, 1024, &arrived);  // fault: init_not_shown
  }
  __syncwarp();
  attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x];
}

template <bool kFault>
__global__ void line_past_end(const float* in, float* out) {
  __shared__ __align__(128) float line[256];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, 1024);
    attention::cp_async_bulk(line, in + (kFault ? 800 : 768), 1024, &arrived);  // fault: line_past_end
  }
  __syncwarp();
  attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x];
}

template <bool kFault>
__global__ void line_misaligned(const float* in, float* out) {
  __shared__ __align__(128) float line[256 + 1];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, 1024);
    attention::cp_async_bulk(line + (kFault ? 1 : 0), in, 1024, &arrived);  // fault: line_misaligned
  }
  __syncwarp();
  attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x + (kFault ? 1 : 0)];
}

// ---- Tiles: `out` is a tensor of 8 rows of 64 halves ----

// All threads write the tile, for TMA to read.
__device__ const float* written_tile(const float* in, bool fenced) {
  float* tile = reinterpret_cast<float*>(dynamic_smem);
  for (int i = int(threadIdx.x); i < 256; i += int(blockDim.x)) tile[i] = in[i];
  if (fenced) attention::fence_proxy_async();
  __syncthreads();
  return tile;
}

template <bool kFault>
__global__ void no_proxy_fence(const float* in, float* out, const __grid_constant__ CUtensorMap map) {
  const float* tile = written_tile(in, !kFault);
  if (threadIdx.x != 0) return;
  attention::tma_store(tile, &map, 0, 0, 0);  // fault: no_proxy_fence
  attention::cp_async_bulk_commit_group();
  attention::cp_async_bulk_wait_group<0>();
  (void)out;
}

template <bool kFault>
__global__ void store_never_waited(const float* in, float* out, const __grid_constant__ CUtensorMap map) {
  const float* tile = written_tile(in, true);
  if (threadIdx.x != 0) return;
  attention::tma_store(tile, &map, 0, 0, 0);  // fault: store_never_waited
  attention::cp_async_bulk_commit_group();
  if (!kFault) attention::cp_async_bulk_wait_group_read<0>();
  (void)out;
}

template <bool kFault>
__global__ void store_before_first_row(const float* in, float* out, const __grid_constant__ CUtensorMap map) {
  const float* tile = written_tile(in, true);
  if (threadIdx.x != 0) return;
  attention::tma_store(tile, &map, 0, kFault ? -4 : 4, 0);  // fault: store_before_first_row
  attention::cp_async_bulk_commit_group();
  attention::cp_async_bulk_wait_group_read<0>();
  (void)out;
}

template <bool kFault>
__global__ void store_before_first_head(const float* in, float* out,
                                        const __grid_constant__ CUtensorMap map) {
  const float* tile = written_tile(in, true);
  if (threadIdx.x != 0) return;
  attention::tma_store(tile, &map, 0, 0, kFault ? -1 : 0);  // fault: store_before_first_head
  attention::cp_async_bulk_commit_group();
  attention::cp_async_bulk_wait_group_read<0>();
  (void)out;
}

template <bool kFault>
__global__ void tile_written_again(const float* in, float* out, const __grid_constant__ CUtensorMap map) {
  float* tile = reinterpret_cast<float*>(dynamic_smem);
  tile[threadIdx.x] = in[threadIdx.x];
  tile[threadIdx.x + 128] = in[threadIdx.x];
  attention::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x == 0) {
    attention::tma_store(tile, &map, 0, 0, 0);
    attention::cp_async_bulk_commit_group();
    if (!kFault) attention::cp_async_bulk_wait_group_read<0>();
  }
  __syncthreads();
  tile[threadIdx.x] = in[threadIdx.x + 128];  // fault: tile_written_again
  attention::fence_proxy_async();
  if (kFault && threadIdx.x == 0) attention::cp_async_bulk_wait_group_read<0>();
  (void)out;
}

// ---- wgmma: the operands are zeros that TMA brought ----

__device__ void load_tiles(const float* in, Mbarrier* arrived) {
  if (threadIdx.x == 0) {
    attention::mbarrier_init(arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(arrived, 8192);
    for (int i = 0; i < 2; ++i) attention::cp_async_bulk(dynamic_smem + 4096 * i, in, 4096, arrived);
  }
  __syncthreads();
  attention::mbarrier_wait(arrived, 0);
}

template <bool kFault>
__global__ void register_read_early(const float* in, float* out) {
  __shared__ Mbarrier arrived;
  load_tiles(in, &arrived);
  float d[16] = {};
  const std::uint64_t tile = attention::wgmma_descriptor(dynamic_smem);
  attention::wgmma_fence();
  attention::wgmma(d, tile, tile, true);
  attention::wgmma_commit_group();
  if (!kFault) attention::wgmma_wait_group<0>(d);
  out[threadIdx.x] = d[3];  // fault: register_read_early
  attention::wgmma_wait_group<0>(d);
}

template <bool kFault>
__global__ void no_wgmma_fence(const float* in, float* out) {
  __shared__ Mbarrier arrived;
  load_tiles(in, &arrived);
  float d[16] = {};
  const std::uint64_t tile = attention::wgmma_descriptor(dynamic_smem);
  for (int i = 0; i < 2; ++i) {
    if (!kFault || i == 0) attention::wgmma_fence();
    attention::wgmma(d, tile, tile, true);  // fault: no_wgmma_fence
    attention::wgmma_commit_group();
    attention::wgmma_wait_group<0>(d);
    for (float& value : d) value += 1.0f;
  }
  out[threadIdx.x] = d[3];
}

template <bool kFault>
__global__ void wgmma_never_waited(const float* in, float* out) {
  __shared__ Mbarrier arrived;
  load_tiles(in, &arrived);
  float d[16] = {};
  const std::uint64_t tile = attention::wgmma_descriptor(dynamic_smem);
  attention::wgmma_fence();
  attention::wgmma(d, tile, tile, true);  // fault: wgmma_never_waited
  attention::wgmma_commit_group();
  if (!kFault) attention::wgmma_wait_group<0>(d);
  out[threadIdx.x] = in[threadIdx.x];
}

// Tiles that threads wrote, with nothing that shows them to wgmma.
template <bool kFault>
__global__ void written_tile_not_shown(const float* in, float* out) {
  float* tile_smem = reinterpret_cast<float*>(dynamic_smem);
  for (int i = int(threadIdx.x); i < 2048; i += int(blockDim.x)) tile_smem[i] = in[i % 1024];
  if (!kFault) attention::fence_proxy_async();
  __syncthreads();
  float d[16] = {};
  const std::uint64_t tile = attention::wgmma_descriptor(dynamic_smem);
  attention::wgmma_fence();
  attention::wgmma(d, tile, tile, true);  // fault: written_tile_not_shown
  attention::wgmma_commit_group();
  attention::wgmma_wait_group<0>(d);
  out[threadIdx.x] = d[0];
}

// The tile is released when its products were issued, not when they are complete; the next load overwrites it.
template <bool kFault>
__global__ void tile_given_back_early(const float* in, float* out) {
  __shared__ Mbarrier full, empty;
  const bool produces = threadIdx.x >= 128;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&full, 1);
    attention::mbarrier_init(&empty, 128);
    attention::fence_mbarrier_init();
  }
  __syncthreads();
  if (produces) {
    for (unsigned round = 0; round < 2; ++round) {
      if (threadIdx.x == 128) {
        attention::mbarrier_wait(&empty, round ^ 1);
        attention::mbarrier_arrive_expect_tx(&full, 8192);
        for (int i = 0; i < 2; ++i) attention::cp_async_bulk(dynamic_smem + 4096 * i, in, 4096, &full);
      }
      __syncwarp();
      if (round == 1) attention::bar_arrive(1, 160);
    }
    return;
  }
  float d[16] = {};
  const std::uint64_t tile = attention::wgmma_descriptor(dynamic_smem);
  attention::mbarrier_wait(&full, 0);
  attention::wgmma_fence();
  attention::wgmma(d, tile, tile, true);  // fault: tile_given_back_early
  attention::wgmma_commit_group();
  if (!kFault) attention::wgmma_wait_group<0>(d);
  attention::mbarrier_arrive(&empty);
  attention::bar_sync(1, 160);  // here the next load has been issued
  attention::wgmma_wait_group<0>(d);
  attention::mbarrier_wait(&full, 1);
  out[threadIdx.x] = d[0];
}

// ---- setmaxnreg ----

template <bool kFault>
__global__ void registers_wrong_way(const float* in, float* out) {
  if (threadIdx.x < 128)
    attention::setmaxnreg_dec<64>();
  else if (kFault)
    attention::setmaxnreg_inc<40>();  // fault: registers_wrong_way
  else
    attention::setmaxnreg_inc<256>();
  out[threadIdx.x] = in[threadIdx.x];
}

// 512 threads have 128 each; the first warpgroup leaves 64 of them.
template <bool kFault>
__global__ void registers_too_many(const float* in, float* out) {
  if (threadIdx.x < 128) {
    attention::setmaxnreg_dec<64>();
  } else if (threadIdx.x < 256) {
    attention::setmaxnreg_inc<kFault ? 200 : 192>();  // fault: registers_too_many
    out[threadIdx.x] = in[threadIdx.x];
  }
}

// ---- Clusters of two ----

template <bool kFault>
__global__ void cluster_not_arrived(const float* in, float* out) {
  if (!kFault) attention::cluster_arrive();
  attention::cluster_wait();  // fault: cluster_not_arrived
  out[threadIdx.x] = in[threadIdx.x];
}

template <bool kFault>
__global__ void remote_store_not_waited(const float* in, float* out) {
  __shared__ __align__(16) float4 values[32];
  __shared__ Mbarrier filled;
  const unsigned other = attention::cluster_ctarank() ^ 1;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&filled, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&filled, sizeof(values));
  }
  __syncwarp();
  attention::cluster_arrive();
  attention::cluster_wait();
  const float value = in[threadIdx.x];
  attention::st_async(attention::mapa(&values[threadIdx.x], other), make_float4(value, value, value, value),
                      attention::mapa(&filled, other));
  attention::cluster_arrive();
  attention::cluster_wait();
  if (!kFault) attention::mbarrier_wait(&filled, 0);
  out[threadIdx.x] = values[31 - threadIdx.x].x;  // fault: remote_store_not_waited
  attention::mbarrier_wait(&filled, 0);
}

// ---- Programmatic dependent launch ----

template <bool kFault>
__global__ void launch_not_waited(const float* in, float* out) {
  if (!kFault && threadIdx.x == 0) attention::griddepcontrol_wait();
  __syncthreads();
  out[threadIdx.x] = in[threadIdx.x];  // fault: launch_not_waited
}

template <bool kFault>
__global__ void launch_not_waited_by_copies(const float* in, float* out) {
  __shared__ __align__(16) float4 tile[32];
  if (!kFault) attention::griddepcontrol_wait();
  attention::cp_async_16(&tile[threadIdx.x], in + 4 * threadIdx.x);  // fault: launch_not_waited_by_copies
  attention::cp_async_wait_all();
  attention::griddepcontrol_wait();
  out[threadIdx.x] = tile[threadIdx.x].x;
}

template <bool kFault>
__global__ void launch_not_waited_by_lines(const float* in, float* out) {
  __shared__ __align__(128) float line[256];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, sizeof(line));
    if (!kFault) cudaGridDependencySynchronize();
    attention::cp_async_bulk(line, in, sizeof(line), &arrived);  // fault: launch_not_waited_by_lines
    cudaGridDependencySynchronize();
  }
  __syncwarp();
  attention::mbarrier_wait(&arrived, 0);
  out[threadIdx.x] = line[threadIdx.x];
}

// ---- Launches ----

template <typename Kernel>
cudaError_t launch_early(Kernel kernel, const float* in, float* out) {
  const cudaLaunchAttribute attribute = attention::dependent_launch();
  return attention::launch_with({&attribute, 1}, kernel, 1, 32, 0, nullptr, in, out);
}

template <typename Kernel, typename... More>
cudaError_t launch_in_twos(Kernel kernel, unsigned threads, More... arguments) {
  const cudaLaunchAttribute attribute = attention::clusters_of(2);
  return attention::launch_with({&attribute, 1}, kernel, 2, threads, 0, nullptr, arguments...);
}

template <typename Kernel>
cudaError_t launch_with_map(Kernel kernel, const float* in, float* out) {
  CUtensorMap map;
  const cudaError_t error = attention::make_tensor_map(&map, reinterpret_cast<half*>(out), 1, 8, 64, 8, 64);
  if (error != cudaSuccess) return error;
  return attention::launch(kernel, 1, 128, 1024, nullptr, in, out, map);
}

#define FAULT_OF(name, faulty, clean)                                                                        \
  {                                                                                                          \
#name, [](const float* in,                                                                               \
              float* out) -> cudaError_t { return faulty; }, [](const float* in,                             \
                                                                float* out) -> cudaError_t { return clean; } \
  }
#define FAULT(name, threads, smem_bytes)                                                  \
  FAULT_OF(name, attention::launch(name<true>, 1, threads, smem_bytes, nullptr, in, out), \
           attention::launch(name<false>, 1, threads, smem_bytes, nullptr, in, out))
#define FAULT_WITH_MAP(name) \
  FAULT_OF(name, launch_with_map(name<true>, in, out), launch_with_map(name<false>, in, out))
#define FAULT_EARLY(name) \
  FAULT_OF(name, launch_early(name<true>, in, out), launch_early(name<false>, in, out))
#define FAULT_IN_TWOS(name, threads) \
  FAULT_OF(name, launch_in_twos(name<true>, threads, in, out), launch_in_twos(name<false>, threads, in, out))

}  // namespace

std::span<const Fault> hopper() {
  static constexpr Fault kFaults[] = {
      FAULT(mbarrier_uninitialized, 32, 0),
      FAULT(mbarrier_starved, 32, 0),
      FAULT(arrives_too_early, 64, 0),
      FAULT(arrives_for_others, 64, 0),
      FAULT(line_not_waited, 32, 0),
      FAULT(line_not_expected, 32, 0),
      FAULT(waits_for_another, 64, 0),
      FAULT(init_not_shown, 32, 0),
      FAULT(line_past_end, 32, 0),
      FAULT(line_misaligned, 32, 0),
      FAULT_WITH_MAP(no_proxy_fence),
      FAULT_WITH_MAP(store_never_waited),
      FAULT_WITH_MAP(store_before_first_row),
      FAULT_WITH_MAP(store_before_first_head),
      FAULT_WITH_MAP(tile_written_again),
      FAULT(register_read_early, 128, 8192),
      FAULT(no_wgmma_fence, 128, 8192),
      FAULT(wgmma_never_waited, 128, 8192),
      FAULT(written_tile_not_shown, 128, 8192),
      FAULT(tile_given_back_early, 160, 8192),
      FAULT(registers_wrong_way, 256, 0),
      FAULT(registers_too_many, 512, 0),
      FAULT_IN_TWOS(cluster_not_arrived, 32),
      FAULT_IN_TWOS(remote_store_not_waited, 32),
      FAULT_EARLY(launch_not_waited),
      FAULT_EARLY(launch_not_waited_by_copies),
      FAULT_EARLY(launch_not_waited_by_lines),
  };
  return kFaults;
}

}  // namespace faults
