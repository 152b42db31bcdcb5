// 03_wmma: the three launches of 02_tiled, with both matrix products on the tensor cores.
//
// nvcuda::wmma hands 16x16x16 products to a whole warp at once: a fragment is spread over the registers of 32
// lanes in an order that CUDA leaves open, so code may scale a fragment but not ask which element is where.
// Tensor cores take the arithmetic out of the way (0.54 GFLOP are under 1 us), and what is left is bringing
// operands:
//
//   wmma              a tile at a time: load, barrier, multiply, barrier. FP32 accumulators.
//   f16_accumulate    the same with FP16 accumulators in P V.
//   double_buffered   (FP32) two tiles in shared memory: the next is loaded while this one is multiplied.
//   warp_specialized  the two jobs on different warps, handing tiles over at named barriers.
//
// Bound by the scores: 4 bytes each out and in, 2 bytes each out and in for P, all of it through L2.
#include <cuda_fp16.h>
#include <mma.h>

#include <algorithm>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "attention/warp.cuh"

namespace attention::wmma {

namespace mma = nvcuda::wmma;

enum class Pipeline { single_buffer, double_buffer, specialized };

constexpr int kFragment = 16;  // rows, columns and depth of a fragment

// Scores: 8 warps compute 64 query rows x 64 keys, each 32 x 16 of it, for up to 4 tiles of keys with one
// tile of Q. At the headline shape that is 128 blocks for 132 SMs; 8 tiles (64 blocks) took 2.7 us longer.
constexpr int kBlockQ = 64;
constexpr int kBlockKv = 64;
constexpr int kWarpsQ = 2;
constexpr int kWarpsKv = 4;
constexpr int kTilesPerBlock = 4;

// Output: 8 warps compute 32 query rows, 2 groups of rows x 4 groups of keys. Again 128 blocks; with 64 rows,
// 64 blocks and half the reads of V, it took 1.1 us longer. Long rows of V come in half tiles, which fit in
// registers.
constexpr int kOutputBlockQ = 32;
template <int kHeadDim>
constexpr int kOutputBlockKv = kHeadDim <= 64 ? 128 : 64;
constexpr int kRowGroups = 2;
constexpr int kKeyGroups = 4;

constexpr int kMultiplyWarps = 8;
constexpr int kMultiplyThreads = 32 * kMultiplyWarps;
static_assert(kWarpsQ * kWarpsKv == kMultiplyWarps && kRowGroups * kKeyGroups == kMultiplyWarps);
static_assert(kOutputBlockQ == kRowGroups * kFragment && kOutputBlockKv<128> % (kKeyGroups * kFragment) == 0);
static_assert(kBlockQ % (kWarpsQ * kFragment) == 0 && kBlockKv % (kWarpsKv * kFragment) == 0);

// Specialised blocks have two more groups of four warps, one for each buffer, that only load.
constexpr int kBuffers = 2;
constexpr int kProducerThreads = 128;  // of one group

constexpr int kSoftmaxWarps = 4;

// +8 halves = 16 bytes of padding moves each row by four banks, so that the 8 rows x 16 bytes of a matrix
// load meet 32 different banks. +8 floats do the same for the 4 rows x 32 bytes of a fragment's 8-byte
// stores.
constexpr int kPadding = 8;

constexpr int block_threads(Pipeline pipeline) {
  return kMultiplyThreads + (pipeline == Pipeline::specialized ? kBuffers * kProducerThreads : 0);
}
constexpr int loader_threads(Pipeline pipeline) {
  return pipeline == Pipeline::specialized ? kProducerThreads : kMultiplyThreads;
}
constexpr int buffer_count(Pipeline pipeline) {
  return pipeline == Pipeline::single_buffer ? 1 : kBuffers;
}

__host__ __device__ constexpr int round_up(int a, int b) {
  return (a + b - 1) / b * b;
}

// [workspace]
// Scores of a head: rows and columns rounded up to whole fragments, so that fragments are stored without a
// look at where they end, and rows start on 64 bytes (WMMA asks for 32). P overwrites them: a row of halves
// at the start of each row of floats.
__host__ __device__ inline int score_rows(const Problem& p) {
  return round_up(p.seq_q, kFragment);
}
__host__ __device__ inline int score_ld(const Problem& p) {
  return round_up(p.seq_kv, kFragment);
}
// [workspace]

// Four floats of a row, or four halves as floats.
__device__ inline float4 load4(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}
__device__ inline float4 load4(const half* x) {
  const uint2 bits = *reinterpret_cast<const uint2*>(x);
  const float2 low = __half22float2(reinterpret_cast<const half2&>(bits.x));
  const float2 high = __half22float2(reinterpret_cast<const half2&>(bits.y));
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ inline void store4(half* to, float4 x) {
  const half2 low = __floats2half2_rn(x.x, x.y), high = __floats2half2_rn(x.z, x.w);
  *reinterpret_cast<uint2*>(to) =
      make_uint2(reinterpret_cast<const unsigned&>(low), reinterpret_cast<const unsigned&>(high));
}

// [staged_tile]
// A tile of halves on its way from global to shared memory, in the registers of kThreads threads: 16 bytes at
// a time, neighbouring threads on neighbouring chunks of a row.
template <int kRows, int kColumns, int kThreads>
struct StagedTile {
  static constexpr int kLd = kColumns + kPadding;
  static constexpr int kElements = kRows * kLd;  // in shared memory
  static constexpr int kChunksPerRow = kColumns / 8;
  static constexpr int kPerThread = (kRows * kChunksPerRow + kThreads - 1) / kThreads;
  uint4 chunk_rmem[kPerThread];

  // columns_of(row) says how many columns of a row exist. The rest become zeros, which add nothing to a
  // product.
  template <typename ColumnsOf>
  __device__ void load(const half* tile_gmem, size_t ld, int thread, const ColumnsOf& columns_of) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = (thread + i * kThreads) / kChunksPerRow;
      const int column = (thread + i * kThreads) % kChunksPerRow * 8;
      chunk_rmem[i] = make_uint4(0, 0, 0, 0);
      if (row < kRows && column < columns_of(row)) {
        chunk_rmem[i] = *reinterpret_cast<const uint4*>(tile_gmem + row * ld + column);
      }
    }
  }

