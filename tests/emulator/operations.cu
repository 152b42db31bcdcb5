// One small kernel for each operation that a stage may use, the same for a GPU and for the emulated device.

#include "operations.hpp"

#include <cuda_pipeline.h>
#include <mma.h>

#include "attention/launch.hpp"
#include "attention/ptx.cuh"
#include "attention/warp.cuh"

namespace operations {
namespace {

using attention::launch;

__global__ void shuffle_kernel(ShuffleKind kind, const float* in, float* out, int argument, int width) {
  const float value = in[threadIdx.x];
  float result = 0.0f;
  switch (kind) {
    case ShuffleKind::index:
      result = __shfl_sync(0xffffffffu, value, argument, width);
      break;
    case ShuffleKind::up:
      result = __shfl_up_sync(0xffffffffu, value, unsigned(argument), width);
      break;
    case ShuffleKind::down:
      result = __shfl_down_sync(0xffffffffu, value, unsigned(argument), width);
      break;
    case ShuffleKind::exclusive_or:
      result = __shfl_xor_sync(0xffffffffu, value, argument, width);
      break;
  }
  out[threadIdx.x] = result;
}

__global__ void votes_kernel(const unsigned* values, unsigned* out, unsigned mask) {
  const unsigned lane = threadIdx.x;
  if (!(mask >> lane & 1)) return;
  const unsigned value = values[lane];
  const unsigned ballot = __ballot_sync(mask, value > 2);
  const unsigned any = unsigned(__any_sync(mask, value > 2));
  const unsigned all = unsigned(__all_sync(mask, value > 2));
  const unsigned equal = __match_any_sync(mask, value);
  const unsigned sum = __reduce_add_sync(mask, value);
  out[lane] = ballot;
  out[32 + lane] = any;
  out[64 + lane] = all;
  out[96 + lane] = equal;
  out[128 + lane] = sum;
}

template <int kLanes>
__global__ void reductions_kernel(const float* in, float* out) {
  out[threadIdx.x] = attention::warp_reduce_sum<kLanes>(in[threadIdx.x]);
  out[32 + threadIdx.x] = attention::warp_reduce_max<kLanes>(in[threadIdx.x]);
}

__global__ void ldmatrix_kernel(const half* matrices, std::uint32_t* out, int count, bool transposed) {
  __shared__ __align__(16) half rows_smem[32][8];
  const int lane = int(threadIdx.x);
  for (int i = 0; i < 8; ++i) rows_smem[lane][i] = matrices[lane * 8 + i];
  __syncwarp();
  std::uint32_t r1[1] = {}, r2[2] = {}, r4[4] = {};
  const void* row = rows_smem[lane];
  if (count == 1 && !transposed) attention::ldmatrix_x1(r1, row);
  if (count == 1 && transposed) attention::ldmatrix_x1_trans(r1, row);
  if (count == 2 && !transposed) attention::ldmatrix_x2(r2, row);
  if (count == 2 && transposed) attention::ldmatrix_x2_trans(r2, row);
  if (count == 4 && !transposed) attention::ldmatrix_x4(r4, row);
  if (count == 4 && transposed) attention::ldmatrix_x4_trans(r4, row);
  for (int i = 0; i < count; ++i) out[lane * 4 + i] = count == 1 ? r1[i] : count == 2 ? r2[i] : r4[i];
}

__device__ std::uint32_t pair(half low, half high) {
  return __half_as_ushort(low) | std::uint32_t(__half_as_ushort(high)) << 16;
}

// Fragments gathered element by element, as the PTX ISA lays them out.
template <int kK, typename Accumulator>
__global__ void mma_kernel(const half* a, const half* b, Accumulator* d) {
  const int g = int(threadIdx.x) / 4, t = int(threadIdx.x) % 4 * 2;
  std::uint32_t a_frag[kK / 4], b_frag[kK / 8];
  for (int r = 0; r < kK / 4; ++r) {
    const int row = g + r % 2 * 8, column = t + r / 2 * 8;
    a_frag[r] = pair(a[row * kK + column], a[row * kK + column + 1]);
  }
  for (int r = 0; r < kK / 8; ++r) b_frag[r] = pair(b[(t + r * 8) * 8 + g], b[(t + r * 8 + 1) * 8 + g]);
  if constexpr (sizeof(Accumulator) == sizeof(float)) {
    float d_frag[4] = {d[g * 8 + t], d[g * 8 + t + 1], d[(g + 8) * 8 + t], d[(g + 8) * 8 + t + 1]};
    if constexpr (kK == 16)
      attention::mma_m16n8k16(d_frag, a_frag, b_frag);
    else
      attention::mma_m16n8k8(d_frag, a_frag, b_frag);
    d[g * 8 + t] = d_frag[0];
    d[g * 8 + t + 1] = d_frag[1];
    d[(g + 8) * 8 + t] = d_frag[2];
    d[(g + 8) * 8 + t + 1] = d_frag[3];
  } else {
    std::uint32_t d_frag[2] = {pair(d[g * 8 + t], d[g * 8 + t + 1]),
                               pair(d[(g + 8) * 8 + t], d[(g + 8) * 8 + t + 1])};
    if constexpr (kK == 16)
      attention::mma_m16n8k16(d_frag, a_frag, b_frag);
    else
      attention::mma_m16n8k8(d_frag, a_frag, b_frag);
    for (int r = 0; r < 2; ++r) {
      d[(g + r * 8) * 8 + t] = __ushort_as_half((unsigned short)(d_frag[r]));
      d[(g + r * 8) * 8 + t + 1] = __ushort_as_half((unsigned short)(d_frag[r] >> 16));
    }
  }
}

template <typename LayoutA, typename LayoutB, typename Accumulator>
__global__ void wmma_kernel(const half* a, const half* b, Accumulator* d) {
  using namespace nvcuda;
  // A pitch that is not the width, to see that it is honoured.
  constexpr int kPitch = 24;
  __shared__ __align__(32) half a_smem[16 * kPitch];
  __shared__ __align__(32) half b_smem[16 * kPitch];
  __shared__ __align__(32) Accumulator d_smem[16 * kPitch];
  for (int i = int(threadIdx.x); i < 256; i += 32) {
    a_smem[i / 16 * kPitch + i % 16] = a[i];
    b_smem[i / 16 * kPitch + i % 16] = b[i];
    d_smem[i / 16 * kPitch + i % 16] = d[i];
  }
  __syncwarp();
  wmma::fragment<wmma::matrix_a, 16, 16, 16, half, LayoutA> a_frag;
  wmma::fragment<wmma::matrix_b, 16, 16, 16, half, LayoutB> b_frag;
  wmma::fragment<wmma::accumulator, 16, 16, 16, Accumulator> d_frag;
  wmma::load_matrix_sync(a_frag, a_smem, kPitch);
  wmma::load_matrix_sync(b_frag, b_smem, kPitch);
  wmma::load_matrix_sync(d_frag, d_smem, kPitch, wmma::mem_row_major);
  wmma::mma_sync(d_frag, a_frag, b_frag, d_frag);
  __syncwarp();
  wmma::store_matrix_sync(d_smem, d_frag, kPitch, wmma::mem_row_major);
  __syncwarp();
  for (int i = int(threadIdx.x); i < 256; i += 32) d[i] = d_smem[i / 16 * kPitch + i % 16];
}

__device__ void copy_async(unsigned char* to_smem, const unsigned char* from, int bytes, int source_bytes) {
  if (bytes == 16) attention::cp_async_16(to_smem, from, source_bytes);
  if (bytes == 8) attention::cp_async_8(to_smem, from, source_bytes);
  if (bytes == 4) __pipeline_memcpy_async(to_smem, from, 4, std::size_t(4 - source_bytes));
}

__global__ void async_copies_kernel(const unsigned char* in, unsigned char* out, int bytes,
                                    int source_bytes) {
  __shared__ __align__(16) unsigned char tiles_smem[3][32 * 16];
  const int begin = int(threadIdx.x) * bytes, size = 32 * bytes;
  for (int tile = 0; tile < 3; ++tile) {
    copy_async(&tiles_smem[tile][begin], in + tile * size + begin, bytes, source_bytes);
    attention::cp_async_commit_group();
  }
  attention::cp_async_wait_group<1>();
  __syncwarp();
  // What the neighbour copied.
  const int other = (int(threadIdx.x) + 1) % 32 * bytes;
  for (int tile = 0; tile < 2; ++tile) {
    for (int i = 0; i < bytes; ++i) out[tile * size + other + i] = tiles_smem[tile][other + i];
  }
  attention::cp_async_wait_group<0>();
  __syncwarp();
  for (int i = 0; i < bytes; ++i) out[2 * size + other + i] = tiles_smem[2][other + i];
}

__global__ void hand_over_kernel(const float* in, float* out, int tiles) {
  constexpr int kFull = 1, kEmpty = 2;
  __shared__ float tile_smem[32];
  const int warp_id = int(threadIdx.x) / 32, lane_id = int(threadIdx.x) % 32;
  for (int tile = 0; tile < tiles; ++tile) {
    if (warp_id == 0) {
      if (tile > 0) attention::bar_sync(kEmpty, 64);
      tile_smem[lane_id] = in[tile * 32 + lane_id];
      attention::bar_arrive(kFull, 64);
    } else {
      attention::bar_sync(kFull, 64);
      out[tile * 32 + lane_id] = tile_smem[31 - lane_id];
      if (tile + 1 < tiles) attention::bar_arrive(kEmpty, 64);
    }
  }
}

__global__ void reverse_kernel(const float* in, float* out) {
  __shared__ float static_smem[256];
  float* dynamic = reinterpret_cast<float*>(dynamic_smem);
  const int i = int(threadIdx.x);
  static_smem[i] = in[i];
  dynamic[i] = in[i];
  __syncthreads();
  out[i] = static_smem[255 - i] + dynamic[255 - i];
}

__global__ void counting_barriers_kernel(const int* in, int* out) {
  const int positive = in[threadIdx.x] > 0;
  const int count = __syncthreads_count(positive);
  const int any = __syncthreads_or(positive);
  const int all = __syncthreads_and(positive);
  if (threadIdx.x != 0) return;
  out[0] = count;
  out[1] = any != 0;
  out[2] = all != 0;
}

__global__ void atomics_kernel(const unsigned* in, unsigned* out) {
  const unsigned value = in[blockIdx.x * blockDim.x + threadIdx.x];
  atomicAdd(&out[0], value);
  atomicInc(&out[1], 0xffffffffu);
  atomicMax(&out[2], value);
}

__global__ void thread_order_kernel(int* out) {
  const int i = int(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  out[i] = int(threadIdx.x + 2 * threadIdx.y + 6 * threadIdx.z) + 1000 * int(blockDim.z);
}

__global__ void wide_accesses_kernel(const float* in, float* out, float* powers) {
  const int i = int(threadIdx.x);
  reinterpret_cast<float4*>(out)[i] = reinterpret_cast<const float4*>(in)[i];
  __syncthreads();
  const uint2 two = reinterpret_cast<const uint2*>(out)[2 * i];
  reinterpret_cast<uint2*>(out)[2 * i] = make_uint2(two.y, two.x);
  const half2 powers_of_halves = attention::ex2_approx(__floats2half2_rn(in[2 * i], in[2 * i + 1]));
  powers[2 * i] = attention::ex2_approx(in[2 * i]);
  powers[2 * i + 1] = __high2float(powers_of_halves);
}

}  // namespace

cudaError_t shuffle(ShuffleKind kind, const float* in, float* out, int argument, int width) {
  return launch(shuffle_kernel, 1, 32, 0, nullptr, kind, in, out, argument, width);
}
cudaError_t votes(const unsigned* values, unsigned* out, unsigned mask) {
  return launch(votes_kernel, 1, 32, 0, nullptr, values, out, mask);
}
cudaError_t reductions(const float* in, float* out, int lanes) {
  switch (lanes) {
    case 2:
      return launch(reductions_kernel<2>, 1, 32, 0, nullptr, in, out);
    case 4:
      return launch(reductions_kernel<4>, 1, 32, 0, nullptr, in, out);
    case 8:
      return launch(reductions_kernel<8>, 1, 32, 0, nullptr, in, out);
    case 16:
      return launch(reductions_kernel<16>, 1, 32, 0, nullptr, in, out);
    default:
      return launch(reductions_kernel<32>, 1, 32, 0, nullptr, in, out);
  }
}
cudaError_t ldmatrix(const half* matrices, std::uint32_t* out, int count, bool transposed) {
  return launch(ldmatrix_kernel, 1, 32, 0, nullptr, matrices, out, count, transposed);
}
cudaError_t mma(const half* a, const half* b, float* d, int k) {
  return k == 16 ? launch(mma_kernel<16, float>, 1, 32, 0, nullptr, a, b, d)
                 : launch(mma_kernel<8, float>, 1, 32, 0, nullptr, a, b, d);
}
cudaError_t mma(const half* a, const half* b, half* d, int k) {
  return k == 16 ? launch(mma_kernel<16, half>, 1, 32, 0, nullptr, a, b, d)
                 : launch(mma_kernel<8, half>, 1, 32, 0, nullptr, a, b, d);
}

namespace {

template <typename Accumulator>
cudaError_t wmma_any(const half* a, bool a_column_major, const half* b, bool b_column_major, Accumulator* d) {
  using nvcuda::wmma::col_major;
  using nvcuda::wmma::row_major;
  if (a_column_major) {
    return b_column_major
               ? launch(wmma_kernel<col_major, col_major, Accumulator>, 1, 32, 0, nullptr, a, b, d)
               : launch(wmma_kernel<col_major, row_major, Accumulator>, 1, 32, 0, nullptr, a, b, d);
  }
  return b_column_major ? launch(wmma_kernel<row_major, col_major, Accumulator>, 1, 32, 0, nullptr, a, b, d)
                        : launch(wmma_kernel<row_major, row_major, Accumulator>, 1, 32, 0, nullptr, a, b, d);
}

}  // namespace

cudaError_t wmma(const half* a, bool a_column_major, const half* b, bool b_column_major, float* d) {
  return wmma_any(a, a_column_major, b, b_column_major, d);
}
cudaError_t wmma(const half* a, bool a_column_major, const half* b, bool b_column_major, half* d) {
  return wmma_any(a, a_column_major, b, b_column_major, d);
}
cudaError_t async_copies(const unsigned char* in, unsigned char* out, int bytes, int source_bytes) {
  return launch(async_copies_kernel, 1, 32, 0, nullptr, in, out, bytes, source_bytes);
}
cudaError_t hand_over(const float* in, float* out, int tiles) {
  return launch(hand_over_kernel, 1, 64, 0, nullptr, in, out, tiles);
}
cudaError_t reverse(const float* in, float* out) {
  return launch(reverse_kernel, 1, 256, 256 * sizeof(float), nullptr, in, out);
}
cudaError_t counting_barriers(const int* in, int* out) {
  return launch(counting_barriers_kernel, 1, 96, 0, nullptr, in, out);
}
cudaError_t atomics(const unsigned* in, unsigned* out, int blocks) {
  return launch(atomics_kernel, unsigned(blocks), 64, 0, nullptr, in, out);
}
cudaError_t thread_order(int* out) {
  return launch(thread_order_kernel, 1, dim3(2, 3, 4), 0, nullptr, out);
}
cudaError_t wide_accesses(const float* in, float* out, float* powers) {
  return launch(wide_accesses_kernel, 1, 32, 0, nullptr, in, out, powers);
}

}  // namespace operations
