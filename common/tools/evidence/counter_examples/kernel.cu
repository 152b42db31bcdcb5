// What evidence must not be fooled by. Each launch lacks what stage.cpp, beside this file, claims of it, and
// mostly has something that looks like it. None computes attention; all are one or two blocks of the smallest
// code that shows the point, at seq_q = seq_kv = 512 and head_dim = 64.
#include <cuda_fp16.h>

#include "attention/launch.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"

extern "C" int cublasHgemm();  // as a library's name looks in an object file; fake_library.cpp defines it

namespace attention::counter_examples {

constexpr int kRowHalves = 64;

__global__ void beside_the_library_kernel(Tensors t) {
  t.o[threadIdx.x] = t.q[threadIdx.x];
}
cudaError_t library_call(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  if (cublasHgemm() != 0) return cudaErrorUnknown;
  return launch(beside_the_library_kernel, dim3(1), dim3(32), 0, stream, t);
}

// ---- Global memory ----

// Neighbouring lanes, neighbouring rows: a sector a lane.
__global__ void strided_kernel(Tensors t) {
  for (int d = 0; d < kRowHalves; ++d) t.o[threadIdx.x * kRowHalves + d] = t.q[threadIdx.x * kRowHalves + d];
}
cudaError_t strided(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(strided_kernel, dim3(1), dim3(32), 0, stream, t);
}

// Shared memory that saves nothing: all of K and V comes again for every row.
__global__ void tile_of_one_row_kernel(Problem p, Tensors t) {
  __shared__ half row_smem[kRowHalves];
  float sum = 0.f;
  for (int key = 0; key < 2 * p.seq_kv; ++key) {
    const half* source = key < p.seq_kv ? t.k + key * kRowHalves : t.v + (key - p.seq_kv) * kRowHalves;
    row_smem[threadIdx.x] = source[threadIdx.x];
    __syncthreads();
    sum += __half2float(row_smem[kRowHalves - 1 - threadIdx.x]);
    __syncthreads();
  }
  t.o[blockIdx.x * kRowHalves + threadIdx.x] = __float2half(sum);
}
cudaError_t tile_of_one_row(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(tile_of_one_row_kernel, dim3(p.seq_q), dim3(kRowHalves), 0, stream, p, t);
}

// Coalesced, but two bytes per lane. Stores are wide: they are not loads.
__global__ void scalar_loads_kernel(Tensors t) {
  uint4 bits;
  half* values = reinterpret_cast<half*>(&bits);
  for (int i = 0; i < 8; ++i) values[i] = t.q[i * 32 + threadIdx.x];
  reinterpret_cast<uint4*>(t.o)[threadIdx.x] = bits;
}
cudaError_t scalar_loads(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(scalar_loads_kernel, dim3(1), dim3(32), 0, stream, t);
}

// ---- L2 ----

__global__ void read_k_kernel(Tensors t) {
  t.o[threadIdx.x] = t.k[threadIdx.x];
}

cudaError_t launch_with_window(const Problem& p, const Tensors& t, cudaStream_t stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeAccessPolicyWindow;
  cudaAccessPolicyWindow& window = attribute.val.accessPolicyWindow;
  window.base_ptr = const_cast<half*>(t.k);
  window.num_bytes = p.kv_elements() * sizeof(half);
  window.hitRatio = 1.f;
  window.hitProp = cudaAccessPropertyPersisting;
  window.missProp = cudaAccessPropertyStreaming;
  return launch_with(std::span(&attribute, 1), read_k_kernel, dim3(1), dim3(32), 0, stream, t);
}
// Asks for what nobody has set aside.
cudaError_t window_without_limit(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_with_window(p, t, stream);
}
// Sets aside, uses, and keeps.
cudaError_t limit_kept(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_with_window(p, t, stream);
}
cudaError_t set_aside(const Problem&) {
  return cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 1 << 20);
}
// Sets aside and gives back, and no launch asks for it.
cudaError_t limit_unused(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(read_k_kernel, dim3(1), dim3(32), 0, stream, t);
}
cudaError_t give_back() {
  return cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 0);
}