  __device__ void store(half* tile_smem, int thread) const {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int row = (thread + i * kThreads) / kChunksPerRow;
      const int column = (thread + i * kThreads) % kChunksPerRow * 8;
      if (row < kRows) *reinterpret_cast<uint4*>(tile_smem + row * kLd + column) = chunk_rmem[i];
    }
  }
};
// [staged_tile]

// Runs multiply(tile, buffer) for tiles 0 .. tiles-1 on the first kMultiplyWarps warps, then finish() on the
// same ones, when nobody uses the buffers any more. load(tile, thread) brings a tile into registers,
// store(tile, buffer, thread) puts it into shared memory.
template <Pipeline kPipeline, typename Load, typename Store, typename Multiply, typename Finish>
__device__ void for_each_tile(int tiles, half* buffers_smem, int buffer_elements, const Load& load,
                              const Store& store, const Multiply& multiply, const Finish& finish) {
  const int thread = threadIdx.x;

  // [single_buffer]
  if constexpr (kPipeline == Pipeline::single_buffer) {
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      load(tile, thread);
      store(tile, buffers_smem, thread);  // waits for the load: the tensor cores idle
      __syncthreads();
      multiply(tile, buffers_smem);
      __syncthreads();
    }
    finish();
  }
  // [single_buffer]

  // [double_buffer]
  if constexpr (kPipeline == Pipeline::double_buffer) {
    if (tiles > 0) {
      load(0, thread);
      store(0, buffers_smem, thread);
    }
    __syncthreads();
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      const bool more = tile + 1 < tiles;
      if (more) load(tile + 1, thread);  // issued here, waited for only by the store below
      multiply(tile, buffers_smem + tile % 2 * buffer_elements);
      if (more) store(tile + 1, buffers_smem + (tile + 1) % 2 * buffer_elements, thread);
      __syncthreads();
    }
    finish();
  }
  // [double_buffer]

  // [specialized]
  if constexpr (kPipeline == Pipeline::specialized) {
    // One pair of barriers a buffer, between its producers and all consumers. Who arrives does not wait.
    // Barrier 0 is __syncthreads.
    constexpr int kFull = 1, kEmpty = kFull + kBuffers, kConsumersDone = kEmpty + kBuffers;
    constexpr int kThreads = kProducerThreads + kMultiplyThreads;
    if (thread >= kMultiplyThreads) {
      const int buffer = (thread - kMultiplyThreads) / kProducerThreads;
      const int producer = (thread - kMultiplyThreads) % kProducerThreads;
#pragma unroll 1
      for (int tile = buffer; tile < tiles; tile += kBuffers) {
        load(tile, producer);  // before the wait: on its way while the tile before is still being read
        if (tile >= kBuffers) bar_sync(kEmpty + buffer, kThreads);
        store(tile, buffers_smem + buffer * buffer_elements, producer);
        bar_arrive(kFull + buffer, kThreads);
      }
    } else {
#pragma unroll 1
      for (int tile = 0; tile < tiles; ++tile) {
        const int buffer = tile % kBuffers;
        bar_sync(kFull + buffer, kThreads);
        multiply(tile, buffers_smem + buffer * buffer_elements);
        if (tile + kBuffers < tiles) bar_arrive(kEmpty + buffer, kThreads);
      }
      bar_sync(kConsumersDone, kMultiplyThreads);
      finish();
    }
  }
  // [specialized]
}

