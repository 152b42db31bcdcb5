// 02_tiled: the same three launches as 01_naive/unfused (scores, softmax, output), taught to respect memory.
//
//   coalesced    a warp's lanes sit on neighbouring elements, so that a request touches whole 32-byte sectors
//   tiled        a block shares tiles of Q, K, P and V in shared memory and each thread keeps a small block
//   of
//                results in registers: global bytes fall by the tile's height
//   wide         16 bytes an access, global and shared: an eighth of the load instructions
//   padded       16 bytes of padding a shared row: eight rows start in eight different groups of banks
//   l2_persist   `padded`, with K and V marked to stay in L2 while the scores stream through it
//
// Still no tensor core: bound by FP32 arithmetic and the half-to-float conversions around it, then by the
// launches.
#include <cuda_fp16.h>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/stage.hpp"
#include "attention/warp.cuh"

namespace attention::tiled {

constexpr int kThreads = 256;
constexpr int kBlockQ = 64;        // query rows of a score tile
constexpr int kBlockKv = 64;       // keys of a tile, in both products
constexpr int kRowsPerThread = 4;  // a thread's block of scores: 4 rows x 4 keys
constexpr int kKeysPerThread = 4;
constexpr int kOutputBlockQ =
    32;  // query rows of an output tile: 128 blocks at the headline shape, for 132 SMs
constexpr int kOutputKeyGroups =
    4;  // groups of threads that share a tile's keys, so that 128 blocks make 1024 warps
constexpr int kColumnsPerThread = 8;  // a thread's block of outputs: 4 rows x 8 columns
constexpr int kHalfsPerAccess = 8;    // 16 bytes
constexpr int kPadHalfs = 8;          // 16 bytes = 4 banks a row
static_assert(kThreads == kBlockQ / kRowsPerThread * (kBlockKv / kKeysPerThread));

// Elements from one row of scores to the next: a multiple of 4, so that every row can be read 16 bytes at a
// time.
__host__ __device__ inline int score_stride(const Problem& p) {
  return (p.seq_kv + 3) / 4 * 4;
}

__device__ inline float* score_row(const Problem& p, float* s_gmem, int head, int row) {
  return s_gmem + (size_t(head) * p.seq_q + row) * score_stride(p);
}

// The eight halves in 16 bytes, as float.
__device__ inline void unpack(uint4 bits, float (&values)[8]) {
  const half2* pairs = reinterpret_cast<const half2*>(&bits);
  for (int i = 0; i < 4; ++i) {
    const float2 pair = __half22float2(pairs[i]);
    values[2 * i] = pair.x;
    values[2 * i + 1] = pair.y;
  }
}

// ---- coalesced
// ------------------------------------------------------------------------------------------------

// [coalesced_scores]
// One warp a query row. Both factors of a score lie along head_dim, so that is where the lanes go: lane i
// reads elements i, i + 32, ... and the warp sums. Lane `key % 32` keeps the score until 32 of them can be
// stored together.
template <int kHeadDim>
__global__ void coalesced_scores_kernel(Problem p, Tensors t, float* s_gmem) {
  constexpr int kPerLane = kHeadDim / 32;
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const half* q = t.q + (size_t(head) * p.seq_q + row) * kHeadDim + lane_id;
  const half* k = t.k + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim + lane_id;
  float* s = score_row(p, s_gmem, head, row);
  float q_rmem[kPerLane];
  for (int i = 0; i < kPerLane; ++i) q_rmem[i] = __half2float(q[32 * i]) * p.scale;

  const int keys = visible_keys(p, row);
  float kept = 0.f;
  for (int key = 0; key < keys; ++key, k += kHeadDim) {
    float dot = 0.f;
    for (int i = 0; i < kPerLane; ++i) dot += q_rmem[i] * __half2float(k[32 * i]);
    dot = warp_reduce_sum(dot);
    if (key % 32 == lane_id) kept = dot;
    if (key % 32 == 31) s[key - 31 + lane_id] = kept;
  }
  if (lane_id < keys % 32) s[keys / 32 * 32 + lane_id] = kept;
}
// [coalesced_scores]

// Softmax in place, one warp a row, lanes on neighbouring keys.
__global__ void coalesced_softmax_kernel(Problem p, float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  if (row >= p.seq_q) return;
  float* s = score_row(p, s_gmem, blockIdx.y, row);
  const int keys = visible_keys(p, row);

  float m = -INFINITY, l = 0.f;
  for (int key = lane_id; key < keys; key += 32) m = fmaxf(m, s[key]);
  m = warp_reduce_max(m);
  for (int key = lane_id; key < keys; key += 32) l += __expf(s[key] - m);
  l = warp_reduce_sum(l);
  for (int key = lane_id; key < keys; key += 32) s[key] = __expf(s[key] - m) / l;
}

// One thread an output element; neighbouring threads on neighbouring columns of V and O.
__global__ void coalesced_output_kernel(Problem p, Tensors t, float* p_gmem) {
  const size_t element = size_t(blockIdx.x) * kThreads + threadIdx.x;
  const int d = element % p.head_dim;
  const int row = element / p.head_dim;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;

  const float* prob = score_row(p, p_gmem, head, row);
  const half* v = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * p.head_dim + d;
  const int keys = visible_keys(p, row);
  float sum = 0.f;
  for (int key = 0; key < keys; ++key) sum += prob[key] * __half2float(v[size_t(key) * p.head_dim]);
  t.o[(size_t(head) * p.seq_q + row) * p.head_dim + d] = __float2half(sum);
}

// ---- tiled, wide, padded
// --------------------------------------------------------------------------------------

enum class Access { scalar, wide };  // one element an instruction, or 16 bytes

// Copies a tile of kRows x kHeadDim halves from global to shared memory; rows from `rows` on become zero.
template <Access kAccess, int kRows, int kHeadDim, int kStride>
__device__ inline void load_tile(half (*tile_smem)[kStride], const half* gmem, int rows) {
  constexpr int kStep = kAccess == Access::wide ? kHalfsPerAccess : 1;
  for (int i = threadIdx.x * kStep; i < kRows * kHeadDim; i += blockDim.x * kStep) {
    const int row = i / kHeadDim, d = i % kHeadDim;
    if constexpr (kAccess == Access::wide) {
      const uint4 bits = row < rows ? *reinterpret_cast<const uint4*>(gmem + i) : make_uint4(0, 0, 0, 0);
      *reinterpret_cast<uint4*>(&tile_smem[row][d]) = bits;
    } else {
      tile_smem[row][d] = row < rows ? gmem[i] : __float2half(0.f);
    }
  }
}

// [tiled_scores]
// S = scale Q K^T, a tile of 64 x 64 a block. 16 x 16 threads; thread (ty, tx) owns rows ty + 16 i and keys
// tx + 16 j. A warp is 4 x 8 of them: its stores are whole sectors of 8 scores.
template <int kHeadDim, Access kAccess, int kPad>
__global__ void __launch_bounds__(kThreads) tiled_scores_kernel(Problem p, Tensors t, float* s_gmem) {
  constexpr int kStride = kHeadDim + kPad;
  __shared__ __align__(16) half q_smem[kBlockQ][kStride];
  __shared__ __align__(16) half k_smem[kBlockKv][kStride];

  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const int tx = warp_id % 2 * 8 + lane_id % 8;
  const int ty = warp_id / 2 * 4 + lane_id / 8;
  const int first_key = blockIdx.x * kBlockKv;
  const int first_row = blockIdx.y * kBlockQ;
  const int head = blockIdx.z;
  const int last_row = min(first_row + kBlockQ, p.seq_q) - 1;
  if (first_key >= visible_keys(p, last_row)) return;  // the whole tile is masked

  load_tile<kAccess, kBlockQ, kHeadDim>(q_smem, t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim,
                                        p.seq_q - first_row);
  load_tile<kAccess, kBlockKv, kHeadDim>(
      k_smem, t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + first_key) * kHeadDim, p.seq_kv - first_key);
  __syncthreads();

