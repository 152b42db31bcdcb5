#include "counted.hpp"

#include "attention/launch.hpp"
#include "attention/ptx.cuh"

namespace counted {
namespace {

__global__ void shared_wide_load_kernel(const float* in, float* out, int sharing) {
  __shared__ __align__(16) float tile[128];
  for (int i = threadIdx.x; i < 128; i += 32) tile[i] = in[i];
  __syncwarp();
  const float4 wide = reinterpret_cast<const float4*>(tile)[threadIdx.x / sharing];
  out[threadIdx.x] = wide.x + wide.y + wide.z + wide.w;
}

using attention::launch;

__global__ void strided_load_kernel(const float* in, float* out, int stride) {
  out[threadIdx.x] = in[stride * int(threadIdx.x)];
}

__global__ void wide_copy_kernel(const float* in, float* out) {
  const float4 four = reinterpret_cast<const float4*>(in)[threadIdx.x];
  reinterpret_cast<float4*>(out)[threadIdx.x] = make_float4(four.x, four.y, four.z, four.w);
}

template <int kPadding>
__global__ void transpose_kernel(const float* in, float* out) {
  __shared__ float tile[32][32 + kPadding];
  for (int row = 0; row < 32; ++row) tile[row][threadIdx.x] = in[32 * row + int(threadIdx.x)];
  __syncwarp();
  for (int column = 0; column < 32; ++column) out[32 * column + int(threadIdx.x)] = tile[threadIdx.x][column];
}

__global__ void specialized_kernel(const half* in, float* out, int tiles) {
  __shared__ __align__(16) half tile_smem[2][32 * 8 * 2];
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  constexpr int kFull = 1, kEmpty = 3;  // and the next, one for each buffer
  if (warp_id < 2) {
    for (int tile = 0; tile < tiles; ++tile) {
      const int buffer = tile % 2;
      if (tile >= 2) attention::bar_sync(kEmpty + buffer, 128);
      const int chunk = warp_id * 32 + lane_id;
      attention::cp_async_16(&tile_smem[buffer][8 * chunk], in + 512 * tile + 8 * chunk);
      attention::cp_async_commit_group();
      attention::cp_async_wait_group<0>();
      attention::bar_arrive(kFull + buffer, 128);
    }
  } else {
    float d[4] = {};
    for (int tile = 0; tile < tiles; ++tile) {
      const int buffer = tile % 2;
      attention::bar_sync(kFull + buffer, 128);
      std::uint32_t a[4], b[2];
      attention::ldmatrix_x4(a, &tile_smem[buffer][8 * lane_id]);
      attention::ldmatrix_x2(b, &tile_smem[buffer][256 + 8 * (lane_id % 16)]);
      attention::mma_m16n8k16(d, a, b);
      if (tile + 2 < tiles) attention::bar_arrive(kEmpty + buffer, 128);
    }
    for (int i = 0; i < 4; ++i) out[128 * (warp_id - 2) + 4 * lane_id + i] = d[i];
  }
}

__global__ void diverging_kernel(const float* in, float* out) {
  float sum = in[threadIdx.x];
  if (threadIdx.x % 2 == 1) sum += in[32 + threadIdx.x];
  sum += in[64 + threadIdx.x];
  out[threadIdx.x] = sum;
}

__global__ void three_in_flight_kernel(const float* in, float* out) {
  __shared__ __align__(16) float tile[4][128];
  for (int group = 0; group < 3; ++group) {
    attention::cp_async_16(&tile[group][4 * threadIdx.x], in + 128 * group + 4 * threadIdx.x);
    attention::cp_async_commit_group();
  }
  attention::cp_async_wait_group<2>();
  attention::cp_async_16(&tile[3][4 * threadIdx.x], in + 4 * threadIdx.x);
  attention::cp_async_commit_group();
  attention::cp_async_commit_group();  // an empty group is none in flight
  attention::cp_async_wait_group<0>();
  __syncthreads();
  out[threadIdx.x] = tile[0][threadIdx.x] + tile[3][threadIdx.x];
}

// Lanes of which the lower ones have returned when the higher ones wait, and of which only some copy.
__global__ void waits_alone_kernel(const float* in, float* out) {
  __shared__ __align__(16) float tile[256];
  const int lane_id = int(threadIdx.x) % 32;
  for (int copy = 0; copy < (lane_id >= 16 ? 3 : 0); ++copy) {
    attention::cp_async_16(&tile[4 * threadIdx.x], in + 4 * threadIdx.x);
    attention::cp_async_commit_group();
    attention::cp_async_wait_group<0>();
  }
  out[threadIdx.x] = in[threadIdx.x];
  attention::cp_async_wait_all();
}

__global__ void long_loop_kernel(const float* in, float* out) {
  float sum = 0.0f;
  for (int i = 0; i < 2000; ++i) sum += in[(i * 32 + int(threadIdx.x)) % 1024];
  out[threadIdx.x] = sum;
}

__global__ void many_blocks_kernel(const float* in, float* out) {
  out[blockIdx.x * 32 + threadIdx.x] = in[threadIdx.x];
}

}  // namespace

cudaError_t strided_load(const float* in, float* out, int stride) {
  return launch(strided_load_kernel, 1, 32, 0, nullptr, in, out, stride);
}
cudaError_t wide_copy(const float* in, float* out) {
  return launch(wide_copy_kernel, 1, 32, 0, nullptr, in, out);
}
cudaError_t transpose(const float* in, float* out, bool padded) {
  return padded ? launch(transpose_kernel<1>, 1, 32, 0, nullptr, in, out)
                : launch(transpose_kernel<0>, 1, 32, 0, nullptr, in, out);
}
cudaError_t shared_wide_load(const float* in, float* out, int sharing) {
  return attention::launch(shared_wide_load_kernel, dim3(1), dim3(32), 0, nullptr, in, out, sharing);
}

cudaError_t specialized(const half* in, float* out, int tiles) {
  return launch(specialized_kernel, 1, 128, 0, nullptr, in, out, tiles);
}
cudaError_t diverging(const float* in, float* out) {
  return launch(diverging_kernel, 1, 32, 0, nullptr, in, out);
}
cudaError_t three_in_flight(const float* in, float* out) {
  return launch(three_in_flight_kernel, 1, 32, 0, nullptr, in, out);
}
cudaError_t waits_alone(const float* in, float* out) {
  return launch(waits_alone_kernel, 2, 64, 0, nullptr, in, out);
}
cudaError_t long_loop(const float* in, float* out) {
  return launch(long_loop_kernel, 1, 32, 0, nullptr, in, out);
}
cudaError_t many_blocks(const float* in, float* out, int blocks) {
  return launch(many_blocks_kernel, unsigned(blocks), 32, 0, nullptr, in, out);
}

}  // namespace counted