template <int kHeadDim, Pipeline kPipeline>
struct ScoresSmem {
  using QTile = StagedTile<kBlockQ, kHeadDim, loader_threads(kPipeline)>;
  using KTile = StagedTile<kBlockKv, kHeadDim, loader_threads(kPipeline)>;
  static constexpr int kBytes =
      (QTile::kElements + buffer_count(kPipeline) * KTile::kElements) * int(sizeof(half));
};

// [scores]
// S[head, row, key] = scale * dot(Q[head, row], K[head, key]). Tiles and fragments that no row sees are left
// out.
template <int kHeadDim, Pipeline kPipeline>
__global__ void __launch_bounds__(block_threads(kPipeline))
    scores_kernel(Problem p, Tensors t, int tiles_per_block, float* s_gmem) {
  using Smem = ScoresSmem<kHeadDim, kPipeline>;
  const int q0 = blockIdx.x * kBlockQ;
  const int kv0 = blockIdx.y * tiles_per_block * kBlockKv;
  const int head = blockIdx.z;
  const int keys = visible_keys(p, q0 + kBlockQ - 1) - kv0;  // from kv0 on, seen by the last row
  if (keys <= 0) return;
  const int tiles = min(tiles_per_block, (keys + kBlockKv - 1) / kBlockKv);

  half* q_smem = reinterpret_cast<half*>(dynamic_smem);
  half* k_smem = q_smem + Smem::QTile::kElements;
  const half* q_gmem = t.q + (size_t(head) * p.seq_q + q0) * kHeadDim;
  const half* k_gmem = t.k + (size_t(kv_head_of(p, head)) * p.seq_kv + kv0) * kHeadDim;
  float* s_tile_gmem = s_gmem + (size_t(head) * score_rows(p) + q0) * score_ld(p) + kv0;

  typename Smem::QTile q_rmem;
  typename Smem::KTile k_rmem;
  const auto load = [&](int tile, int thread) {
    // The first tile of K brings Q with it.
    if (tile == 0)
      q_rmem.load(q_gmem, kHeadDim, thread, [&](int row) { return q0 + row < p.seq_q ? kHeadDim : 0; });
    const int tile0 = tile * kBlockKv;
    k_rmem.load(k_gmem + size_t(tile0) * kHeadDim, kHeadDim, thread,
                [&](int key) { return kv0 + tile0 + key < p.seq_kv ? kHeadDim : 0; });
  };
  const auto store = [&](int tile, half* buffer_smem, int thread) {
    if (tile == 0) q_rmem.store(q_smem, thread);
    k_rmem.store(buffer_smem, thread);
  };

  constexpr int kFragsQ = kBlockQ / kWarpsQ / kFragment;
  constexpr int kFragsKv = kBlockKv / kWarpsKv / kFragment;
  const int warp_id = threadIdx.x / 32;
  const int warp_row = warp_id % kWarpsQ * kFragsQ * kFragment;
  const int warp_key = warp_id / kWarpsQ * kFragsKv * kFragment;
  const auto multiply = [&](int tile, const half* buffer_smem) {
    mma::fragment<mma::accumulator, 16, 16, 16, float> s_frag[kFragsQ][kFragsKv];
    for (auto& row : s_frag) {
      for (auto& s : row) mma::fill_fragment(s, 0.f);
    }
#pragma unroll
    for (int d = 0; d < kHeadDim; d += kFragment) {
      mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> q_frag[kFragsQ];
      mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::col_major> k_frag;  // K^T: a key a column
      for (int i = 0; i < kFragsQ; ++i) {
        mma::load_matrix_sync(q_frag[i], q_smem + (warp_row + i * kFragment) * Smem::QTile::kLd + d,
                              Smem::QTile::kLd);
      }
      for (int j = 0; j < kFragsKv; ++j) {
        mma::load_matrix_sync(k_frag, buffer_smem + (warp_key + j * kFragment) * Smem::KTile::kLd + d,
                              Smem::KTile::kLd);
        for (int i = 0; i < kFragsQ; ++i) mma::mma_sync(s_frag[i][j], q_frag[i], k_frag, s_frag[i][j]);
      }
    }
    // 8 rows x 32 bytes a store instruction: whole sectors, straight from the fragment.
    for (int i = 0; i < kFragsQ; ++i) {
      const int row = warp_row + i * kFragment;
      for (int j = 0; j < kFragsKv; ++j) {
        const int key = tile * kBlockKv + warp_key + j * kFragment;
        if (q0 + row >= p.seq_q || kv0 + key >= visible_keys(p, q0 + row + kFragment - 1)) continue;
        for (int e = 0; e < s_frag[i][j].num_elements; ++e) s_frag[i][j].x[e] *= p.scale;
        mma::store_matrix_sync(s_tile_gmem + size_t(row) * score_ld(p) + key, s_frag[i][j], score_ld(p),
                               mma::mem_row_major);
      }
    }
  };

  for_each_tile<kPipeline>(tiles, k_smem, Smem::KTile::kElements, load, store, multiply, [] {});
}
// [scores]