  float s_rmem[kRowsPerThread][kKeysPerThread] = {};
  if constexpr (kAccess == Access::wide) {
#pragma unroll 2
    for (int d = 0; d < kHeadDim; d += kHalfsPerAccess) {
      float q[kRowsPerThread][8], k[8];
      for (int i = 0; i < kRowsPerThread; ++i)
        unpack(*reinterpret_cast<const uint4*>(&q_smem[ty + 16 * i][d]), q[i]);
      for (int j = 0; j < kKeysPerThread; ++j) {
        unpack(*reinterpret_cast<const uint4*>(&k_smem[tx + 16 * j][d]), k);
        for (int i = 0; i < kRowsPerThread; ++i) {
          for (int e = 0; e < 8; ++e) s_rmem[i][j] += q[i][e] * k[e];
        }
      }
    }
  } else {
    for (int d = 0; d < kHeadDim; ++d) {
      float q[kRowsPerThread], k[kKeysPerThread];
      for (int i = 0; i < kRowsPerThread; ++i) q[i] = __half2float(q_smem[ty + 16 * i][d]);
      for (int j = 0; j < kKeysPerThread; ++j) k[j] = __half2float(k_smem[tx + 16 * j][d]);
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kKeysPerThread; ++j) s_rmem[i][j] += q[i] * k[j];
      }
    }
  }

  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = first_row + ty + 16 * i;
    if (row >= p.seq_q) break;
    float* s = score_row(p, s_gmem, head, row) + first_key;
    const int keys = visible_keys(p, row) - first_key;  // what is masked is neither stored nor read again
    for (int j = 0; j < kKeysPerThread; ++j) {
      if (tx + 16 * j < keys) s[tx + 16 * j] = s_rmem[i][j] * p.scale;
    }
  }
}
// [tiled_scores]

