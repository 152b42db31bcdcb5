// One small kernel for each of Hopper's operations, the same for a GPU and for the emulated device.

#include "hopper.hpp"

#include "attention/hopper.cuh"
#include "attention/launch.hpp"
#include "attention/tensor_map.hpp"

namespace hopper {
namespace {

using attention::launch;
using attention::Major;
using attention::Mbarrier;

__global__ void hand_over_kernel(const float* in, float* out, int tiles) {
  __shared__ float tile_smem[2][32];
  __shared__ Mbarrier full[2], empty[2];
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      attention::mbarrier_init(&full[i], 1);
      attention::mbarrier_init(&empty[i], 32);
    }
    attention::fence_mbarrier_init();
  }
  __syncthreads();
  for (int tile = 0; tile < tiles; ++tile) {
    const int buffer = tile % 2;
    const unsigned parity = unsigned(tile / 2 % 2);
    if (warp_id == 0) {
      attention::mbarrier_wait(&empty[buffer], parity ^ 1);  // passes at once for the first two
      tile_smem[buffer][lane_id] = in[tile * 32 + lane_id];
      __syncwarp();
      if (lane_id == 0) attention::mbarrier_arrive(&full[buffer]);
    } else {
      while (!attention::mbarrier_try_wait(&full[buffer], parity)) {
      }
      out[tile * 32 + lane_id] = tile_smem[buffer][31 - lane_id];
      attention::mbarrier_arrive(&empty[buffer]);
    }
  }
}

__global__ void bulk_lines_kernel(const unsigned char* in, unsigned char* out) {
  __shared__ __align__(128) unsigned char line_smem[4096 + 16];
  __shared__ Mbarrier arrived;
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, 4096 + 16);
    attention::cp_async_bulk(line_smem, in, 4096, &arrived);
    attention::cp_async_bulk(line_smem + 4096, in + 4096, 16, &arrived);
  }
  __syncthreads();
  attention::mbarrier_wait(&arrived, 0);
  for (int i = int(threadIdx.x); i < 4096 + 16; i += int(blockDim.x)) out[i] = line_smem[i];
}

__global__ void tile_load_kernel(const __grid_constant__ CUtensorMap map, half* out, Box box) {
  __shared__ Mbarrier arrived;
  half* tile_smem = reinterpret_cast<half*>(dynamic_smem);
  if (threadIdx.x == 0) {
    attention::prefetch_tensormap(&map);
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, unsigned(box.elements() * sizeof(half)));
    attention::tma_load(tile_smem, &map, box.panel, box.row, box.head, &arrived);
  }
  __syncthreads();
  attention::mbarrier_wait(&arrived, 0);
  for (int i = int(threadIdx.x); i < int(box.elements()); i += int(blockDim.x)) out[i] = tile_smem[i];
}

__global__ void tile_store_kernel(const half* tile, const __grid_constant__ CUtensorMap map, Box box) {
  half* tile_smem = reinterpret_cast<half*>(dynamic_smem);
  for (int i = int(threadIdx.x); i < int(box.elements()); i += int(blockDim.x)) tile_smem[i] = tile[i];
  attention::fence_proxy_async();
  __syncthreads();
  if (threadIdx.x != 0) return;
  attention::tma_store(tile_smem, &map, box.panel, box.row, box.head);
  attention::cp_async_bulk_commit_group();
  attention::cp_async_bulk_wait_group_read<0>();
  attention::cp_async_bulk_wait_group<0>();
}

constexpr int kDepth = 64;  // of the products: a panel

// Where D's element i of this thread is: see hopper.cuh.
__device__ int index_in_d(int i, int columns) {
  const int row = int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4 + 8 * (i / 2 % 2);
  return row * columns + 8 * (i / 4) + 2 * (int(threadIdx.x) % 4) + i % 2;
}