// [softmax]
// P = softmax(S), one warp a row, kVectors float4 a lane in registers: a row of up to 128 * kVectors keys is
// read once, a longer one twice, with a running maximum and sum. P overwrites S as halves, never ahead of
// what has been read.
template <int kVectors>
__global__ void __launch_bounds__(32 * kSoftmaxWarps) softmax_kernel(Problem p, float* s_gmem) {
  constexpr int kChunk = 128 * kVectors;
  const int lane_id = threadIdx.x % 32;
  const int row = blockIdx.x * kSoftmaxWarps + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  float* s_row_gmem = s_gmem + (size_t(head) * score_rows(p) + row) * score_ld(p);
  half* p_row_gmem = reinterpret_cast<half*>(s_row_gmem);
  const int keys = visible_keys(p, row);

  float s_rmem[kVectors][4];
  const auto load = [&](int chunk) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int key = chunk + (i * 32 + lane_id) * 4;
      const float4 s = key < keys ? load4(s_row_gmem + key) : make_float4(0.f, 0.f, 0.f, 0.f);
      s_rmem[i][0] = key + 0 < keys ? s.x : -INFINITY;
      s_rmem[i][1] = key + 1 < keys ? s.y : -INFINITY;
      s_rmem[i][2] = key + 2 < keys ? s.z : -INFINITY;
      s_rmem[i][3] = key + 3 < keys ? s.w : -INFINITY;
    }
  };

  float m_i = -INFINITY;  // largest score so far
  float l_i = 0.f;        // sum of exp(score - m_i) so far
  for (int chunk = 0; chunk < keys; chunk += kChunk) {
    load(chunk);
    float m_new = m_i;
    for (const auto& s : s_rmem) m_new = fmaxf(m_new, fmaxf(fmaxf(s[0], s[1]), fmaxf(s[2], s[3])));
    m_new = warp_reduce_max(m_new);
    float sum = 0.f;
    for (auto& s : s_rmem) {
      for (float& x : s) sum += x = __expf(x - m_new);
    }
    l_i = l_i * __expf(m_i - m_new) + warp_reduce_sum(sum);
    m_i = m_new;
  }

  const float inverse = 1.f / l_i;
  for (int chunk = 0; chunk < keys; chunk += kChunk) {
    if (keys > kChunk) {  // the registers hold the last chunk only
      load(chunk);
      for (auto& s : s_rmem) {
        for (float& x : s) x = __expf(x - m_i);
      }
    }
    __syncwarp();  // every lane has read the chunk before any lane overwrites it; a shuffle orders no memory
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int key = chunk + (i * 32 + lane_id) * 4;
      const auto& s = s_rmem[i];
      // Up to a multiple of 8 keys, what the output kernel loads at once; keys not seen weigh exp(-inf) = 0.
      if (key < round_up(keys, 8)) {
        store4(p_row_gmem + key, make_float4(s[0] * inverse, s[1] * inverse, s[2] * inverse, s[3] * inverse));
      }
    }
  }
}
// [softmax]