// Softmax in place, one warp a row, 16 bytes a lane and access. Scores past the last visible key are not
// written by anybody: they are loaded with their neighbours and count as -inf.
__global__ void wide_softmax_kernel(Problem p, float* s_gmem) {
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * (kThreads / 32) + threadIdx.x / 32;
  if (row >= p.seq_q) return;
  float4* s = reinterpret_cast<float4*>(score_row(p, s_gmem, blockIdx.y, row));
  const int keys = visible_keys(p, row);
  const auto load = [&](int i) {
    float4 x = s[i];
    if (4 * i + 1 >= keys) x.y = -INFINITY;
    if (4 * i + 2 >= keys) x.z = -INFINITY;
    if (4 * i + 3 >= keys) x.w = -INFINITY;
    return x;
  };

  float m = -INFINITY, l = 0.f;
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load(i);
    m = fmaxf(m, fmaxf(fmaxf(x.x, x.y), fmaxf(x.z, x.w)));
  }
  m = warp_reduce_max(m);
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load(i);
    l += __expf(x.x - m) + __expf(x.y - m) + __expf(x.z - m) + __expf(x.w - m);
  }
  const float inverse = 1.f / warp_reduce_sum(l);
  for (int i = lane_id; 4 * i < keys; i += 32) {
    const float4 x = load(i);
    s[i] = make_float4(__expf(x.x - m) * inverse, __expf(x.y - m) * inverse, __expf(x.z - m) * inverse,
                       __expf(x.w - m) * inverse);
  }
}

// [tiled_output]
// O = P V, a tile of 32 rows x head_dim a block. Four groups of threads share each tile's 64 keys, 16 a
// group, and add up at the end, always in the same order. In a group, thread (ty, tx) owns rows ty + 8 i and
// eight columns.
template <int kHeadDim>
constexpr int kOutputThreads = kOutputBlockQ /
                               kRowsPerThread*(kHeadDim / kColumnsPerThread) * kOutputKeyGroups;