// ---- Shared memory ----

// A column of 32 rows of 128 bytes: one bank.
__global__ void bank_conflicts_kernel(Tensors t) {
  __shared__ float tile_smem[32][32];
  for (int row = 0; row < 32; ++row) tile_smem[row][threadIdx.x] = __half2float(t.q[row * 32 + threadIdx.x]);
  __syncwarp();
  for (int column = 0; column < 32; ++column) {
    t.o[column * 32 + threadIdx.x] = __float2half(tile_smem[threadIdx.x][column]);
  }
}
cudaError_t bank_conflicts(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(bank_conflicts_kernel, dim3(1), dim3(32), 0, stream, t);
}

// A tile of 16 rows for ldmatrix, its rows kPitch halves apart: linear ones conflict, padded ones cost bytes.
template <int kPitch>
__global__ void unswizzled_kernel(Tensors t) {
  __shared__ __align__(128) half tile_smem[16 * kPitch];
  for (int i = threadIdx.x; i < 16 * kRowHalves / 8; i += 32) {
    const int row = i / (kRowHalves / 8), chunk = i % (kRowHalves / 8);
    *reinterpret_cast<uint4*>(tile_smem + row * kPitch + chunk * 8) = reinterpret_cast<const uint4*>(t.q)[i];
  }
  __syncwarp();
  uint32_t frag[4];
  ldmatrix_x4(frag, tile_smem + threadIdx.x % 16 * kPitch + threadIdx.x / 16 * 8);
  reinterpret_cast<uint32_t*>(t.o)[threadIdx.x] = frag[0] + frag[1] + frag[2] + frag[3];
}
cudaError_t linear_tile(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(unswizzled_kernel<kRowHalves>, dim3(1), dim3(32), 0, stream, t);
}
cudaError_t padded_tile(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(unswizzled_kernel<kRowHalves + 8>, dim3(1), dim3(32), 0, stream, t);
}

// ---- Products ----

template <typename Accumulator>
__global__ void mma_kernel(Tensors t) {
  const uint32_t* q = reinterpret_cast<const uint32_t*>(t.q);
  const uint32_t a[4] = {q[threadIdx.x], q[threadIdx.x + 32], q[threadIdx.x + 64], q[threadIdx.x + 96]};
  const uint32_t b[2] = {q[threadIdx.x + 128], q[threadIdx.x + 160]};
  Accumulator d[sizeof(Accumulator) == sizeof(half2) && !std::is_same_v<Accumulator, float> ? 2 : 4] = {};
  mma_m16n8k16(d, a, b);
  reinterpret_cast<Accumulator*>(t.o)[threadIdx.x] = d[0] + d[1];
}
// Tensor cores, but not by WMMA, and not by wgmma; sums in FP32.
cudaError_t mma_fp32(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(mma_kernel<float>, dim3(1), dim3(32), 0, stream, t);
}
// Sums in FP16, and its variant does not say that this costs accuracy.
cudaError_t fp16_error_unstated(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(mma_kernel<uint32_t>, dim3(1), dim3(32), 0, stream, t);
}

// ---- Copies and what they overlap with ----

// Global to shared memory by way of registers.
__global__ void plain_copy_kernel(Tensors t) {
  __shared__ uint4 tile_smem[32];
  tile_smem[threadIdx.x] = reinterpret_cast<const uint4*>(t.q)[threadIdx.x];
  __syncwarp();
  reinterpret_cast<uint4*>(t.o)[threadIdx.x] = tile_smem[31 - threadIdx.x];
}
cudaError_t plain_copy(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(plain_copy_kernel, dim3(1), dim3(32), 0, stream, t);
}