// One thread loads both operands; all threads leave when they are there.
__device__ void load_operands(half* a_smem, const CUtensorMap* a, half* b_smem, const CUtensorMap* b,
                              unsigned b_bytes, Mbarrier* arrived) {
  if (threadIdx.x == 0) {
    attention::mbarrier_init(arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(arrived, 64 * kDepth * sizeof(half) + b_bytes);
    attention::tma_load(a_smem, a, 0, 0, 0, arrived);
    attention::tma_load(b_smem, b, 0, 0, 0, arrived);
  }
  __syncthreads();
  attention::mbarrier_wait(arrived, 0);
}

template <int kColumns, Operand a_kind, Operand b_kind>
__global__ void wgmma_kernel(const __grid_constant__ CUtensorMap a_map,
                             const __grid_constant__ CUtensorMap b_map, const half* a, float* d,
                             bool accumulate) {
  constexpr bool kBByK = b_kind == Operand::k_major;
  constexpr Major kAMajor = a_kind == Operand::mn_major ? Major::mn : Major::k;
  constexpr Major kBMajor = kBByK ? Major::k : Major::mn;
  constexpr int kBColumns = (kColumns + 63) / 64 * 64;  // in panels
  constexpr unsigned kBBytes = (kBByK ? kColumns : kBColumns) * kDepth * sizeof(half);
  constexpr int kPanelBytes = kDepth * 128;
  __shared__ Mbarrier arrived;
  half* a_smem = reinterpret_cast<half*>(dynamic_smem);
  half* b_smem = a_smem + 64 * kDepth;
  load_operands(a_smem, &a_map, b_smem, &b_map, kBBytes, &arrived);

  float d_frag[kColumns / 2];
  for (int i = 0; i < kColumns / 2; ++i) d_frag[i] = accumulate ? d[index_in_d(i, kColumns)] : -1.0f;
  std::uint32_t a_frag[kDepth / 16][4];
  for (int step = 0; step < kDepth / 16; ++step) {
    for (int i = 0; i < 4; ++i) {
      const int row = int(threadIdx.x) / 32 * 16 + int(threadIdx.x) % 32 / 4 + 8 * (i % 2);
      const int column = step * 16 + i / 2 * 8 + int(threadIdx.x) % 4 * 2;
      a_frag[step][i] = *reinterpret_cast<const std::uint32_t*>(a + row * kDepth + column);
    }
  }
  const std::uint64_t a_tile = attention::wgmma_descriptor(a_smem);
  const std::uint64_t b_tile = attention::wgmma_descriptor(b_smem, kBByK ? 16 : kPanelBytes);
  attention::wgmma_fence();
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    const std::uint64_t b_step = attention::wgmma_advance(b_tile, step * (kBByK ? 32 : 2048));
    if constexpr (a_kind == Operand::registers) {
      attention::wgmma<kBMajor>(d_frag, a_frag[step], b_step, accumulate || step > 0);
    } else {
      const std::uint64_t a_step =
          attention::wgmma_advance(a_tile, step * (a_kind == Operand::k_major ? 32 : 2048));
      attention::wgmma<kAMajor, kBMajor>(d_frag, a_step, b_step, accumulate || step > 0);
    }
  }
  attention::wgmma_commit_group();
  attention::wgmma_wait_group<0>(d_frag);
  for (int i = 0; i < kColumns / 2; ++i) d[index_in_d(i, kColumns)] = d_frag[i];
}

__global__ void wgmma_groups_kernel(const __grid_constant__ CUtensorMap a_map,
                                    const __grid_constant__ CUtensorMap b_map, float* out) {
  __shared__ Mbarrier arrived;
  half* a_smem = reinterpret_cast<half*>(dynamic_smem);
  half* b_smem = a_smem + 64 * kDepth;
  load_operands(a_smem, &a_map, b_smem, &b_map, 2 * 64 * kDepth * sizeof(half), &arrived);
  float first[32], second[32];
  const std::uint64_t a_tile = attention::wgmma_descriptor(a_smem);
  attention::wgmma_fence();
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    attention::wgmma(first, attention::wgmma_advance(a_tile, 32 * step),
                     attention::wgmma_advance(attention::wgmma_descriptor(b_smem), 32 * step), step > 0);
  }
  attention::wgmma_commit_group();
#pragma unroll
  for (int step = 0; step < kDepth / 16; ++step) {
    attention::wgmma(second, attention::wgmma_advance(a_tile, 32 * step),
                     attention::wgmma_advance(attention::wgmma_descriptor(b_smem + 64 * kDepth), 32 * step),
                     step > 0);
  }
  attention::wgmma_commit_group();
  attention::wgmma_wait_group<1>(first);
  for (int i = 0; i < 32; ++i) out[index_in_d(i, 64)] = first[i];
  attention::wgmma_wait_group<0>(second);
  for (int i = 0; i < 32; ++i) out[64 * 64 + index_in_d(i, 64)] = second[i];
}