template <int kHeadDim, Access kAccess, int kPad>
__global__ void __launch_bounds__(kOutputThreads<kHeadDim>)
    tiled_output_kernel(Problem p, Tensors t, float* p_gmem) {
  constexpr int kThreadsX = kHeadDim / kColumnsPerThread;
  constexpr int kGroupThreads = kOutputThreads<kHeadDim> / kOutputKeyGroups;
  constexpr int kGroupKeys = kBlockKv / kOutputKeyGroups;
  constexpr int kThreadsY = kOutputBlockQ / kRowsPerThread;
  __shared__ __align__(16) float p_smem[kOutputBlockQ][kBlockKv + kPad / 2];
  __shared__ __align__(16) half v_smem[kBlockKv][kHeadDim + kPad];
  __shared__ float o_smem[kRowsPerThread][kColumnsPerThread][kGroupThreads];

  const int group = threadIdx.x / kGroupThreads;
  const int group_thread = threadIdx.x % kGroupThreads;
  const int tx = threadIdx.x % kThreadsX;
  const int ty = group_thread / kThreadsX;
  // Eight neighbouring columns where an access takes them at once, else every kThreadsX-th.
  const auto column = [&](int j) { return kAccess == Access::wide ? 8 * tx + j : tx + kThreadsX * j; };
  const int first_row = blockIdx.x * kOutputBlockQ;
  const int head = blockIdx.y;
  const int rows = min(kOutputBlockQ, p.seq_q - first_row);
  const int keys = visible_keys(p, first_row + rows - 1);  // of the row that sees most
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;

  float o_rmem[kRowsPerThread][kColumnsPerThread] = {};
  for (int first_key = 0; first_key < keys; first_key += kBlockKv) {
    constexpr int kStep = kAccess == Access::wide ? 4 : 1;
    for (int i = threadIdx.x * kStep; i < kOutputBlockQ * kBlockKv; i += blockDim.x * kStep) {
      const int row = i / kBlockKv, key = i % kBlockKv;
      const int row_keys = row < rows ? visible_keys(p, first_row + row) - first_key : 0;
      const float* source = score_row(p, p_gmem, head, first_row + row) + first_key + key;
      if constexpr (kAccess == Access::wide) {
        float4 x =
            key < row_keys ? *reinterpret_cast<const float4*>(source) : make_float4(0.f, 0.f, 0.f, 0.f);
        if (key + 1 >= row_keys) x.y = 0.f;
        if (key + 2 >= row_keys) x.z = 0.f;
        if (key + 3 >= row_keys) x.w = 0.f;
        *reinterpret_cast<float4*>(&p_smem[row][key]) = x;
      } else {
        p_smem[row][key] = key < row_keys ? *source : 0.f;
      }
    }
    load_tile<kAccess, kBlockKv, kHeadDim>(v_smem, v_gmem + size_t(first_key) * kHeadDim,
                                           p.seq_kv - first_key);
    __syncthreads();

    const int group_key = group * kGroupKeys;
    if constexpr (kAccess == Access::wide) {
      for (int key = group_key; key < group_key + kGroupKeys; key += 4) {
        float4 prob[kRowsPerThread];
        for (int i = 0; i < kRowsPerThread; ++i) {
          prob[i] = *reinterpret_cast<const float4*>(&p_smem[ty + kThreadsY * i][key]);
        }
        for (int e = 0; e < 4; ++e) {
          float v[8];
          unpack(*reinterpret_cast<const uint4*>(&v_smem[key + e][8 * tx]), v);
          for (int i = 0; i < kRowsPerThread; ++i) {
            const float weight = e == 0 ? prob[i].x : e == 1 ? prob[i].y : e == 2 ? prob[i].z : prob[i].w;
            for (int j = 0; j < kColumnsPerThread; ++j) o_rmem[i][j] += weight * v[j];
          }
        }
      }
    } else {
      for (int key = group_key; key < group_key + kGroupKeys; ++key) {
        for (int j = 0; j < kColumnsPerThread; ++j) {
          const float v = __half2float(v_smem[key][column(j)]);
          for (int i = 0; i < kRowsPerThread; ++i) o_rmem[i][j] += p_smem[ty + kThreadsY * i][key] * v;
        }
      }
    }
    __syncthreads();  // before the next tile overwrites this one
  }

  // Group 0 gathers the others' sums, one group after the other. Each thread has its own column of the
  // exchange, so that neighbours meet in neighbouring banks.
  for (int other = 1; other < kOutputKeyGroups; ++other) {
    if (group == other) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kColumnsPerThread; ++j) o_smem[i][j][group_thread] = o_rmem[i][j];
      }
    }
    __syncthreads();
    if (group == 0) {
      for (int i = 0; i < kRowsPerThread; ++i) {
        for (int j = 0; j < kColumnsPerThread; ++j) o_rmem[i][j] += o_smem[i][j][group_thread];
      }
    }
    __syncthreads();
  }
  if (group != 0) return;

  for (int i = 0; i < kRowsPerThread; ++i) {
    const int row = ty + kThreadsY * i;
    if (row >= rows) break;
    half* o = t.o + (size_t(head) * p.seq_q + first_row + row) * kHeadDim;
    if constexpr (kAccess == Access::wide) {
      uint4 bits;
      half2* pairs = reinterpret_cast<half2*>(&bits);
      for (int j = 0; j < 4; ++j) pairs[j] = __floats2half2_rn(o_rmem[i][2 * j], o_rmem[i][2 * j + 1]);
      *reinterpret_cast<uint4*>(o + 8 * tx) = bits;
    } else {
      for (int j = 0; j < kColumnsPerThread; ++j) o[column(j)] = __float2half(o_rmem[i][j]);
    }
  }
}
// [tiled_output]

// ---- launchers
// ------------------------------------------------------------------------------------------------

