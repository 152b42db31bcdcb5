// 04_fused: the whole of attention in one launch. Scores and probabilities never leave the registers.
//
// A block owns some query rows and walks over the keys a tile at a time: S = Q K^T on the tensor cores,
// online softmax, O += P V, next tile. K and V are read once a row block, O is written once, nothing of size
// S x S exists. Bound by the tensor cores on large grids, on small ones by the chain load -> QK^T -> softmax
// -> PV of one block.
//
//   fused           copies through registers, a tile's rows one after the other in shared memory
//   cp_async        copies go from global to shared memory past the registers
//   swizzled        16-byte chunks change places within a row, so that ldmatrix meets no bank conflict
//   pipelined       the next tile is on its way while this one is used; K and V are waited for apart
//   q_in_registers  what need not be done for every tile or every element is not
//   fitted          the block's shape follows the problem's: more rows a warp, or the keys split over warps
//
// How lanes hold matrices: attention/ptx.cuh. Of a 16 x 8 accumulator, [0] and [1] are neighbours in row lane
// / 4, [2] and [3] in row lane / 4 + 8; a row lies in the four lanes of a quad.
#include <cuda_fp16.h>

#include <algorithm>
#include <bit>
#include <cstdint>

#include "attention/constants.hpp"
#include "attention/half_pair.cuh"
#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/warp.cuh"

