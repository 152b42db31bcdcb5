// warp_specialized: some warps only load, the others only multiply. They hand tiles over at named barriers.
//
// Each of the two buffers has its own producer warps, so that two tiles are in flight at once, and two
// barriers of its own, "full" and "empty". bar_arrive() signals without waiting; bar_sync() signals and waits.
//
// Bound by L2: the output now waits for a pair of tiles at a time, the scores still for their stores.
//
// The step before: diff -u stages/03_wmma/double_buffered.cu stages/03_wmma/warp_specialized.cu
#include <cuda_fp16.h>
#include <mma.h>

#include <algorithm>

#include "attention/indexing.cuh"
#include "attention/launch.hpp"
#include "attention/problem.hpp"
#include "attention/ptx.cuh"
#include "attention/stage.hpp"
#include "output_sums.cuh"
#include "scores.cuh"
#include "softmax.cuh"
#include "staged_tile.cuh"
#include "tiling.cuh"

namespace attention::wmma {
namespace {

namespace mma = nvcuda::wmma;

using Accumulator = float;  // of P V; scores are always summed in float

constexpr int kBuffers = 2;
constexpr int kConsumerThreads = 32 * kMultiplyWarps;
constexpr int kProducerThreads = 128;  // per buffer
constexpr int kBlockThreads = kConsumerThreads + kBuffers * kProducerThreads;

// Named barriers; 0 is __syncthreads. Those of a buffer are between its producers and all consumers.
constexpr int kFull = 1, kEmpty = kFull + kBuffers, kConsumersDone = kEmpty + kBuffers;
constexpr int kHandoverThreads = kProducerThreads + kConsumerThreads;

template <int kHeadDim>
struct ScoresSmem {
  using QTile = StagedTile<kBlockQ, kHeadDim, kProducerThreads>;
  using KTile = StagedTile<kBlockKv, kHeadDim, kProducerThreads>;
  static constexpr int kBytes = (QTile::kElements + kBuffers * KTile::kElements) * int(sizeof(half));
};

// [scores]
// S[head, row, key] = scale * dot(Q[head, row], K[head, key]). Skips tiles and fragments that no row sees.
template <int kHeadDim>
__global__ void __launch_bounds__(kBlockThreads)
    scores_kernel(Problem p, Tensors t, int tiles_per_block, float* s_gmem) {
  using Smem = ScoresSmem<kHeadDim>;
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

  const int thread = threadIdx.x;
  // [specialized]
  if (thread >= kConsumerThreads) {
    const int buffer = (thread - kConsumerThreads) / kProducerThreads;
    const int producer = (thread - kConsumerThreads) % kProducerThreads;
    typename Smem::QTile q_rmem;
    typename Smem::KTile k_rmem;
#pragma unroll 1
    for (int tile = buffer; tile < tiles; tile += kBuffers) {
      const int tile0 = tile * kBlockKv;
      if (tile == 0) q_rmem.load(q_gmem, p.seq_q - q0, producer);  // Q comes with the first tile of K
      k_rmem.load(k_gmem + size_t(tile0) * kHeadDim, p.seq_kv - kv0 - tile0, producer);
      if (tile >= kBuffers) bar_sync(kEmpty + buffer, kHandoverThreads);  // the loads are in flight by now
      if (tile == 0) q_rmem.store(q_smem, producer);
      k_rmem.store(k_smem + buffer * Smem::KTile::kElements, producer);
      bar_arrive(kFull + buffer, kHandoverThreads);
    }
    return;
  }

  const int warp_row = thread / 32 % kWarpsQ * kFragsQ * kFragment;
  const int warp_key = thread / 32 / kWarpsQ * kFragment;
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    const int tile0 = tile * kBlockKv;
    const int buffer = tile % kBuffers;
    const int offset = buffer * Smem::KTile::kElements;
    bar_sync(kFull + buffer, kHandoverThreads);

    mma::fragment<mma::accumulator, 16, 16, 16, float> s_frag[kFragsQ];
    for (auto& s : s_frag) mma::fill_fragment(s, 0.f);
#pragma unroll
    for (int d = 0; d < kHeadDim; d += kFragment) {
      mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> q_frag[kFragsQ];
      mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::col_major> k_frag;  // K^T: one key per column
      for (int i = 0; i < kFragsQ; ++i) {
        const half* q_frag_smem = q_smem + (warp_row + i * kFragment) * Smem::QTile::kLd + d;
        mma::load_matrix_sync(q_frag[i], q_frag_smem, Smem::QTile::kLd);
      }
      mma::load_matrix_sync(k_frag, k_smem + offset + warp_key * Smem::KTile::kLd + d, Smem::KTile::kLd);
      for (int i = 0; i < kFragsQ; ++i) mma::mma_sync(s_frag[i], q_frag[i], k_frag, s_frag[i]);
    }
    // 8 rows x 32 bytes per store instruction: whole sectors, straight from the fragment.
    for (int i = 0; i < kFragsQ; ++i) {
      const int row = warp_row + i * kFragment;
      const int key = tile0 + warp_key;
      if (q0 + row >= p.seq_q || kv0 + key >= visible_keys(p, q0 + row + kFragment - 1)) continue;
      for (int e = 0; e < s_frag[i].num_elements; ++e) s_frag[i].x[e] *= p.scale;
      mma::store_matrix_sync(s_tile_gmem + size_t(row) * score_ld(p) + key, s_frag[i], score_ld(p),
                             mma::mem_row_major);
    }
    if (tile + kBuffers < tiles) bar_arrive(kEmpty + buffer, kHandoverThreads);
  }
  // [specialized]
}
// [scores]

// [softmax]
// P = softmax(S), one warp per row, in place: a row of halves at the start of each row of floats.
template <int kVectors>
__global__ void __launch_bounds__(32 * kSoftmaxWarps) softmax_kernel(Problem p, float* s_gmem) {
  const int row = blockIdx.x * kSoftmaxWarps + threadIdx.x / 32;
  const int head = blockIdx.y;
  if (row >= p.seq_q) return;
  float* s_row_gmem = s_gmem + (size_t(head) * score_rows(p) + row) * score_ld(p);
  softmax_row<kVectors>(s_row_gmem, threadIdx.x % 32, visible_keys(p, row));
}
// [softmax]

template <int kHeadDim>
struct OutputSmem {
  using PTile = StagedTile<kOutputBlockQ, kOutputBlockKv<kHeadDim>, kProducerThreads>;
  using VTile = StagedTile<kOutputBlockKv<kHeadDim>, kHeadDim, kProducerThreads>;
  static constexpr int kBufferElements = PTile::kElements + VTile::kElements;
  static constexpr int kBufferBytes = kBuffers * kBufferElements * int(sizeof(half));
  static constexpr int kSumsBytes = kKeyGroups * kSumsElements<kHeadDim> * int(sizeof(Accumulator));
  static constexpr int kBytes = std::max(kBufferBytes, kSumsBytes);
};

// [output]
// O[head, row, d] = sum over keys of P[head, row, key] * V[head, key, d]. Each group of warps sums a quarter
// of every tile's keys; the four sums are added in shared memory, in the same order on every run.
template <int kHeadDim>
__global__ void __launch_bounds__(kBlockThreads) output_kernel(Problem p, Tensors t, const half* p_gmem) {
  using Smem = OutputSmem<kHeadDim>;
  constexpr int kBlockKv = kOutputBlockKv<kHeadDim>;
  constexpr int kFragsD = kHeadDim / kFragment;
  constexpr int kKeysPerGroup = kBlockKv / kKeyGroups;
  const int q0 = blockIdx.x * kOutputBlockQ;
  const int head = blockIdx.y;
  const int tiles = (visible_keys(p, q0 + kOutputBlockQ - 1) + kBlockKv - 1) / kBlockKv;

  half* p_smem = reinterpret_cast<half*>(dynamic_smem);
  half* v_smem = p_smem + Smem::PTile::kElements;
  const size_t p_ld = 2 * size_t(score_ld(p));  // in halves: P lies in the rows of S
  const half* p_tile_gmem = p_gmem + (size_t(head) * score_rows(p) + q0) * p_ld;
  const half* v_gmem = t.v + size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;

  const int thread = threadIdx.x;
  Accumulator* sums_smem = reinterpret_cast<Accumulator*>(dynamic_smem);  // in the place of the tiles
  if (thread >= kConsumerThreads) {
    const int buffer = (thread - kConsumerThreads) / kProducerThreads;
    const int producer = (thread - kConsumerThreads) % kProducerThreads;
    typename Smem::PTile p_rmem;
    typename Smem::VTile v_rmem;
#pragma unroll 1
    for (int tile = buffer; tile < tiles; tile += kBuffers) {
      const int kv0 = tile * kBlockKv;
      p_rmem.load_probabilities(p, p_tile_gmem + kv0, p_ld, q0, kv0, producer);
      v_rmem.load(v_gmem + size_t(kv0) * kHeadDim, p.seq_kv - kv0, producer);
      if (tile >= kBuffers) bar_sync(kEmpty + buffer, kHandoverThreads);
      p_rmem.store(p_smem + buffer * Smem::kBufferElements, producer);
      v_rmem.store(v_smem + buffer * Smem::kBufferElements, producer);
      bar_arrive(kFull + buffer, kHandoverThreads);
    }
  } else {
    const int row_group = thread / 32 % kRowGroups;
    const int key_group = thread / 32 / kRowGroups;
    mma::fragment<mma::accumulator, 16, 16, 16, Accumulator> o_frag[kFragsD];
    for (auto& o : o_frag) mma::fill_fragment(o, Accumulator(0.f));
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      const int buffer = tile % kBuffers;
      const int offset = buffer * Smem::kBufferElements;
      bar_sync(kFull + buffer, kHandoverThreads);
#pragma unroll
      for (int i = 0; i < kKeysPerGroup; i += kFragment) {
        const int key = key_group * kKeysPerGroup + i;
        mma::fragment<mma::matrix_a, 16, 16, 16, half, mma::row_major> p_frag;
        const half* p_frag_smem = p_smem + offset + row_group * kFragment * Smem::PTile::kLd + key;
        mma::load_matrix_sync(p_frag, p_frag_smem, Smem::PTile::kLd);
        for (int d = 0; d < kFragsD; ++d) {
          mma::fragment<mma::matrix_b, 16, 16, 16, half, mma::row_major> v_frag;
          const half* v_frag_smem = v_smem + offset + key * Smem::VTile::kLd + d * kFragment;
          mma::load_matrix_sync(v_frag, v_frag_smem, Smem::VTile::kLd);
          mma::mma_sync(o_frag[d], p_frag, v_frag, o_frag[d]);
        }
      }
      if (tile + kBuffers < tiles) bar_arrive(kEmpty + buffer, kHandoverThreads);
    }

    bar_sync(kConsumersDone, kConsumerThreads);  // WAR: another consumer may still be reading a tile
    Accumulator* group_smem = sums_smem + key_group * kSumsElements<kHeadDim>;
    for (int d = 0; d < kFragsD; ++d) {
      Accumulator* frag_smem = group_smem + row_group * kFragment * kSumsLd<kHeadDim> + d * kFragment;
      mma::store_matrix_sync(frag_smem, o_frag[d], kSumsLd<kHeadDim>, mma::mem_row_major);
    }
  }
  __syncthreads();
  store_output<kHeadDim, kBlockThreads>(t.o + (size_t(head) * p.seq_q + q0) * kHeadDim, sums_smem,
                                        p.seq_q - q0);
}
// [output]

}  // namespace

