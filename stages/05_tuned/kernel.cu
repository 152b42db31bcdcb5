// 05_tuned: the headline shape, as fast as the chip allows. At B=1 H=8 S=512 D=64 attention needs 0.54 GFLOP
// and 2 MB: well under a microsecond of either. What it costs is latency: everything that happens one after
// the other, from the launch to the last store. So nothing here saves work; it shortens the longest chain.
//
//   key_split  a block takes 32 query rows, so that 128 blocks fill 132 SMs, and splits the keys over its
//              warps: each group of two warps has 128 keys of its own, its own part of shared memory and
//              its own barrier, and computes with no other group until the partial results are merged. No
//              loop over tiles while 512 keys are enough: one load, one QK^T, one softmax, one PV.
//   pdl        key_split, launched so that its blocks may start while the kernel before it drains
//              (programmatic dependent launch, sm_90 and later): the launch gap and the block's prologue
//              overlap with that tail.
//   split_kv   key_split for few rows and many keys, where even 32 rows a block leave SMs idle: the keys
//              are split over blocks too, and a second kernel combines what they found (Flash-Decoding).
//
// These run on sm_80 and later. What only Hopper has is in kernel_wgmma.cu and kernel_long.cu.
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "choice.hpp"

namespace attention::tuned {

constexpr int kRowGroups = 2;  // warps side by side in rows, 16 rows each: the m16 of an mma
constexpr int kKeyGroups = 4;  // groups of warps side by side in keys
constexpr int kBlockQ = 16 * kRowGroups;
constexpr int kThreads = 32 * kRowGroups * kKeyGroups;
constexpr int kGroupThreads = 32 * kRowGroups;
constexpr int kPartialPad = 8;  // floats: moves each row of partial results by eight banks
constexpr int kCombineThreads = 128;

// [ideas]
// What each variant adds to key_split.
struct KeySplit {
  static constexpr bool kDependent = false;
  static constexpr bool kSplitKv = false;
};
struct Pdl : KeySplit {
  static constexpr bool kDependent = true;
};
struct SplitKv : KeySplit {
  static constexpr bool kSplitKv = true;
};
// [ideas]

// Keys that one group holds at a time. 128 keys of scores are 64 registers a thread; with head_dim 128 the
// outputs take 64 more, and 64 keys keep the block's K and V within the 128 KB that sm_80 can give.
template <int kHeadDim>
constexpr int kGroupKeys = kHeadDim <= 64 ? 128 : 64;

template <int kHeadDim>
constexpr std::size_t kTileBytes = std::size_t(2) * kKeyGroups* kGroupKeys<kHeadDim>* kHeadDim * sizeof(half);

// Behind the tiles: running maximum and sum of each key group and row.
template <int kHeadDim>
constexpr std::size_t kSmemBytes = kTileBytes<kHeadDim> + kKeyGroups* kBlockQ * sizeof(float2);

// Keys that a block holds at a time.
template <int kHeadDim>
constexpr int kPassKeys = kKeyGroups* kGroupKeys<kHeadDim>;

static_assert(kBlockQ == kKeySplitRows && kPassKeys<64> == key_split_keys(64) &&
              kPassKeys<128> == key_split_keys(128));
static_assert(kKeyGroups * kBlockQ * (128 + kPartialPad) * sizeof(float) <= kTileBytes<128>,
              "the partial results reuse the tiles' memory");

// [parts]
// How split_kv splits keys: part i of `parts` has those of `part_passes` passes. What it finds for row r of
// all heads' rows, divided by its own sum, is o[i * rows + r]; log2 of its sum of exponentials is
// lse[i * rows + r].
struct Parts {
  int parts, part_passes;
  float* o;
  float* lse;
};
// [parts]

// Keys that query row `row` of the block sees; none for a row past the end.
__device__ inline int keys_of(const Problem& p, int row) {
  return row < p.seq_q ? visible_keys(p, row) : 0;
}

// [swizzle]
// Offset, in halves, of 16-byte chunk `chunk` of row `row`: chunks of eight neighbouring rows start in eight
// different groups of banks, whichever chunk ldmatrix asks them for.
template <int kHeadDim>
__device__ inline int swizzled(int row, int chunk) {
  return row * kHeadDim + (chunk ^ (row % 8)) * 8;
}
// [swizzle]

// Starts the copy of kRows rows to shared memory by one group's threads; rows from `rows` on become zero.
template <int kHeadDim, int kRows>
__device__ inline void copy_rows_async(half* smem, const half* gmem, int rows, int group_thread) {
  constexpr int kChunks = kHeadDim / 8;
  // A short loop: code that runs once is fetched as fast as it runs, so fewer instructions are fewer
  // microseconds.
#pragma unroll 4
  for (int i = group_thread; i < kRows * kChunks; i += kGroupThreads) {
    const int row = i / kChunks, chunk = i % kChunks;
    const bool inside = row < rows;
    cp_async_16(smem + swizzled<kHeadDim>(row, chunk), inside ? gmem + i * 8 : gmem, inside ? 16 : 0);
  }
  cp_async_commit_group();
}

// Two neighbouring halves of a row of Q, or zeros for a row past the end.
__device__ inline std::uint32_t load_pair(const half* source, bool inside) {
  return inside ? *reinterpret_cast<const std::uint32_t*>(source) : 0u;
}

template <int kHeadDim, typename Idea>
__global__ void __launch_bounds__(kThreads, 1) key_split_kernel(Problem p, Tensors t, Parts parts) {
  constexpr int kKeys = kGroupKeys<kHeadDim>;
  constexpr int kKSteps = kHeadDim / 16;  // steps of 16 along head_dim in QK^T
  constexpr int kOTiles = kHeadDim / 8;   // 8-column tiles of O
  constexpr int kSTiles = kKeys / 8;      // 8-key tiles of S
  constexpr int kPartialStride = kHeadDim + kPartialPad;

  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const int row_group = warp_id % kRowGroups, key_group = warp_id / kRowGroups;
  const int group_thread = row_group * 32 + lane_id;
  const int first_row = blockIdx.x * kBlockQ;
  const int head = blockIdx.y;
  const int barrier_id = key_group + 1;

  half* k_smem = reinterpret_cast<half*>(dynamic_smem) + key_group * 2 * kKeys * kHeadDim;
  half* v_smem = k_smem + kKeys * kHeadDim;
  float2* m_l_smem = reinterpret_cast<float2*>(dynamic_smem + kTileBytes<kHeadDim>);

  const half* q_gmem = t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim;
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const half* k_gmem = t.k + kv_offset;
  const half* v_gmem = t.v + kv_offset;

  // Rows of this thread's fragments, in the block: g and g + 8 of its warp's 16 (PTX ISA, mma.m16n8k16).
  const int fragment_row[2] = {row_group * 16 + lane_id / 4, row_group * 16 + lane_id / 4 + 8};
  const int keys_of_row[2] = {keys_of(p, first_row + fragment_row[0]),
                              keys_of(p, first_row + fragment_row[1])};
  int first_key = key_group * kKeys;
  int keys = visible_keys(p, min(first_row + kBlockQ, p.seq_q) - 1);  // of the block's row that sees most
  if constexpr (Idea::kSplitKv) {
    const int part_keys = parts.part_passes * kPassKeys<kHeadDim>, part = blockIdx.z;
    first_key += part * part_keys;
    keys = min(keys, (part + 1) * part_keys);
  }
  const int first_pass_key = first_key;
  const int keys_of_all =
      visible_keys(p, first_row + row_group * 16);                     // what every row of the warp sees, ...
  const bool whole_rows = first_row + row_group * 16 + 16 <= p.seq_q;  // ... if all its rows exist

  if constexpr (Idea::kDependent) griddepcontrol_wait();

  // [q_first]
  // Q first: its loads would queue behind 128 KB of K and V.
  std::uint32_t q_frag[kKSteps][4];
  for (int k = 0; k < kKSteps; ++k) {
    for (int i = 0; i < 4; ++i) {
      const int row = fragment_row[i % 2];
      q_frag[k][i] = load_pair(q_gmem + row * kHeadDim + k * 16 + i / 2 * 8 + lane_id % 4 * 2,
                               first_row + row < p.seq_q);
    }
  }
  // [q_first]

  float o_frag[kOTiles][4] = {};
  float m_i[2] = {-INFINITY, -INFINITY}, l_i[2] = {0.f, 0.f};  // of scores in units of log 2
  const float scale_log2 = p.scale * kLog2e;

#pragma unroll 1
  for (; first_key < keys; first_key += kPassKeys<kHeadDim>) {
    if (first_key > first_pass_key)
      bar_sync(barrier_id, kGroupThreads);  // the other warp still reads the last pass
    copy_rows_async<kHeadDim, kKeys>(k_smem, k_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key,
                                     group_thread);
    copy_rows_async<kHeadDim, kKeys>(v_smem, v_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key,
                                     group_thread);
    if constexpr (Idea::kDependent) griddepcontrol_launch_dependents();

    // [scores]
    cp_async_wait_group<1>();  // K is here, V may still be on its way
    bar_sync(barrier_id, kGroupThreads);
    float s_frag[kSTiles][4] = {};
    for (int k = 0; k < kKSteps; ++k) {
      for (int n = 0; n < kSTiles; n += 2) {
        // Four 8x8 matrices: keys n*8 .. n*8+15 by elements k*16 .. k*16+15 of K, which is B column by
        // column.
        std::uint32_t k_frag[4];
        ldmatrix_x4(k_frag, k_smem + swizzled<kHeadDim>(n * 8 + lane_id % 8 + lane_id / 16 * 8,
                                                        2 * k + lane_id / 8 % 2));
        mma_m16n8k16(s_frag[n], q_frag[k], {k_frag[0], k_frag[1]});
        mma_m16n8k16(s_frag[n + 1], q_frag[k], {k_frag[2], k_frag[3]});
      }
    }
    // [scores]

    // A score times a positive scale keeps its rank, so the scale waits for the exponent; any other goes in
    // here.
    float exponent_scale = scale_log2;
    if (!(exponent_scale > 0.f)) {
      for (int n = 0; n < kSTiles; ++n) {
        for (int i = 0; i < 4; ++i) s_frag[n][i] *= scale_log2;
      }
      exponent_scale = 1.f;
    }
    if (first_key + kKeys > keys_of_all || !whole_rows) {
      for (int n = 0; n < kSTiles; ++n) {
        for (int i = 0; i < 4; ++i) {
          const int key = first_key + n * 8 + lane_id % 4 * 2 + i % 2;
          if (key >= keys_of_row[i / 2]) s_frag[n][i] = -INFINITY;
        }
      }
    }

    // [softmax]
    float shift[2];  // the new maximum, or 0 where this row has seen no key yet
    for (int r = 0; r < 2; ++r) {
      float m_new = -INFINITY;
      for (int n = 0; n < kSTiles; ++n) m_new = fmaxf(m_new, fmaxf(s_frag[n][2 * r], s_frag[n][2 * r + 1]));
      m_new = fmaxf(m_i[r], warp_reduce_max<4>(m_new) * exponent_scale);
      const bool none = first_key >= keys_of_row[r] && m_new == -INFINITY;
      shift[r] = none ? 0.f : m_new;
      const float correction = ex2_approx(m_i[r] - shift[r]);
      m_i[r] = m_new;
      l_i[r] *= correction;
      for (int n = 0; n < kOTiles; ++n) {
        o_frag[n][2 * r] *= correction;
        o_frag[n][2 * r + 1] *= correction;
      }
    }
    // [softmax]

    // [output]
    cp_async_wait_group<0>();
    bar_sync(barrier_id, kGroupThreads);
    for (int k = 0; k < kKeys / 16; ++k) {
      // Exponentials of 16 keys, just before they are needed: they run beside the products of the 16 before.
      std::uint32_t p_frag[4];
      for (int half_step = 0; half_step < 2; ++half_step) {
        float* s = s_frag[2 * k + half_step];
        for (int i = 0; i < 4; ++i) {
          s[i] = ex2_approx(fmaf(s[i], exponent_scale, -shift[i / 2]));
          l_i[i / 2] += s[i];
        }
        p_frag[2 * half_step] = pack(s[0], s[1]);
        p_frag[2 * half_step + 1] = pack(s[2], s[3]);
      }
      for (int n = 0; n < kOTiles; n += 2) {
        std::uint32_t v_frag[4];
        ldmatrix_x4_trans(v_frag, v_smem + swizzled<kHeadDim>(k * 16 + lane_id % 16, n + lane_id / 16));
        mma_m16n8k16(o_frag[n], p_frag, {v_frag[0], v_frag[1]});
        mma_m16n8k16(o_frag[n + 1], p_frag, {v_frag[2], v_frag[3]});
      }
    }
    // [output]
  }
  for (int r = 0; r < 2; ++r) l_i[r] = warp_reduce_sum<4>(l_i[r]);

  // [merge]
  // Every key group lays its unnormalised rows, maxima and sums side by side where the tiles were.
  __syncthreads();
  float* o_smem = reinterpret_cast<float*>(dynamic_smem);
  for (int r = 0; r < 2; ++r) {
    const int slot = key_group * kBlockQ + fragment_row[r];
    for (int n = 0; n < kOTiles; ++n) {
      *reinterpret_cast<float2*>(o_smem + slot * kPartialStride + n * 8 + lane_id % 4 * 2) =
          make_float2(o_frag[n][2 * r], o_frag[n][2 * r + 1]);
    }
    if (lane_id % 4 == 0) m_l_smem[slot] = make_float2(m_i[r], l_i[r]);
  }
  __syncthreads();

  for (int task = threadIdx.x; task < kBlockQ * kHeadDim / 4; task += kThreads) {
    const int row = task / (kHeadDim / 4), column = task % (kHeadDim / 4) * 4;
    if (first_row + row >= p.seq_q) break;
    float2 m_l[kKeyGroups];
    float m = -INFINITY;
    for (int group = 0; group < kKeyGroups; ++group) {
      m_l[group] = m_l_smem[group * kBlockQ + row];
      m = fmaxf(m, m_l[group].x);
    }
    float l = 0.f;
    float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int group = 0; group < kKeyGroups; ++group) {
      // A group none of whose keys this row sees has the sum 0 and must not weigh in, whatever m is.
      const float weight = m_l[group].y == 0.f ? 0.f : ex2_approx(m_l[group].x - m);
      const float4 o =
          *reinterpret_cast<const float4*>(o_smem + (group * kBlockQ + row) * kPartialStride + column);
      l += weight * m_l[group].y;
      sum.x += weight * o.x;
      sum.y += weight * o.y;
      sum.z += weight * o.z;
      sum.w += weight * o.w;
    }
    if constexpr (Idea::kSplitKv) {
      const size_t slot = (size_t(blockIdx.z) * gridDim.y + head) * p.seq_q + first_row + row;
      const float inverse = l > 0.f ? 1.f / l : 0.f;
      *reinterpret_cast<float4*>(parts.o + slot * kHeadDim + column) =
          make_float4(sum.x * inverse, sum.y * inverse, sum.z * inverse, sum.w * inverse);
      if (column == 0) parts.lse[slot] = l > 0.f ? m + log2f(l) : -INFINITY;
    } else {
      // A row that sees no key is zero, not 0 / 0.
      const float inverse = visible_keys(p, first_row + row) > 0 ? 1.f / l : 0.f;
      *reinterpret_cast<uint2*>(t.o + (size_t(head) * p.seq_q + first_row + row) * kHeadDim + column) =
          make_uint2(pack(sum.x * inverse, sum.y * inverse), pack(sum.z * inverse, sum.w * inverse));
    }
  }
  // [merge]
}