namespace attention::fused {

// [ideas]
// What each variant adds to the one before it. Every `if constexpr` of the kernel asks one of these.
struct Fused {
  static constexpr bool kAsyncCopy = false;
  static constexpr bool kSwizzled = false;
  static constexpr int kStages = 1;  // tiles of K and V that shared memory holds
  static constexpr bool kLeanLoop = false;
};
struct CpAsync : Fused {
  static constexpr bool kAsyncCopy = true;
};
struct Swizzled : CpAsync {
  static constexpr bool kSwizzled = true;
};
struct Pipelined : Swizzled {
  static constexpr int kStages = 2;
};
struct QInRegisters : Pipelined {
  static constexpr bool kLeanLoop = true;
};
// [ideas]

// [tile]
// How the warps of a block share a tile. row_warps of them lie side by side along the query rows, each with
// row_tiles x 16 rows; key_groups such sets take warp_kv keys each of every tile.
template <int row_warps, int row_tiles, int key_groups, int warp_kv, int blocks_per_sm>
struct Tile {
  static constexpr int kRowWarps = row_warps;
  static constexpr int kRowTiles = row_tiles;
  static constexpr int kKeyGroups = key_groups;
  static constexpr int kWarpQ = 16 * row_tiles;
  static constexpr int kWarpKv = warp_kv;
  static constexpr int kBlockQ = row_warps * kWarpQ;
  static constexpr int kBlockKv = key_groups * warp_kv;
  static constexpr int kThreads = 32 * row_warps * key_groups;
  static constexpr int kBlocksPerSm = blocks_per_sm;  // what registers are to leave room for
  static_assert(warp_kv % 16 == 0);
};
// 64 rows: 16 a warp. What every variant before `fitted` uses.
template <int kHeadDim>
using PlainTile = Tile<4, 1, 1, 64, kHeadDim <= 64 ? 3 : 2>;
// 128 rows: 32 a warp, so that each fragment of K and V read from shared memory serves two row tiles.
template <int kHeadDim>
using WideTile = Tile<4, 2, 1, 64, 2>;
// 32 rows, and four groups of warps that take a quarter of the keys each: more blocks, shorter chains.
template <int kHeadDim>
using SplitTile = Tile<2, 1, 4, kHeadDim <= 64 ? 64 : 32, 1>;
// [tile]

constexpr int kChunkHalves =
    8;  // 16 bytes: what a lane copies at once, and a row of one of ldmatrix's matrices
// Start of a running maximum: below any score of finite halves (65504^2 * 128 < 1e12), and finite, so that a
// masked score, -inf, minus it is -inf and not NaN.
constexpr float kLowest = -1e30f;
// A maximum may grow by 8 (a factor 2^8 of P) before O is rescaled: P stays below 256, half goes to 65504.
constexpr float kRescaleSlack = 8.f;
constexpr uint32_t kTwoOnes = 0x3c003c00u;  // 1, 1 in half

// [swizzle]
// Where 16-byte chunk `chunk` of row `row` lies in a tile, in halves. ldmatrix reads the same chunk of 8 rows
// at once; in linear rows of 128 B all 8 lie in the same 4 banks (8 wavefronts instead of 1). XOR with the
// row number spreads them over all 32 banks and costs no padding. Rows of 64 or 192 B begin in two places
// alternately: there two neighbouring rows share one of four patterns.
template <bool kSwizzled, int kHeadDim>
__device__ inline int tile_offset(int row, int chunk) {
  constexpr int kPatterns = kHeadDim % 64 == 0 ? 8 : 4;
  if constexpr (kSwizzled) chunk ^= row / (8 / kPatterns) % kPatterns;
  return row * kHeadDim + chunk * kChunkHalves;
}
// [swizzle]

// [copy]
// Copies rows first_row .. first_row + kRows of a [rows, kHeadDim] matrix into a tile. Rows past the end
// become zeros: P is 0 there, but 0 * NaN of memory that nobody wrote would not be.
template <typename Idea, int kHeadDim, int kRows, int kThreads>
__device__ inline void copy_tile(half* tile_smem, const half* gmem, int first_row, int rows) {
  constexpr int kChunksPerRow = kHeadDim / kChunkHalves;
  constexpr int kLanesPerRow = std::bit_ceil(unsigned(kChunksPerRow));  // 16 for the 12 chunks of head_dim 96
  constexpr int kRowsAtOnce = kThreads / kLanesPerRow;
  static_assert(kRowsAtOnce % 8 == 0);  // the swizzle's period: a thread's chunks lie at one distance
  const int thread_row = threadIdx.x / kLanesPerRow;
  const int chunk = threadIdx.x % kLanesPerRow;
  if (kChunksPerRow < kLanesPerRow && chunk >= kChunksPerRow) return;
  const half* source = gmem + size_t(first_row + thread_row) * kHeadDim + chunk * kChunkHalves;
  half* target = tile_smem + tile_offset<Idea::kSwizzled, kHeadDim>(thread_row, chunk);
  const int rows_left = rows - first_row - thread_row;
#pragma unroll
  for (int row = 0; row < kRows; row += kRowsAtOnce) {
    if (kRows % kRowsAtOnce != 0 && thread_row + row >= kRows) break;
    if constexpr (Idea::kAsyncCopy) {
      cp_async_16(target + row * kHeadDim, source + row * kHeadDim,
                  row < rows_left ? 16 : 0);  // 0 bytes: zeros
    } else {
      const uint4 zeros = {0, 0, 0, 0};
      *reinterpret_cast<uint4*>(target + row * kHeadDim) =
          row < rows_left ? *reinterpret_cast<const uint4*>(source + row * kHeadDim) : zeros;
    }
  }
}
// [copy]

// [online_softmax]
// Raises m_i to the largest score so far. What O and the row sums (the last tile of o) were summed under an
// older maximum is worth exp(old - new) of what it was (Milakov and Gimelshein 2018, algorithm 3).
template <typename Idea, int kRowTiles, int kSTiles, int kOTiles>
__device__ inline void raise_maximum(const float (&s)[kRowTiles][kSTiles][4],
                                     float (&o)[kRowTiles][kOTiles][4], float (&m_i)[kRowTiles][2],
                                     float scale) {
  float m_new[kRowTiles][2];
  bool moved = false;
  for (int r = 0; r < kRowTiles; ++r) {
    for (int h = 0; h < 2; ++h) {
      float m = fmaxf(s[r][0][2 * h], s[r][0][2 * h + 1]);
#pragma unroll
      for (int n = 1; n < kSTiles; ++n) m = fmaxf(m, fmaxf(s[r][n][2 * h], s[r][n][2 * h + 1]));
      m_new[r][h] = fmaxf(m_i[r][h], warp_reduce_max<4>(m) * scale);
      moved |= m_new[r][h] - m_i[r][h] > kRescaleSlack;
    }
  }
  // Any m_i near the maximum gives the same quotient, so small steps need no rescaling.
  if (Idea::kLeanLoop && !__any_sync(kFullMask, moved)) return;
  for (int r = 0; r < kRowTiles; ++r) {
    for (int h = 0; h < 2; ++h) {
      const float step = m_i[r][h] - m_new[r][h];
      const float correction = Idea::kLeanLoop ? ex2_approx(step) : __expf(step);
      m_i[r][h] = m_new[r][h];
#pragma unroll
      for (int n = 0; n < kOTiles; ++n) o[r][n][2 * h] *= correction, o[r][n][2 * h + 1] *= correction;
    }
  }
}

// exp(scale * score - m). The lean way has log2(e) in scale and m: one multiply-add before the exponential.
// The plain way has scaled the scores before; its scale is 1.
template <typename Idea>
__device__ inline float probability(float score, float scale, float m) {
  return Idea::kLeanLoop ? ex2_approx(fmaf(score, scale, -m)) : __expf(score - m);
}
// [online_softmax]

// [merge]
// Brings the sums of the key groups, each of which has seen other keys, to one maximum a row, and stores O.
template <typename T, int kHeadDim, int kOTiles>
__device__ inline void merge_key_groups(const Problem& p, const float (&o_frag)[T::kRowTiles][kOTiles][4],
                                        const float (&m_i)[T::kRowTiles][2], half* o_gmem, int block_q) {
  constexpr int kPitch =
      kHeadDim + 8;  // 8 floats: rows begin 8 banks apart, so the stores of 4 rows do not collide
  float* o_smem =
      reinterpret_cast<float*>(dynamic_smem);  // [kKeyGroups][kBlockQ][kPitch], then m and l of the rows
  float2* ml_smem = reinterpret_cast<float2*>(o_smem + T::kKeyGroups * T::kBlockQ * kPitch);
  const int lane_id = threadIdx.x % 32;
  for (int r = 0; r < T::kRowTiles; ++r) {
    for (int h = 0; h < 2; ++h) {
      const int row = threadIdx.x / 32 * T::kWarpQ + 16 * r + lane_id / 4 + 8 * h;  // [kKeyGroups][kBlockQ]
#pragma unroll
      for (int n = 0; n < kOTiles - 1; ++n) {
        *reinterpret_cast<float2*>(o_smem + row * kPitch + 8 * n + lane_id % 4 * 2) =
            make_float2(o_frag[r][n][2 * h], o_frag[r][n][2 * h + 1]);
      }
      if (lane_id % 4 == 0) ml_smem[row] = make_float2(m_i[r][h], o_frag[r][kOTiles - 1][2 * h]);
    }
  }
  __syncthreads();
  constexpr int kLanesPerRow = kHeadDim / 4;
  for (int i = threadIdx.x; i < T::kBlockQ * kLanesPerRow; i += T::kThreads) {
    const int row = i / kLanesPerRow;
    const int column = i % kLanesPerRow * 4;
    if (block_q + row >= p.seq_q) break;
    float2 ml[T::kKeyGroups];
    float m = kLowest, l = 0.f;
#pragma unroll
    for (int g = 0; g < T::kKeyGroups; ++g) {
      ml[g] = ml_smem[g * T::kBlockQ + row];
      m = fmaxf(m, ml[g].x);
    }
    float4 o = make_float4(0.f, 0.f, 0.f, 0.f);
#pragma unroll
    for (int g = 0; g < T::kKeyGroups; ++g) {
      const float4 part = *reinterpret_cast<const float4*>(o_smem + (g * T::kBlockQ + row) * kPitch + column);
      const float weight = ex2_approx(ml[g].x - m);
      l += weight * ml[g].y;
      o.x += weight * part.x, o.y += weight * part.y, o.z += weight * part.z, o.w += weight * part.w;
    }
    // A row that sees no key is zero, not 0 / 0.
    const float inverse = visible_keys(p, block_q + row) > 0 ? 1.f / l : 0.f;
    // In units of 8 bytes: of an offset in halves nvcc does not see that it is a multiple, and stores 4
    // twice.
    reinterpret_cast<uint2*>(o_gmem)[(size_t(block_q + row) * kHeadDim + column) / 4] =
        make_uint2(pack(o.x * inverse, o.y * inverse), pack(o.z * inverse, o.w * inverse));
  }
}
// [merge]

// Q in registers is kRowTiles * kHeadDim / 4 of them a lane. Beyond 32, O and S leave no room: then every
// tile reads Q from shared memory again, and so do the variants before q_in_registers.
template <typename Idea, typename T, int kHeadDim>
constexpr bool holds_q() {
  return Idea::kLeanLoop && T::kRowTiles * kHeadDim <= 128;
}

template <typename Idea, typename T, int kHeadDim>
constexpr size_t smem_bytes() {
  const size_t stage_bytes = 2 * T::kBlockKv * kHeadDim * sizeof(half);  // K and V
  const size_t q_bytes = T::kBlockQ * kHeadDim * sizeof(half);
  // Q that is held in registers passes through the last stage, which is the last to be filled.
  const size_t tile_bytes = Idea::kStages * stage_bytes + (holds_q<Idea, T, kHeadDim>() ? 0 : q_bytes);
  const size_t merge_bytes = T::kKeyGroups * T::kBlockQ * (kHeadDim + 10) * sizeof(float);
  return T::kKeyGroups > 1 ? std::max(tile_bytes, merge_bytes) : tile_bytes;
}

template <typename Idea, typename T, int kHeadDim>
__global__ void __launch_bounds__(T::kThreads, T::kBlocksPerSm) fused_kernel(Problem p, Tensors t) {
  constexpr int kStages = Idea::kStages;
  constexpr int kTileHalves = T::kBlockKv * kHeadDim;
  constexpr bool kHoldQ = holds_q<Idea, T, kHeadDim>();
  constexpr int kKSteps = kHeadDim / 16;   // steps of QK^T along head_dim
  constexpr int kOTiles = kHeadDim / 8;    // 16 x 8 accumulators of O in a row tile
  constexpr int kSTiles = T::kWarpKv / 8;  // 16 x 8 accumulators of S in a row tile
  static_assert(!kHoldQ || T::kBlockQ <= 2 * T::kBlockKv);
  const auto at = [](int row, int chunk) { return tile_offset<Idea::kSwizzled, kHeadDim>(row, chunk); };

  const int lane_id = threadIdx.x % 32;
  // By a shuffle, so that the compiler knows it to be one for all lanes, and what depends on it uniform.
  const int warp_id = __shfl_sync(kFullMask, threadIdx.x / 32, 0);
  const int warp_q = warp_id % T::kRowWarps * T::kWarpQ;    // first row of the warp in the block's tile
  const int warp_kv = warp_id / T::kRowWarps * T::kWarpKv;  // first key of the warp in every tile
  // Last rows first: under a causal mask they see most keys, and long blocks must not start last.
  const int block_q = (gridDim.x - 1 - blockIdx.x) * T::kBlockQ;
  // Heads are numbered through the batch; y counts those that share a key/value head.
  const int kv_head = blockIdx.z;
  const int head = blockIdx.z * gridDim.y + blockIdx.y;

  const half* q_gmem = t.q + size_t(head) * p.seq_q * kHeadDim;
  const half* k_gmem = t.k + size_t(kv_head) * p.seq_kv * kHeadDim;
  const half* v_gmem = t.v + size_t(kv_head) * p.seq_kv * kHeadDim;
  half* o_gmem = t.o + size_t(head) * p.seq_q * kHeadDim;
  half* kv_smem = reinterpret_cast<half*>(dynamic_smem);  // [kStages][K, V][kBlockKv][kHeadDim]
  half* q_smem = kv_smem + 2 * (kHoldQ ? kStages - 1 : kStages) * kTileHalves;  // [kBlockQ][kHeadDim]

  const auto copy_k = [&](int tile, int stage) {
    copy_tile<Idea, kHeadDim, T::kBlockKv, T::kThreads>(kv_smem + 2 * stage * kTileHalves, k_gmem,
                                                        tile * T::kBlockKv, p.seq_kv);
  };
  const auto copy_v = [&](int tile, int stage) {
    copy_tile<Idea, kHeadDim, T::kBlockKv, T::kThreads>(kv_smem + (2 * stage + 1) * kTileHalves, v_gmem,
                                                        tile * T::kBlockKv, p.seq_kv);
  };

  // Tiles past the last key that the block's last row sees do not exist for it.
  const int tiles = (visible_keys(p, min(block_q + T::kBlockQ, p.seq_q) - 1) + T::kBlockKv - 1) / T::kBlockKv;
  const int first_row = block_q + warp_q;
  const int visible_by_any =
      first_row < p.seq_q ? visible_keys(p, min(first_row + T::kWarpQ, p.seq_q) - 1) : 0;
  const int visible_by_all = visible_keys(p, first_row);

  // [prologue]
  copy_tile<Idea, kHeadDim, T::kBlockQ, T::kThreads>(q_smem, q_gmem, block_q, p.seq_q);
  if constexpr (kStages > 1) {
    cp_async_commit_group();
#pragma unroll
    for (int tile = 0; tile < kStages - 1; ++tile) {
      if (tile < tiles) copy_k(tile, tile);
      cp_async_commit_group();
      if (tile < tiles) copy_v(tile, tile);
      cp_async_commit_group();
    }
  }

  // Where a lane points ldmatrix, in halves. Lane i gives row i % 16, chunk i / 16 of a 16 x 16 piece of Q or
  // V. K's rows are columns of the operand: there the middle two groups of eight lanes trade places.
  int qv_offset[kKSteps], k_offset[kKSteps];
#pragma unroll
  for (int k = 0; k < kKSteps; ++k) {
    qv_offset[k] = at(lane_id % 16, 2 * k + lane_id / 16);
    k_offset[k] = at(lane_id % 8 + lane_id / 16 * 8, 2 * k + lane_id / 8 % 2);
  }

  uint32_t q_frag[T::kRowTiles][kHoldQ ? kKSteps : 1][4];
  const auto load_q = [&](int r, int k, uint32_t(&frag)[4]) {
    ldmatrix_x4(frag, q_smem + (warp_q + 16 * r) * kHeadDim + qv_offset[k]);
  };
  if constexpr (kHoldQ) {
    cp_async_wait_group<2 * (kStages - 1)>();  // all but the groups of K and V: Q is here
    __syncthreads();
    for (int r = 0; r < T::kRowTiles; ++r) {
#pragma unroll
      for (int k = 0; k < kKSteps; ++k) load_q(r, k, q_frag[r][k]);
    }
  }
  const float scale = Idea::kLeanLoop ? p.scale * kLog2e : 1.f;

  float o_frag[T::kRowTiles][kOTiles + 1][4] = {};  // the last tile: row sums of P
  float m_i[T::kRowTiles][2];                       // largest score so far, scaled
  for (int r = 0; r < T::kRowTiles; ++r) m_i[r][0] = m_i[r][1] = kLowest;
  // [prologue]

  int stage = 0;
  for (int tile = 0; tile < tiles; ++tile) {
    // [pipeline]
    if constexpr (kStages > 1) {
      // Groups were committed in the order K, V, tile after tile; all but the last so many are complete.
      cp_async_wait_group<2 * (kStages - 1) - 1>();
      __syncthreads();  // every thread's part of K is here, and all are done with the tile before
      const int next = tile + kStages - 1;
      const int next_stage = stage == 0 ? kStages - 1 : stage - 1;
      if (next < tiles) copy_k(next, next_stage);
      cp_async_commit_group();
      if (next < tiles) copy_v(next, next_stage);
      cp_async_commit_group();
    } else {
      if (tile > 0) __syncthreads();  // all are done with the tile before
      copy_k(tile, 0);
      copy_v(tile, 0);
      if constexpr (Idea::kAsyncCopy) {
        cp_async_commit_group();
        cp_async_wait_group<0>();
      }
      __syncthreads();
    }
    // [pipeline]
    const half* k_smem = kv_smem + (2 * stage * T::kBlockKv + warp_kv) * kHeadDim;
    const half* v_smem = k_smem + kTileHalves;
    stage = stage + 1 == kStages ? 0 : stage + 1;

    const int first_key = tile * T::kBlockKv + warp_kv;
    const bool any_visible = first_key < visible_by_any;
    float s_frag[T::kRowTiles][kSTiles][4];

    // [scores]
    // S = Q K^T. A fragment of K (16 keys x 16 columns) serves every row tile of the warp.
    if (any_visible) {
      for (auto& row_tile : s_frag) {
        for (auto& s : row_tile) s[0] = s[1] = s[2] = s[3] = 0.f;
      }
#pragma unroll
      for (int k = 0; k < kKSteps; ++k) {
        if constexpr (!kHoldQ) {
          for (int r = 0; r < T::kRowTiles; ++r) load_q(r, k, q_frag[r][0]);
        }
#pragma unroll
        for (int n = 0; n < kSTiles / 2; ++n) {
          uint32_t k_frag[4];
          ldmatrix_x4(k_frag, k_smem + 16 * n * kHeadDim + k_offset[k]);
          for (int r = 0; r < T::kRowTiles; ++r) {
            const uint32_t(&q)[4] = q_frag[r][kHoldQ ? k : 0];
            mma_m16n8k16(s_frag[r][2 * n], q, {k_frag[0], k_frag[1]});
            mma_m16n8k16(s_frag[r][2 * n + 1], q, {k_frag[2], k_frag[3]});
          }
        }
      }
    }
    // [scores]

    if constexpr (kStages > 1) {
      cp_async_wait_group<2 * (kStages - 1)>();
      __syncthreads();  // every thread's part of V is here
    }
    if (!any_visible) continue;

    if constexpr (!Idea::kLeanLoop) {
      for (auto& row_tile : s_frag) {
        for (auto& s : row_tile) s[0] *= p.scale, s[1] *= p.scale, s[2] *= p.scale, s[3] *= p.scale;
      }
    }
    // [mask]
    // Only tiles at the end of a row's keys have anything to mask.
    if (first_key + T::kWarpKv > visible_by_all) {
      for (int r = 0; r < T::kRowTiles; ++r) {
        for (int h = 0; h < 2; ++h) {
          const int row = first_row + 16 * r + lane_id / 4 + 8 * h;
          const int visible =
              visible_keys(p, row) - first_key - lane_id % 4 * 2;  // from the lane's first key on
#pragma unroll
          for (int n = 0; n < kSTiles; ++n) {
            if (8 * n >= visible) s_frag[r][n][2 * h] = -INFINITY;
            if (8 * n + 1 >= visible) s_frag[r][n][2 * h + 1] = -INFINITY;
          }
        }
      }
    }
    // [mask]
    raise_maximum<Idea>(s_frag, o_frag, m_i, scale);

    // [output]
    // P = exp(S - m_i), O += P V. Two neighbouring 16 x 8 accumulators of S have the layout of one 16 x 16
    // operand, so P goes from one product to the next without leaving the lane (FlashAttention-2).
#pragma unroll
    for (int k = 0; k < T::kWarpKv / 16; ++k) {
      uint32_t p_frag[T::kRowTiles][4];
      for (int r = 0; r < T::kRowTiles; ++r) {
        for (int i = 0; i < 4; ++i) {
          const int h = i % 2;
          const float* s = &s_frag[r][2 * k + i / 2][2 * h];
          const float p0 = probability<Idea>(s[0], scale, m_i[r][h]);
          const float p1 = probability<Idea>(s[1], scale, m_i[r][h]);
          p_frag[r][i] = pack(p0, p1);
          if constexpr (!Idea::kLeanLoop) o_frag[r][kOTiles][2 * h] += p0 + p1;
        }
        // P times a column of ones: the tensor cores add up the rows, over all four lanes of a quad.
        if constexpr (Idea::kLeanLoop) mma_m16n8k16(o_frag[r][kOTiles], p_frag[r], {kTwoOnes, kTwoOnes});
      }
#pragma unroll
      for (int n = 0; n < kOTiles / 2; ++n) {
        uint32_t v_frag[4];
        ldmatrix_x4_trans(v_frag, v_smem + 16 * k * kHeadDim + qv_offset[n]);
        for (int r = 0; r < T::kRowTiles; ++r) {
          mma_m16n8k16(o_frag[r][2 * n], p_frag[r], {v_frag[0], v_frag[1]});
          mma_m16n8k16(o_frag[r][2 * n + 1], p_frag[r], {v_frag[2], v_frag[3]});
        }
      }
    }
    // [output]
  }

  // [epilogue]
  if constexpr (Idea::kAsyncCopy) cp_async_wait_all();  // where no row sees a key, nobody has waited for Q
  if constexpr (Idea::kLeanLoop) __syncthreads();       // all are done with the last tile: its place is free
  if constexpr (T::kKeyGroups > 1) {
    merge_key_groups<T, kHeadDim>(p, o_frag, m_i, o_gmem, block_q);
    return;
  }
  half* o_smem = kv_smem + warp_q * kHeadDim;  // the warp's own rows, [kWarpQ][kHeadDim]
  for (int r = 0; r < T::kRowTiles; ++r) {
    for (int h = 0; h < 2; ++h) {
      const int warp_row = 16 * r + lane_id / 4 + 8 * h;
      const int row = first_row + warp_row;
      float l_i = o_frag[r][kOTiles][2 * h];
      if constexpr (!Idea::kLeanLoop) l_i = warp_reduce_sum<4>(l_i);
      // A row that sees no key is zero, not 0 / 0.
      const float inverse = visible_keys(p, row) > 0 ? 1.f / l_i : 0.f;
#pragma unroll
      for (int n = 0; n < kOTiles; ++n) {
        const uint32_t pair = pack(o_frag[r][n][2 * h] * inverse, o_frag[r][n][2 * h + 1] * inverse);
        if constexpr (Idea::kLeanLoop) {
          *reinterpret_cast<uint32_t*>(o_smem + at(warp_row, n) + lane_id % 4 * 2) = pair;
        } else if (row < p.seq_q) {
          *reinterpret_cast<uint32_t*>(o_gmem + size_t(row) * kHeadDim + 8 * n + lane_id % 4 * 2) = pair;
        }
      }
    }
  }
  if constexpr (Idea::kLeanLoop) {
    // Whole rows, 16 bytes a lane, where the store above takes 16 bytes of each of 8 rows.
    __syncwarp();
    constexpr int kChunksPerRow = kHeadDim / kChunkHalves;
#pragma unroll
    for (int i = lane_id; i < T::kWarpQ * kChunksPerRow; i += 32) {
      const int row = i / kChunksPerRow;
      const int chunk = i % kChunksPerRow;
      if (first_row + row >= p.seq_q) break;
      *reinterpret_cast<uint4*>(o_gmem + size_t(first_row + row) * kHeadDim + chunk * kChunkHalves) =
          *reinterpret_cast<const uint4*>(o_smem + at(row, chunk));
    }
  }
  // [epilogue]
}

template <typename Idea, typename T, int kHeadDim>
cudaError_t launch_tile(const Problem& p, const Tensors& t, cudaStream_t stream) {
  const dim3 grid(ceil_div(p.seq_q, T::kBlockQ), unsigned(p.heads / p.kv_heads),
                  unsigned(p.batch * p.kv_heads));
  return launch(fused_kernel<Idea, T, kHeadDim>, grid, dim3(T::kThreads), smem_bytes<Idea, T, kHeadDim>(),
                stream, p, t);
}

template <typename Idea, template <int> typename T>
cudaError_t launch_head_dim(const Problem& p, const Tensors& t, cudaStream_t stream) {
  switch (p.head_dim) {
    case 32:
      return launch_tile<Idea, T<32>, 32>(p, t, stream);
    case 64:
      return launch_tile<Idea, T<64>, 64>(p, t, stream);
    case 96:
      return launch_tile<Idea, T<96>, 96>(p, t, stream);
    case 128:
      return launch_tile<Idea, T<128>, 128>(p, t, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

cudaError_t fused(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_head_dim<Fused, PlainTile>(p, t, stream);
}

cudaError_t cp_async(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_head_dim<CpAsync, PlainTile>(p, t, stream);
}

cudaError_t swizzled(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_head_dim<Swizzled, PlainTile>(p, t, stream);
}

cudaError_t pipelined(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  return launch_head_dim<Pipelined, PlainTile>(p, t, stream);
}

cudaError_t q_in_registers(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  // The lean loop takes the maximum before it scales, which a scale of zero or less would turn round.
  if (p.scale <= 0.f) return pipelined(p, t, nullptr, stream);
  return launch_head_dim<QInRegisters, PlainTile>(p, t, stream);
}

// [fitted]
cudaError_t fitted(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  if (p.scale <= 0.f) return pipelined(p, t, nullptr, stream);
  int sms = 0, smem_limit_bytes = 0;
  for (const cudaError_t status :
       {device_attribute(&sms, cudaDevAttrMultiProcessorCount),
        device_attribute(&smem_limit_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin)}) {
    if (status != cudaSuccess) return status;
  }

  const auto blocks = [&](int block_q) {
    return int64_t(p.batch) * p.heads * ((p.seq_q + block_q - 1) / block_q);
  };
  constexpr size_t kSplitBytes = smem_bytes<QInRegisters, SplitTile<128>, 128>();  // of all head_dim the most
  // Small blocks while all of them run at once, which takes 128 KB of shared memory (not there on sm_86 and
  // sm_89); wide ones from where every SM gets one and some a second; between the two, plain ones.
  if (blocks(SplitTile<128>::kBlockQ) <= sms && kSplitBytes <= size_t(smem_limit_bytes)) {
    return launch_head_dim<QInRegisters, SplitTile>(p, t, stream);
  }
  if (blocks(WideTile<128>::kBlockQ) > sms) return launch_head_dim<QInRegisters, WideTile>(p, t, stream);
  return launch_head_dim<QInRegisters, PlainTile>(p, t, stream);
}
// [fitted]

}  // namespace attention::fused