// Two buffers, used in turn, and no overlap: each tile is loaded when the one before has been used.
__global__ void two_buffers_no_overlap_kernel(Problem p, Tensors t) {
  __shared__ half tile_smem[2][32];
  float sum = 0.f;
  for (int tile = 0; tile < p.seq_kv; ++tile) {
    tile_smem[tile % 2][threadIdx.x] = t.k[tile * kRowHalves + threadIdx.x];
    __syncthreads();
    sum += __half2float(tile_smem[tile % 2][31 - threadIdx.x]);
    __syncthreads();
  }
  t.o[threadIdx.x] = __float2half(sum);
}
cudaError_t two_buffers_no_overlap(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(two_buffers_no_overlap_kernel, dim3(1), dim3(32), 0, stream, p, t);
}

// The next tile is loaded early, into the only buffer there is.
__global__ void one_buffer_kernel(Problem p, Tensors t) {
  __shared__ half tile_smem[32];
  float sum = 0.f;
  half next = t.k[threadIdx.x];
  for (int tile = 0; tile < p.seq_kv; ++tile) {
    tile_smem[threadIdx.x] = next;
    __syncthreads();
    if (tile + 1 < p.seq_kv) next = t.k[(tile + 1) * kRowHalves + threadIdx.x];
    sum += __half2float(tile_smem[31 - threadIdx.x]);
    __syncthreads();
  }
  t.o[threadIdx.x] = __float2half(sum);
}
cudaError_t one_buffer(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(one_buffer_kernel, dim3(1), dim3(32), 0, stream, p, t);
}

// Two buffers and cp.async, and every copy waited for as soon as it is asked for.
__global__ void one_tile_in_flight_kernel(Problem p, Tensors t) {
  __shared__ uint4 tile_smem[2][32];
  uint32_t sum = 0;
  for (int tile = 0; tile < p.seq_kv; ++tile) {
    cp_async_16(&tile_smem[tile % 2][threadIdx.x], t.k + tile * kRowHalves + threadIdx.x % 8 * 8);
    cp_async_commit_group();
    cp_async_wait_group<0>();
    __syncthreads();
    sum += tile_smem[tile % 2][31 - threadIdx.x].x;
    __syncthreads();
  }
  reinterpret_cast<uint32_t*>(t.o)[threadIdx.x] = sum;
}
cudaError_t one_tile_in_flight(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(one_tile_in_flight_kernel, dim3(1), dim3(32), 0, stream, p, t);
}

// Every warp loads, every warp multiplies; they only meet at a named barrier.
__global__ void warps_alike_kernel(Tensors t) {
  const uint32_t* q = reinterpret_cast<const uint32_t*>(t.q);
  const uint32_t a[4] = {q[threadIdx.x], q[threadIdx.x], q[threadIdx.x], q[threadIdx.x]};
  float d[4] = {};
  mma_m16n8k16(d, a, {a[0], a[1]});
  bar_sync(1, 64);
  reinterpret_cast<float*>(t.o)[threadIdx.x] = d[0];
}
cudaError_t warps_alike(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(warps_alike_kernel, dim3(1), dim3(64), 0, stream, t);
}

// ---- Launches ----

__device__ float scores_gmem[512 * 512];

// One launch and no workspace: the scores have a place of their own all the same.
__global__ void hidden_workspace_kernel(Tensors t) {
  scores_gmem[threadIdx.x] = __half2float(t.q[threadIdx.x]);
  __syncwarp();
  t.o[threadIdx.x] = __float2half(scores_gmem[31 - threadIdx.x]);
}
cudaError_t hidden_workspace(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(hidden_workspace_kernel, dim3(1), dim3(32), 0, stream, t);
}