// [combine]
// The weighted mean of what the parts found, four columns a thread. `rows` of all heads.
template <int kHeadDim>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(Parts parts, int rows, half* o_gmem) {
  const int task = blockIdx.x * kCombineThreads + threadIdx.x;
  const int row = task / (kHeadDim / 4), column = task % (kHeadDim / 4) * 4;
  if (row >= rows) return;
  float m = -INFINITY;
  for (int part = 0; part < parts.parts; ++part) m = fmaxf(m, parts.lse[size_t(part) * rows + row]);
  float l = 0.f;
  float4 sum = make_float4(0.f, 0.f, 0.f, 0.f);
  for (int part = 0; part < parts.parts; ++part) {
    const size_t slot = size_t(part) * rows + row;
    const float lse = parts.lse[slot];
    const float weight =
        lse == -INFINITY ? 0.f : ex2_approx(lse - m);  // a part that this row sees nothing of
    const float4 o = *reinterpret_cast<const float4*>(parts.o + slot * kHeadDim + column);
    l += weight;
    sum.x += weight * o.x;
    sum.y += weight * o.y;
    sum.z += weight * o.z;
    sum.w += weight * o.w;
  }
  const float inverse = m == -INFINITY ? 0.f : 1.f / l;
  *reinterpret_cast<uint2*>(o_gmem + size_t(row) * kHeadDim + column) =
      make_uint2(pack(sum.x * inverse, sum.y * inverse), pack(sum.z * inverse, sum.w * inverse));
}
// [combine]