template <int kHeadDim, typename Accumulator, Pipeline kPipeline>
struct OutputSmem {
  using PTile = StagedTile<kOutputBlockQ, kOutputBlockKv<kHeadDim>, loader_threads(kPipeline)>;
  using VTile = StagedTile<kOutputBlockKv<kHeadDim>, kHeadDim, loader_threads(kPipeline)>;
  static constexpr int kBufferElements = PTile::kElements + VTile::kElements;
  static constexpr int kSumsLd = kHeadDim + kPadding;
  static constexpr int kSumsElements = kOutputBlockQ * kSumsLd;  // of one group of keys
  static constexpr int kBufferBytes = buffer_count(kPipeline) * kBufferElements * int(sizeof(half));
  static constexpr int kSumsBytes = kKeyGroups * kSumsElements * int(sizeof(Accumulator));
  static constexpr int kBytes = kBufferBytes > kSumsBytes ? kBufferBytes : kSumsBytes;
};

// [output]
// O[head, row, d] = sum over keys of P[head, row, key] * V[head, key, d]. Each group of warps sums a quarter
// of every tile's keys; the four sums meet in shared memory, in the same order on every run.
template <int kHeadDim, typename Accumulator, Pipeline kPipeline>
__global__ void __launch_bounds__(block_threads(kPipeline))
    output_kernel(Problem p, Tensors t, const half* p_gmem) {
  using Smem = OutputSmem<kHeadDim, Accumulator, kPipeline>;
  constexpr int kBlockKv = kOutputBlockKv<kHeadDim>;
  const int q0 = blockIdx.x * kOutputBlockQ;
  const int head = blockIdx.y;
  const int tiles = (visible_keys(p, q0 + kOutputBlockQ - 1) + kBlockKv - 1) / kBlockKv;

  const size_t p_ld = 2 * size_t(score_ld(p));  // halves in the room of floats
  const half* p_tile_gmem = p_gmem + (size_t(head) * score_rows(p) + q0) * p_ld;
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;

  typename Smem::PTile p_rmem;
  typename Smem::VTile v_rmem;
  const auto load = [&](int tile, int thread) {
    const int kv0 = tile * kBlockKv;
    p_rmem.load(p_tile_gmem + kv0, p_ld, thread,
                [&](int row) { return q0 + row < p.seq_q ? visible_keys(p, q0 + row) - kv0 : 0; });
    v_rmem.load(v_gmem + size_t(kv0) * kHeadDim, kHeadDim, thread,
                [&](int key) { return kv0 + key < p.seq_kv ? kHeadDim : 0; });
  };
  const auto store = [&](int, half* buffer_smem, int thread) {
    p_rmem.store(buffer_smem, thread);
    v_rmem.store(buffer_smem + Smem::PTile::kElements, thread);
  };

  constexpr int kFragsD = kHeadDim / kFragment;
  constexpr int kKeysPerGroup = kBlockKv / kKeyGroups;
  const int warp_id = threadIdx.x / 32;
  const int row_group = warp_id % kRowGroups;
  const int key_group = warp_id / kRowGroups;
  mma::fragment<mma::accumulator, 16, 16, 16, Accumulator> o_frag[kFragsD];
  for (auto& o : o_frag) mma::fill_fragment(o, Accumulator(0.f));
  const auto multiply = [&](int, const half* buffer_smem) {
    const half* p_smem = buffer_smem + row_group * kFragment * Smem::PTile::kLd;
    const half* v_smem = buffer_smem + Smem::PTile::kElements;
#pragma unroll
    for (int i = 0; i < kKeysPerGroup; i += kFragment) {
      const int key = key_group * kKeysPerGroup + i;
      mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> p_frag;
      mma::load_matrix_sync(p_frag, p_smem + key, Smem::PTile::kLd);
      for (int d = 0; d < kFragsD; ++d) {
        mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::row_major> v_frag;
        mma::load_matrix_sync(v_frag, v_smem + key * Smem::VTile::kLd + d * kFragment, Smem::VTile::kLd);
        mma::mma_sync(o_frag[d], p_frag, v_frag, o_frag[d]);
      }
    }
  };

  // The sums of the four groups of keys, in the room of the tiles.
  Accumulator* sums_smem = reinterpret_cast<Accumulator*>(dynamic_smem);
  const auto finish = [&] {
    Accumulator* warp_smem =
        sums_smem + key_group * Smem::kSumsElements + row_group * kFragment * Smem::kSumsLd;
    for (int d = 0; d < kFragsD; ++d) {
      mma::store_matrix_sync(warp_smem + d * kFragment, o_frag[d], Smem::kSumsLd, mma::mem_row_major);
    }
  };

  for_each_tile<kPipeline>(tiles, reinterpret_cast<half*>(dynamic_smem), Smem::kBufferElements, load, store,
                           multiply, finish);
  __syncthreads();
  for (int i = threadIdx.x; i < kOutputBlockQ * kHeadDim / 4; i += block_threads(kPipeline)) {
    const int row = i / (kHeadDim / 4);
    const int column = i % (kHeadDim / 4) * 4;
    if (q0 + row >= p.seq_q) break;
    float4 o = make_float4(0.f, 0.f, 0.f, 0.f);
    for (int group = 0; group < kKeyGroups; ++group) {
      const float4 sum = load4(sums_smem + group * Smem::kSumsElements + row * Smem::kSumsLd + column);
      o = make_float4(o.x + sum.x, o.y + sum.y, o.z + sum.z, o.w + sum.w);
    }
    store4(t.o + (size_t(head) * p.seq_q + q0 + row) * kHeadDim + column, o);
  }
}
// [output]

