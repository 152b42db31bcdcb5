// tma: pdl, with K and V loaded by the tensor memory accelerator (TMA) in place of cp.async.
//
// One thread of each key group issues two TMA loads, where each of 64 threads issued 32 cp.async and computed
// an address for each. TMA fills rows past the end with zeros and stores tiles with the 128-byte swizzle, so
// ldmatrix still reads them without conflicts. An mbarrier counts the bytes that have arrived.
//
// Bound by shared memory, as key_split is: as many bytes go through it.
//
// The step before: diff -u stages/05_tuned/pdl.cu stages/05_tuned/tma.cu
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/hopper.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/tensor_map.hpp"
#include "attention/warp.cuh"
#include "key_groups.hpp"
#include "tile.cuh"

namespace attention::tuned {
namespace {

// Offset, in halves, of a chunk in a tile of kRows rows as TMA stores it: in panels of 64 columns.
template <int kRows>
__device__ inline int in_panels(int row, int chunk) {
  return chunk / 8 * kRows * 64 + swizzled<64>(row, chunk % 8);
}

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1)
    key_split_kernel(Problem p, Tensors t, const __grid_constant__ CUtensorMap k_map,
                     const __grid_constant__ CUtensorMap v_map) {
  constexpr int kKeys = group_keys(kHeadDim), kPassKeys = pass_keys(kHeadDim);
  constexpr int kKSteps = kHeadDim / 16;  // steps of 16 along head_dim in Q K^T
  constexpr int kOTiles = kHeadDim / 8;   // 8-column tiles of O
  constexpr int kSTiles = kKeys / 8;      // 8-key tiles of S
  constexpr int kPartialStride = kHeadDim + kPartialPad;

  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const int row_group = warp_id % kRowGroups, key_group = warp_id / kRowGroups;
  const int first_row = blockIdx.x * kBlockQ;
  const int head = blockIdx.y;
  const int barrier_id = key_group + 1;

  half* k_smem = reinterpret_cast<half*>(dynamic_smem) + key_group * 2 * kKeys * kHeadDim;
  half* v_smem = k_smem + kKeys * kHeadDim;
  Mbarrier* k_full = reinterpret_cast<Mbarrier*>(dynamic_smem + smem_bytes(kHeadDim)) + key_group;
  Mbarrier* v_full = k_full + kKeyGroups;
  float2* m_l_smem = reinterpret_cast<float2*>(dynamic_smem + tile_bytes(kHeadDim));

  const half* q_gmem = t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim;

  // Rows of this thread's fragments, in the block: g and g + 8 of its warp's 16 (PTX ISA, mma.m16n8k16).
  const int fragment_row[2] = {row_group * 16 + lane_id / 4, row_group * 16 + lane_id / 4 + 8};
  const int keys_of_row[2] = {keys_of(p, first_row + fragment_row[0]),
                              keys_of(p, first_row + fragment_row[1])};
  const int first_pass_key = key_group * kKeys;
  const int keys_of_block = visible_keys(p, min(first_row + kBlockQ, p.seq_q) - 1);  // of its last row
  const int keys_of_all = visible_keys(p, first_row + row_group * 16);  // what all rows of the warp see, ...
  const bool all_rows_exist = first_row + row_group * 16 + 16 <= p.seq_q;  // ... if all of them exist

  if (row_group == 0 && lane_id == 0) {
    mbarrier_init(k_full, 1);
    mbarrier_init(v_full, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  griddepcontrol_wait();

  // [q_first]
  // Q first: its loads would queue after 128 KB of K and V.
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

  // 512 keys (256 with head_dim 128) are one pass. More take several, which nothing overlaps.
#pragma unroll 1
  for (int first_key = first_pass_key; first_key < keys_of_block; first_key += kPassKeys) {
    // WAR: the group's other warp may still be reading the tiles of the last pass.
    if (first_key > first_pass_key) bar_sync(barrier_id, kGroupThreads);
    if (row_group == 0 && elect_sync()) {
      mbarrier_arrive_expect_tx(k_full, kKeys * kHeadDim * sizeof(half));
      tma_load(k_smem, &k_map, 0, first_key, kv_head_of(p, head), k_full);
      mbarrier_arrive_expect_tx(v_full, kKeys * kHeadDim * sizeof(half));
      tma_load(v_smem, &v_map, 0, first_key, kv_head_of(p, head), v_full);
    }
    __syncwarp();  // ldmatrix and mma need the warp converged

    griddepcontrol_launch_dependents();

    // [scores]
    const int parity = (first_key - first_pass_key) / kPassKeys % 2;
    mbarrier_wait(k_full, parity);  // K is there; V may still be on its way
    float s_frag[kSTiles][4] = {};
    for (int k = 0; k < kKSteps; ++k) {
      for (int n = 0; n < kSTiles; n += 2) {
        // Four 8x8 matrices: keys n*8 .. n*8+15 by elements k*16 .. k*16+15 of K, which is B by columns.
        std::uint32_t k_frag[4];
        ldmatrix_x4(k_frag, k_smem + in_panels<kKeys>(n * 8 + lane_id % 8 + lane_id / 16 * 8,
                                                      2 * k + lane_id / 8 % 2));
        mma_m16n8k16(s_frag[n], q_frag[k], {k_frag[0], k_frag[1]});
        mma_m16n8k16(s_frag[n + 1], q_frag[k], {k_frag[2], k_frag[3]});
      }
    }
    // [scores]

    // A positive scale keeps the scores' order, so it waits for the exponent. Any other is applied here.
    float exponent_scale = scale_log2;
    if (!(exponent_scale > 0.f)) {
      for (int n = 0; n < kSTiles; ++n) {
        for (int i = 0; i < 4; ++i) s_frag[n][i] *= scale_log2;
      }
      exponent_scale = 1.f;
    }
    if (first_key + kKeys > keys_of_all || !all_rows_exist) {
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
    mbarrier_wait(v_full, parity);
    for (int k = 0; k < kKeys / 16; ++k) {
      // Exponentials of 16 keys, just before they are needed: they overlap with the 16 keys' products before.
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
        ldmatrix_x4_trans(v_frag, v_smem + in_panels<kKeys>(k * 16 + lane_id % 16, n + lane_id / 16));
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
    // A row that sees no key must yield zero, not 0 / 0.
    const float inverse = visible_keys(p, first_row + row) > 0 ? 1.f / l : 0.f;
    *reinterpret_cast<uint2*>(t.o + (size_t(head) * p.seq_q + first_row + row) * kHeadDim + column) =
        make_uint2(pack(sum.x * inverse, sum.y * inverse), pack(sum.z * inverse, sum.w * inverse));
  }
  // [merge]
}

template <int kHeadDim>
cudaError_t launch_head_dim(const Problem& p, const Tensors& t, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.seq_q, kBlockQ), unsigned(p.batch * p.heads));
  CUtensorMap k_map, v_map;
  const int kv_heads = p.batch * p.kv_heads, rows = group_keys(kHeadDim);
  for (const cudaError_t status :
       {make_tensor_map(&k_map, t.k, kv_heads, p.seq_kv, kHeadDim, rows, kHeadDim),
        make_tensor_map(&v_map, t.v, kv_heads, p.seq_kv, kHeadDim, rows, kHeadDim)}) {
    if (status != cudaSuccess) return status;
  }
  // [pdl]
  const cudaLaunchAttribute attribute = dependent_launch();
  return launch_with({&attribute, 1}, key_split_kernel<kHeadDim>, grid, dim3(kThreads),
                     smem_bytes(kHeadDim) + 2 * kKeyGroups * sizeof(Mbarrier), stream, p, t, k_map, v_map);
  // [pdl]
}

}  // namespace

cudaError_t tma(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return p.head_dim == 64 ? launch_head_dim<64>(p, t, stream) : launch_head_dim<128>(p, t, stream);
}

}  // namespace attention::tuned