__global__ void __launch_bounds__(384, 1) registers_kernel(int* out) {
  if (threadIdx.x < 128)
    attention::setmaxnreg_dec<40>();
  else
    attention::setmaxnreg_inc<232>();
  out[threadIdx.x] = int(threadIdx.x);
}

__global__ void elect_kernel(int* out) {
  out[threadIdx.x] = attention::elect_sync();
  __syncwarp();
  if (attention::elect_sync()) ++out[threadIdx.x];
}

__global__ void neighbours_kernel(float* out, int size) {
  __shared__ __align__(16) float4 four_smem[32];
  __shared__ __align__(16) float2 two_smem[32];
  __shared__ Mbarrier filled, taken;
  const unsigned rank = attention::cluster_ctarank();
  const unsigned right = (rank + 1) % unsigned(size), left = (rank + unsigned(size) - 1) % unsigned(size);
  const int thread = int(threadIdx.x);
  if (thread == 0) {
    attention::mbarrier_init(&filled, 1);
    attention::mbarrier_init(&taken, 32);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&filled, 32 * (sizeof(float4) + sizeof(float2)));
  }
  __syncwarp();
  attention::cluster_arrive();
  attention::cluster_wait();  // the neighbours' barriers are there
  const float base = 1000.0f * float(blockIdx.x) + float(thread);
  const std::uint32_t there = attention::mapa(&filled, right);
  attention::st_async(attention::mapa(&four_smem[thread], right),
                      make_float4(base, base + 0.25f, base + 0.5f, base + 0.75f), there);
  attention::st_async(attention::mapa(&two_smem[thread], right), make_float2(-base, -base - 0.5f), there);
  attention::mbarrier_wait(&filled, 0);
  const float4 four = four_smem[31 - thread];
  const float2 two = two_smem[31 - thread];
  attention::mbarrier_arrive_cluster(&taken, left);
  float* mine = out + 256 * blockIdx.x;
  mine[4 * thread] = four.x;
  mine[4 * thread + 1] = four.y;
  mine[4 * thread + 2] = four.z;
  mine[4 * thread + 3] = four.w;
  mine[128 + 2 * thread] = two.x;
  mine[128 + 2 * thread + 1] = two.y;
  attention::mbarrier_wait(&taken, 0);
  mine[192 + thread] = float(rank);
  // Nobody leaves while a neighbour may still arrive at its barrier.
  attention::cluster_arrive_relaxed();
  attention::cluster_wait();
}

__global__ void multicast_kernel(const __grid_constant__ CUtensorMap map, half* out) {
  __shared__ Mbarrier arrived;
  half* tile_smem = reinterpret_cast<half*>(dynamic_smem);
  if (threadIdx.x == 0) {
    attention::mbarrier_init(&arrived, 1);
    attention::fence_mbarrier_init();
    attention::mbarrier_arrive_expect_tx(&arrived, 64 * 64 * sizeof(half));
  }
  __syncthreads();
  attention::cluster_arrive();
  attention::cluster_wait();
  if (threadIdx.x == 0 && attention::cluster_ctarank() == 0) {
    attention::tma_load_multicast(tile_smem, &map, 0, 0, 0, &arrived, 3);
  }
  attention::mbarrier_wait(&arrived, 0);
  for (int i = int(threadIdx.x); i < 64 * 64; i += int(blockDim.x))
    out[64 * 64 * blockIdx.x + i] = tile_smem[i];
  attention::cluster_arrive();
  attention::cluster_wait();
}

cudaError_t map_of(CUtensorMap* map, const half* tensor, const Box& box) {
  return attention::make_tensor_map(map, tensor, box.heads, box.rows, box.head_dim, box.box_rows,
                                    box.box_columns);
}

template <int kColumns, Operand a_kind, Operand b_kind>
cudaError_t wgmma_of(const half* a, const half* b, float* d, bool accumulate) {
  constexpr int kBColumns = (kColumns + 63) / 64 * 64;
  constexpr bool kBByK = b_kind == Operand::k_major;
  CUtensorMap a_map, b_map;
  cudaError_t error = attention::make_tensor_map(&a_map, a, 1, 64, 64, 64, 64);
  if (error != cudaSuccess) return error;
  error = attention::make_tensor_map(&b_map, b, 1, kBByK ? kColumns : kDepth, kBByK ? kDepth : kBColumns,
                                     kBByK ? kColumns : kDepth, kBByK ? kDepth : kBColumns);
  if (error != cudaSuccess) return error;
  return launch(wgmma_kernel<kColumns, a_kind, b_kind>, 1, 128, (64 + 256) * kDepth * sizeof(half), nullptr,
                a_map, b_map, a, d, accumulate);
}