cudaError_t warp_specialized(const Problem& p, const Tensors& t, void* workspace, cudaStream_t stream) {
  float* s_gmem = static_cast<float*>(workspace);
  const half* p_gmem = static_cast<const half*>(workspace);
  const unsigned heads = unsigned(p.batch * p.heads);
  const unsigned tiles = ceil_div(p.seq_kv, kBlockKv);
  const int tiles_per_block = std::max(kTilesPerBlock, int(ceil_div(tiles, 65'535)));  // a grid's limit in y
  const dim3 scores_grid(ceil_div(p.seq_q, kBlockQ), ceil_div(tiles, tiles_per_block), heads);
  const dim3 softmax_grid(ceil_div(p.seq_q, kSoftmaxWarps), heads);
  const dim3 output_grid(ceil_div(p.seq_q, kOutputBlockQ), heads);
  const auto softmax = p.seq_kv <= 512 ? softmax_kernel<4> : softmax_kernel<16>;

  return with_head_dim(p, [&](auto head_dim) {
    cudaError_t status = launch(scores_kernel<head_dim>, scores_grid, dim3(kBlockThreads),
                                ScoresSmem<head_dim>::kBytes, stream, p, t, tiles_per_block, s_gmem);
    if (status != cudaSuccess) return status;
    status = launch(softmax, softmax_grid, dim3(32 * kSoftmaxWarps), 0, stream, p, s_gmem);
    if (status != cudaSuccess) return status;
    return launch(output_kernel<head_dim>, output_grid, dim3(kBlockThreads), OutputSmem<head_dim>::kBytes,
                  stream, p, t, p_gmem);
  });
}

}  // namespace attention::wmma