namespace {

template <int kHeadDim, typename Accumulator, Pipeline kPipeline>
cudaError_t enqueue(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const dim3 block(block_threads(kPipeline));

  const unsigned tiles = ceil_div(p.seq_kv, kBlockKv);
  const int tiles_per_block = std::max(kTilesPerBlock, int(ceil_div(tiles, 65'535)));  // a grid's limit in y
  const dim3 scores_grid(ceil_div(p.seq_q, kBlockQ), ceil_div(tiles, tiles_per_block), heads);
  cudaError_t status = launch(scores_kernel<kHeadDim, kPipeline>, scores_grid, block,
                              ScoresSmem<kHeadDim, kPipeline>::kBytes, stream, p, t, tiles_per_block, s_gmem);
  if (status != cudaSuccess) return status;
  const auto softmax = p.seq_kv <= 512 ? softmax_kernel<4> : softmax_kernel<16>;
  status = launch(softmax, dim3(ceil_div(p.seq_q, kSoftmaxWarps), heads), dim3(32 * kSoftmaxWarps), 0, stream,
                  p, s_gmem);
  if (status != cudaSuccess) return status;
  return launch(output_kernel<kHeadDim, Accumulator, kPipeline>,
                dim3(ceil_div(p.seq_q, kOutputBlockQ), heads), block,
                OutputSmem<kHeadDim, Accumulator, kPipeline>::kBytes, stream, p, t,
                reinterpret_cast<const half*>(s_gmem));
}

template <typename Accumulator, Pipeline kPipeline>
cudaError_t enqueue(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  switch (p.head_dim) {
    case 32:
      return enqueue<32, Accumulator, kPipeline>(p, t, workspace, stream);
    case 64:
      return enqueue<64, Accumulator, kPipeline>(p, t, workspace, stream);
    case 96:
      return enqueue<96, Accumulator, kPipeline>(p, t, workspace, stream);
    case 128:
      return enqueue<128, Accumulator, kPipeline>(p, t, workspace, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace

size_t score_workspace_bytes(const Problem& p) {
  return size_t(p.batch) * p.heads * score_rows(p) * score_ld(p) * sizeof(float);
}

cudaError_t wmma(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return enqueue<float, Pipeline::single_buffer>(p, t, workspace, stream);
}

cudaError_t f16_accumulate(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return enqueue<half, Pipeline::single_buffer>(p, t, workspace, stream);
}

cudaError_t double_buffered(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return enqueue<float, Pipeline::double_buffer>(p, t, workspace, stream);
}

cudaError_t warp_specialized(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  return enqueue<float, Pipeline::specialized>(p, t, workspace, stream);
}

}  // namespace attention::wmma