template <Operand a_kind, Operand b_kind>
cudaError_t wgmma_of(const half* a, const half* b, float* d, int columns, bool accumulate) {
  switch (columns) {
    case 32:
      return wgmma_of<32, a_kind, b_kind>(a, b, d, accumulate);
    case 64:
      return wgmma_of<64, a_kind, b_kind>(a, b, d, accumulate);
    case 128:
      return wgmma_of<128, a_kind, b_kind>(a, b, d, accumulate);
    default:
      if constexpr (a_kind != Operand::registers) return wgmma_of<192, a_kind, b_kind>(a, b, d, accumulate);
      return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t hand_over(const float* in, float* out, int tiles) {
  return launch(hand_over_kernel, 1, 64, 0, nullptr, in, out, tiles);
}
cudaError_t bulk_lines(const unsigned char* in, unsigned char* out) {
  return launch(bulk_lines_kernel, 1, 96, 0, nullptr, in, out);
}
cudaError_t tile_load(const half* tensor, half* out, const Box& box) {
  CUtensorMap map;
  const cudaError_t error = map_of(&map, tensor, box);
  if (error != cudaSuccess) return error;
  return launch(tile_load_kernel, 1, 64, box.elements() * sizeof(half), nullptr, map, out, box);
}
cudaError_t tile_store(const half* tile, half* tensor, const Box& box) {
  CUtensorMap map;
  const cudaError_t error = map_of(&map, tensor, box);
  if (error != cudaSuccess) return error;
  return launch(tile_store_kernel, 1, 64, box.elements() * sizeof(half), nullptr, tile, map, box);
}
cudaError_t wgmma(const half* a, Operand a_kind, const half* b, Operand b_kind, float* d, int columns,
                  bool accumulate) {
  if (b_kind == Operand::k_major) {
    switch (a_kind) {
      case Operand::k_major:
        return wgmma_of<Operand::k_major, Operand::k_major>(a, b, d, columns, accumulate);
      case Operand::mn_major:
        return wgmma_of<Operand::mn_major, Operand::k_major>(a, b, d, columns, accumulate);
      case Operand::registers:
        return wgmma_of<Operand::registers, Operand::k_major>(a, b, d, columns, accumulate);
    }
  }
  switch (a_kind) {
    case Operand::k_major:
      return wgmma_of<Operand::k_major, Operand::mn_major>(a, b, d, columns, accumulate);
    case Operand::mn_major:
      return wgmma_of<Operand::mn_major, Operand::mn_major>(a, b, d, columns, accumulate);
    default:
      return wgmma_of<Operand::registers, Operand::mn_major>(a, b, d, columns, accumulate);
  }
}
cudaError_t wgmma_groups(const half* a, const half* b, float* out) {
  CUtensorMap a_map, b_map;
  cudaError_t error = attention::make_tensor_map(&a_map, a, 1, 64, 64, 64, 64);
  if (error == cudaSuccess) error = attention::make_tensor_map(&b_map, b, 1, 128, 64, 128, 64);
  if (error != cudaSuccess) return error;
  return launch(wgmma_groups_kernel, 1, 128, 3 * 64 * kDepth * sizeof(half), nullptr, a_map, b_map, out);
}
cudaError_t registers(int* out) {
  return launch(registers_kernel, 1, 384, 0, nullptr, out);
}
cudaError_t elect(int* out) {
  return launch(elect_kernel, 1, 128, 0, nullptr, out);
}
cudaError_t neighbours(float* out, int blocks, int size) {
  const cudaLaunchAttribute attribute = attention::clusters_of(unsigned(size));
  return attention::launch_with({&attribute, 1}, neighbours_kernel, unsigned(blocks), 32, 0, nullptr, out,
                                size);
}
cudaError_t multicast(const half* tensor, half* out) {
  const cudaLaunchAttribute attribute = attention::clusters_of(2);
  CUtensorMap map;
  const cudaError_t error = attention::make_tensor_map(&map, tensor, 1, 64, 64, 64, 64);
  if (error != cudaSuccess) return error;
  return attention::launch_with({&attribute, 1}, multicast_kernel, 2, 128, 64 * 64 * sizeof(half), nullptr,
                                map, out);
}

}  // namespace hopper
