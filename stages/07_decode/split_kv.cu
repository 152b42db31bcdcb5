// split_kv: the keys are split over blocks too, so that few rows occupy all SMs. A block leaves the partial
// result of its keys in global memory, and a second kernel merges those of a row (Flash-Decoding), by the
// same arithmetic that merges a block's groups of warps.
//
// Bound by the passes of a block, which run one after the other and overlap loads with nothing, and by the
// second launch. Where K and V do not fit in L2, each pass also waits for device memory.
//
// The step before: diff -u stages/07_decode/one_block.cu stages/07_decode/split_kv.cu
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/warp.cuh"
#include "merge.cuh"
#include "tile.cuh"

namespace attention::decode {
namespace {

// [parts]
// How keys are split over blocks: part i has those of `passes` passes, from i * passes on. For row r of all
// heads' rows it leaves its unnormalised output at o[i * rows + r], its maximum and sum at m_l[i * rows + r].
// Maximum and sum stay apart: in m + log2(l) a large maximum would round the sum away.
struct Parts {
  int count, passes;
  float* o;
  float2* m_l;
};

// As many parts as give about one block per SM of a large GPU, but every part has at least one pass.
template <int kHeadDim>
Parts parts_of(const Problem& p, void* workspace) {
  constexpr int kWantedBlocks = 128;
  const int row_blocks = int(ceil_div(p.seq_q, kBlockQ)) * p.batch * p.heads;
  const int passes = int(ceil_div(p.seq_kv, kPassKeys<kHeadDim>));
  Parts parts;
  parts.passes = int(ceil_div(passes, std::clamp(kWantedBlocks / row_blocks, 1, passes)));
  parts.count = int(ceil_div(passes, parts.passes));
  parts.o = static_cast<float*>(workspace);
  parts.m_l = reinterpret_cast<float2*>(parts.o + parts.count * p.q_elements());
  return parts;
}
// [parts]

template <int kHeadDim>
__global__ void __launch_bounds__(kThreads, 1) decode_kernel(Problem p, Tensors t, Parts parts) {
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
  const half *k_gmem = t.k + kv_offset, *v_gmem = t.v + kv_offset;

  // Rows of this thread's fragments, in the block: g and g + 8 of its warp's 16 (PTX ISA, mma.m16n8k16).
  const int fragment_row[2] = {row_group * 16 + lane_id / 4, row_group * 16 + lane_id / 4 + 8};
  const int keys_of_row[2] = {keys_of(p, first_row + fragment_row[0]),
                              keys_of(p, first_row + fragment_row[1])};
  const int part = blockIdx.z, part_keys = parts.passes * kPassKeys<kHeadDim>;
  int first_key = part * part_keys + key_group * kKeys;
  int keys = visible_keys(p, min(first_row + kBlockQ, p.seq_q) - 1);  // of the block's row that sees most
  keys = min(keys, (part + 1) * part_keys);
  const int first_pass_key = first_key;
  // What every row of the warp sees, if all its rows exist.
  const int keys_of_all = visible_keys(p, first_row + row_group * 16);
  const bool whole_rows = first_row + row_group * 16 + 16 <= p.seq_q;

  // [q_first]
  // Q first: its loads would queue after 128 KB of K and V.
  std::uint32_t q_frag[kKSteps][4];
  load_q<kHeadDim>(q_frag, q_gmem, fragment_row, p.seq_q - first_row);
  // [q_first]

  float o_frag[kOTiles][4] = {};
  float m_i[2] = {-INFINITY, -INFINITY}, l_i[2] = {0.f, 0.f};  // of scores in units of log 2
  const float scale_log2 = p.scale * kLog2e;

#pragma unroll 1
  for (; first_key < keys; first_key += kPassKeys<kHeadDim>) {
    // WAR: the other warp may still be reading the tiles of the last pass.
    if (first_key > first_pass_key) bar_sync(barrier_id, kGroupThreads);
    copy_rows_async<kHeadDim, kKeys>(k_smem, k_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key,
                                     group_thread);
    copy_rows_async<kHeadDim, kKeys>(v_smem, v_gmem + size_t(first_key) * kHeadDim, p.seq_kv - first_key,
                                     group_thread);

    // [scores]
    cp_async_wait_group<1>();  // K is here, V may still be on its way
    bar_sync(barrier_id, kGroupThreads);
    float s_frag[kSTiles][4] = {};
    for (int k = 0; k < kKSteps; ++k) {
      for (int n = 0; n < kSTiles; n += 2) {
        // Four 8x8 matrices: keys n*8 .. n*8+15 by elements k*16 .. k*16+15 of K, which is B by columns.
        std::uint32_t k_frag[4];
        ldmatrix_x4(k_frag, k_smem + swizzled<kHeadDim>(n * 8 + lane_id % 8 + lane_id / 16 * 8,
                                                        2 * k + lane_id / 8 % 2));
        mma_m16n8k16(s_frag[n], q_frag[k], {k_frag[0], k_frag[1]});
        mma_m16n8k16(s_frag[n + 1], q_frag[k], {k_frag[2], k_frag[3]});
      }
    }
    // [scores]

    // A positive scale keeps the order of scores, so it waits for the exponent; any other is applied here.
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
      // The exponentials of 16 keys, just before they are needed: they overlap with the products of the 16
      // keys before.
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
    const Partial all = merge(kKeyGroups, m_l_smem + row, kBlockQ, o_smem + row * kPartialStride + column,
                              kBlockQ * kPartialStride);
    const size_t slot = (size_t(part) * gridDim.y + head) * p.seq_q + first_row + row;
    *reinterpret_cast<float4*>(parts.o + slot * kHeadDim + column) = all.o;
    if (column == 0) parts.m_l[slot] = make_float2(all.m, all.l);
  }
  // [merge]
}

// [combine]
// Merges the parts of `rows` rows of all heads, four columns per thread.
template <int kHeadDim>
__global__ void __launch_bounds__(kCombineThreads) combine_kernel(Parts parts, size_t rows, half* o_gmem) {
  const size_t task = size_t(blockIdx.x) * kCombineThreads + threadIdx.x;
  const size_t row = task / (kHeadDim / 4), element = task * 4;
  if (row >= rows) return;
  store_quotient(o_gmem + element,
                 merge(parts.count, parts.m_l + row, rows, parts.o + element, rows * kHeadDim));
}
// [combine]

template <int kHeadDim>
cudaError_t launch_decode(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  const Parts parts = parts_of<kHeadDim>(p, workspace);
  const dim3 grid(ceil_div(p.seq_q, kBlockQ), unsigned(p.batch * p.heads), unsigned(parts.count));
  const cudaError_t status =
      launch(decode_kernel<kHeadDim>, grid, dim3(kThreads), kSmemBytes<kHeadDim>, stream, p, t, parts);
  if (status != cudaSuccess) return status;
  return launch(combine_kernel<kHeadDim>, dim3(ceil_div(p.q_elements() / 4, kCombineThreads)),
                dim3(kCombineThreads), 0, stream, parts, p.q_elements() / kHeadDim, t.o);
}

}  // namespace

cudaError_t split_kv(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return p.head_dim == 64 ? launch_decode<64>(p, t, workspace, stream)
                          : launch_decode<128>(p, t, workspace, stream);
}

int split_kv_parts(const Problem& p) {
  return (p.head_dim == 64 ? parts_of<64>(p, nullptr) : parts_of<128>(p, nullptr)).count;
}

std::size_t split_kv_workspace_bytes(const Problem& p) {
  return split_kv_parts(p) * (p.q_elements() / p.head_dim) * (p.head_dim * sizeof(float) + sizeof(float2));
}

}  // namespace attention::decode