namespace {

// Calls `body` with the problem's head_dim as a compile-time constant.
template <typename Body>
cudaError_t with_head_dim(const Problem& p, const Body& body) {
  switch (p.head_dim) {
    case 32:
      return body(std::integral_constant<int, 32>());
    case 64:
      return body(std::integral_constant<int, 64>());
    case 96:
      return body(std::integral_constant<int, 96>());
    case 128:
      return body(std::integral_constant<int, 128>());
    default:
      return cudaErrorInvalidValue;
  }
}

dim3 row_a_warp_grid(const Problem& p) {
  return dim3(ceil_div(p.seq_q, kThreads / 32), unsigned(p.batch * p.heads));
}

// The three launches of the tiled variants. The launches that read K and V take attributes of their own.
template <Access kAccess, int kPad>
cudaError_t launch_tiled(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream,
                         std::span<const cudaLaunchAttribute> scores_attributes = {},
                         std::span<const cudaLaunchAttribute> output_attributes = {}) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  return with_head_dim(p, [&](auto head_dim) {
    constexpr int kHeadDim = head_dim;
    cudaError_t status = launch_with(scores_attributes, tiled_scores_kernel<kHeadDim, kAccess, kPad>,
                                     dim3(ceil_div(p.seq_kv, kBlockKv), ceil_div(p.seq_q, kBlockQ), heads),
                                     dim3(kThreads), 0, stream, p, t, s_gmem);
    if (status != cudaSuccess) return status;
    status = launch(kAccess == Access::wide ? wide_softmax_kernel : coalesced_softmax_kernel,
                    row_a_warp_grid(p), dim3(kThreads), 0, stream, p, s_gmem);
    if (status != cudaSuccess) return status;
    return launch_with(output_attributes, tiled_output_kernel<kHeadDim, kAccess, kPad>,
                       dim3(ceil_div(p.seq_q, kOutputBlockQ), heads), dim3(kOutputThreads<kHeadDim>), 0,
                       stream, p, t, s_gmem);
  });
}

// [access_policy]
// Marks `bytes` at `start` as worth keeping in the part of L2 that was set aside. Of a range larger than that
// part, only the share that fits is kept, chosen by address, so that its lines do not push each other out.
cudaLaunchAttribute keep_in_l2(const void* start, size_t bytes) {
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

}  // namespace

size_t workspace_bytes(const Problem& p) {
  return size_t(p.batch) * p.heads * p.seq_q * score_stride(p) * sizeof(float);
}

cudaError_t coalesced(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  cudaError_t status = with_head_dim(p, [&](auto head_dim) {
    return launch(coalesced_scores_kernel<head_dim>, row_a_warp_grid(p), dim3(kThreads), 0, stream, p, t,
                  s_gmem);
  });
  if (status != cudaSuccess) return status;
  status = launch(coalesced_softmax_kernel, row_a_warp_grid(p), dim3(kThreads), 0, stream, p, s_gmem);
  if (status != cudaSuccess) return status;
  return launch(coalesced_output_kernel,
                dim3(ceil_div(size_t(p.seq_q) * p.head_dim, kThreads), unsigned(p.batch * p.heads)),
                dim3(kThreads), 0, stream, p, t, s_gmem);
}

cudaError_t tiled(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_tiled<Access::scalar, 0>(p, t, workspace, stream);
}

cudaError_t wide(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_tiled<Access::wide, 0>(p, t, workspace, stream);
}

cudaError_t padded(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return launch_tiled<Access::wide, kPadHalfs>(p, t, workspace, stream);
}

cudaError_t l2_persist(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  const size_t kv_bytes = p.kv_elements() * sizeof(half);
  const cudaLaunchAttribute keep_k = keep_in_l2(t.k, kv_bytes), keep_v = keep_in_l2(t.v, kv_bytes);
  return launch_tiled<Access::wide, kPadHalfs>(p, t, workspace, stream, {&keep_k, 1}, {&keep_v, 1});
}

// [set_aside]
cudaError_t set_aside_l2(const Problem& p) {
  int most_bytes = 0;
  const cudaError_t status = device_attribute(&most_bytes, cudaDevAttrMaxPersistingL2CacheSize);
  if (status != cudaSuccess || most_bytes == 0) return status;  // a chip without: the attribute has no effect
  const size_t wanted_bytes = 2 * p.kv_elements() * sizeof(half);
  return cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, std::min(wanted_bytes, size_t(most_bytes)));
}

cudaError_t give_l2_back() {
  const cudaError_t status = cudaCtxResetPersistingL2Cache();
  const cudaError_t limit_status = cudaDeviceSetLimit(cudaLimitPersistingL2CacheSize, 0);
  return status != cudaSuccess ? status : limit_status;
}
// [set_aside]

}  // namespace attention::tiled
