// Exercise 04.3: a new maximum.
//
// All of attention in one launch: a warp has 16 query rows and walks over the keys, 16 at a time. Scores and
// output are accumulators of mma.m16n8k16: lane 4 r + c holds, of row r, columns 2 c and 2 c + 1 ([0] and
// [1]), and of row r + 8 the same ([2] and [3]). In the exercise two things are missing from new_maximum(): a
// row's scores lie in *four* lanes, and what was summed under the old maximum must be corrected.
#include "attention/half_pair.cuh"
#include "attention/ptx.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kTile = 16;
constexpr int kStride = kHeadDim + 8;
constexpr int kOTiles = kHeadDim / 8;

// [new_maximum]
// Raises m_i, the largest score of rows r and r + 8 so far, to that of the scores s, and corrects o and l_i.
// l_i is the part of the sum that this lane has added up.
__device__ void new_maximum(const float (&s)[2][4], float (&m_i)[2], float (&l_i)[2],
                            float (&o)[kOTiles][4]) {
  (void)l_i, (void)o;
  for (int h = 0; h < 2; ++h) {
    float m = fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1]));
    const float m_new = fmaxf(m_i[h], m);
    m_i[h] = m_new;
  }
}
// [new_maximum]

__device__ void load_rows(half (*tile_smem)[kStride], const half* gmem, int rows) {
  for (int i = threadIdx.x; i < kTile * kHeadDim / 8; i += 32) {
    const int row = i / 8, column = i % 8 * 8;
    uint4 chunk = make_uint4(0, 0, 0, 0);
    if (row < rows) chunk = *reinterpret_cast<const uint4*>(gmem + row * kHeadDim + column);
    *reinterpret_cast<uint4*>(&tile_smem[row][column]) = chunk;
  }
}

__global__ void fused_kernel(Problem p, Tensors t) {
  __shared__ __align__(16) half q_smem[kTile][kStride];
  __shared__ __align__(16) half k_smem[kTile][kStride];
  __shared__ __align__(16) half v_smem[kTile][kStride];
  const int lane_id = threadIdx.x;
  const int first_row = blockIdx.x * kTile, head = blockIdx.y;
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  load_rows(q_smem, t.q + (size_t(head) * p.seq_q + first_row) * kHeadDim, p.seq_q - first_row);

  const int rows[2] = {first_row + lane_id / 4, first_row + lane_id / 4 + 8};
  const int keys = visible_keys(p, min(first_row + kTile, p.seq_q) - 1);  // of the row that sees most
  float o[kOTiles][4] = {};
  float m_i[2] = {-1e30f, -1e30f}, l_i[2] = {0.f, 0.f};  // finite, so that -inf minus it is -inf
  for (int first_key = 0; first_key < keys; first_key += kTile) {
    __syncwarp();
    load_rows(k_smem, t.k + kv_offset + size_t(first_key) * kHeadDim, p.seq_kv - first_key);
    load_rows(v_smem, t.v + kv_offset + size_t(first_key) * kHeadDim, p.seq_kv - first_key);
    __syncwarp();

    float s[2][4] = {};
    for (int k = 0; k < kHeadDim; k += 16) {
      std::uint32_t q_frag[4], k_frag[4];
      ldmatrix_x4(q_frag, &q_smem[lane_id % 16][k + lane_id / 16 * 8]);
      ldmatrix_x4(k_frag, &k_smem[lane_id % 8 + lane_id / 16 * 8][k + lane_id / 8 % 2 * 8]);
      mma_m16n8k16(s[0], q_frag, {k_frag[0], k_frag[1]});
      mma_m16n8k16(s[1], q_frag, {k_frag[2], k_frag[3]});
    }
    for (int n = 0; n < 2; ++n) {
      for (int i = 0; i < 4; ++i) {
        const int key = first_key + 8 * n + lane_id % 4 * 2 + i % 2;
        s[n][i] = key < visible_keys(p, rows[i / 2]) ? s[n][i] * p.scale : -INFINITY;
      }
    }

    new_maximum(s, m_i, l_i, o);
    for (int n = 0; n < 2; ++n) {
      for (int i = 0; i < 4; ++i) {
        s[n][i] = __expf(s[n][i] - m_i[i / 2]);
        l_i[i / 2] += s[n][i];
      }
    }
    const std::uint32_t p_frag[4] = {pack(s[0][0], s[0][1]), pack(s[0][2], s[0][3]), pack(s[1][0], s[1][1]),
                                     pack(s[1][2], s[1][3])};
    for (int n = 0; n < kOTiles; n += 2) {
      std::uint32_t v_frag[4];
      ldmatrix_x4_trans(v_frag, &v_smem[lane_id % 16][8 * n + lane_id / 16 * 8]);
      mma_m16n8k16(o[n], p_frag, {v_frag[0], v_frag[1]});
      mma_m16n8k16(o[n + 1], p_frag, {v_frag[2], v_frag[3]});
    }
  }

  for (int h = 0; h < 2; ++h) {
    const float l = warp_reduce_sum<4>(l_i[h]);
    if (rows[h] >= p.seq_q) continue;
    const float inverse = visible_keys(p, rows[h]) > 0 ? 1.f / l : 0.f;
    half* row = t.o + (size_t(head) * p.seq_q + rows[h]) * kHeadDim + lane_id % 4 * 2;
    for (int n = 0; n < kOTiles; ++n) {
      *reinterpret_cast<half2*>(row + 8 * n) =
          __floats2half2_rn(o[n][2 * h] * inverse, o[n][2 * h + 1] * inverse);
    }
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch(fused_kernel, dim3(ceil_div(p.seq_q, kTile), all_heads(p)), dim3(32), 0, stream, p, t);
}

}  // namespace attention::exercise