namespace {

template <int kHeadDim, typename Idea>
cudaError_t launch_key_split(const Problem& p, const Tensors& t, const Parts& parts, cudaStream_t stream) {
  // [pdl]
  const cudaLaunchAttribute attribute = dependent_launch();
  const std::span<const cudaLaunchAttribute> attributes(&attribute, Idea::kDependent ? 1 : 0);
  // [pdl]
  return launch_with(attributes, key_split_kernel<kHeadDim, Idea>,
                     dim3(ceil_div(p.seq_q, kBlockQ), unsigned(p.batch * p.heads), unsigned(parts.parts)),
                     dim3(kThreads), kSmemBytes<kHeadDim>, stream, p, t, parts);
}

template <typename Idea>
cudaError_t launch_whole(const Problem& p, const Tensors& t, cudaStream_t stream) {
  const Parts whole = {1, 0, nullptr, nullptr};
  return p.head_dim == 64 ? launch_key_split<64, Idea>(p, t, whole, stream)
                          : launch_key_split<128, Idea>(p, t, whole, stream);
}

template <int kHeadDim>
cudaError_t launch_split_kv(const Problem& p, const Tensors& t, const Parts& parts, cudaStream_t stream) {
  const cudaError_t status = launch_key_split<kHeadDim, SplitKv>(p, t, parts, stream);
  if (status != cudaSuccess) return status;
  const int rows = p.batch * p.heads * p.seq_q;
  return launch(combine_kernel<kHeadDim>, dim3(ceil_div(std::size_t(rows) * kHeadDim / 4, kCombineThreads)),
                dim3(kCombineThreads), 0, stream, parts, rows, t.o);
}

}  // namespace

std::size_t smem_bytes(int head_dim) {
  return head_dim == 64 ? kSmemBytes<64> : kSmemBytes<128>;
}

std::size_t split_kv_workspace_bytes(const Problem& p) {
  return std::size_t(key_parts(p).parts) * p.batch * p.heads * p.seq_q * (p.head_dim + 1) * sizeof(float);
}

cudaError_t key_split(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_whole<KeySplit>(p, t, stream);
}

cudaError_t pdl(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_whole<Pdl>(p, t, stream);
}

cudaError_t split_kv(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  const KeyParts split = key_parts(p);
  Parts parts = {split.parts, split.part_passes, static_cast<float*>(workspace), nullptr};
  parts.lse = parts.o + std::size_t(parts.parts) * p.batch * p.heads * p.seq_q * p.head_dim;
  return p.head_dim == 64 ? launch_split_kv<64>(p, t, parts, stream)
                          : launch_split_kv<128>(p, t, parts, stream);
}

}  // namespace attention::tuned