// More scores than the registers that the launch bounds leave to a thread: the rest goes to local memory.
__global__ void __launch_bounds__(1024, 2) spilled_scores_kernel(Tensors t) {
  constexpr int kScores = 64;
  float s[kScores];
#pragma unroll
  for (int i = 0; i < kScores; ++i) s[i] = __half2float(t.k[i * 32 + threadIdx.x]);
  __syncthreads();  // all of them are held until here
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < kScores; ++i) sum = sum * s[i] + s[kScores - 1 - i];
  t.o[threadIdx.x] = __float2half(sum);
}
cudaError_t spilled_scores(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(spilled_scores_kernel, dim3(1), dim3(32), 0, stream, t);
}

// Scores, then what is made of them and V: two launches that look like a split of the keys.
__global__ void first_product_kernel(Problem p, Tensors t, float* s_gmem) {
  for (int key = threadIdx.x; key < p.seq_kv; key += 32) {
    s_gmem[blockIdx.x * p.seq_kv + key] = __half2float(t.q[blockIdx.x * kRowHalves] * t.k[key * kRowHalves]);
  }
}
__global__ void second_product_kernel(Problem p, Tensors t, const float* s_gmem) {
  float sum = 0.f;
  for (int key = 0; key < p.seq_kv; ++key) {
    sum += s_gmem[blockIdx.x * p.seq_kv + key] * __half2float(t.v[key * kRowHalves + threadIdx.x]);
  }
  t.o[blockIdx.x * kRowHalves + threadIdx.x] = __float2half(sum);
}
cudaError_t two_products(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const cudaError_t status = launch(first_product_kernel, dim3(p.seq_q), dim3(32), 0, stream, p, t, s_gmem);
  if (status != cudaSuccess) return status;
  return launch(second_product_kernel, dim3(p.seq_q), dim3(kRowHalves), 0, stream, p, t,
                static_cast<const float*>(s_gmem));
}
std::size_t score_bytes(const Problem& p) {
  return p.score_elements() * sizeof(float);
}

// May start early and waits for nobody: wrong on a chip, and not a use of the technique.
__global__ void waits_for_nobody_kernel(Tensors t) {
  t.o[threadIdx.x] = t.q[threadIdx.x];
}
cudaError_t attribute_only(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  const cudaLaunchAttribute attribute = dependent_launch();
  return launch_with(std::span(&attribute, 1), waits_for_nobody_kernel, dim3(1), dim3(32), 0, stream, t);
}
// Would wait, and is never launched so that it could start early.
__global__ void waits_kernel(Tensors t) {
  griddepcontrol_wait();
  t.o[threadIdx.x] = t.q[threadIdx.x];
}
cudaError_t instruction_only(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(waits_kernel, dim3(1), dim3(32), 0, stream, t);
}

// A cluster whose blocks know nothing of one another.
cudaError_t cluster_of_strangers(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  const cudaLaunchAttribute attribute = clusters_of(2);
  return launch_with(std::span(&attribute, 1), waits_for_nobody_kernel, dim3(2), dim3(32), 0, stream, t);
}

// ---- One kernel under two names ----

__global__ void twin_kernel(Tensors t) {
  t.o[threadIdx.x] = t.v[31 - threadIdx.x];
}
__global__ void other_twin_kernel(Tensors t) {
  t.o[threadIdx.x] = t.v[31 - threadIdx.x];
}
cudaError_t twin(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(twin_kernel, dim3(1), dim3(32), 0, stream, t);
}
cudaError_t other_twin(const Problem&, const Tensors& t, void*, cudaStream_t stream) {
  return launch(other_twin_kernel, dim3(1), dim3(32), 0, stream, t);
}
// The same kernel again, launched otherwise: that is a difference.
cudaError_t twin_with_window(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeAccessPolicyWindow;
  attribute.val.accessPolicyWindow.base_ptr = const_cast<half*>(t.v);
  attribute.val.accessPolicyWindow.num_bytes = p.kv_elements() * sizeof(half);
  return launch_with(std::span(&attribute, 1), twin_kernel, dim3(1), dim3(32), 0, stream, t);
}

}  // namespace attention::counter_examples
