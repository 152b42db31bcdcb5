// Exercise 05.2: a letter to the other block.
//
// The two blocks of a cluster have the same four rows, one warp per row, and half of the keys each. At the
// end the block of rank 0 writes rows 0 and 2, the block of rank 1 rows 1 and 3. Each sends what it found for
// the other's rows straight into the other's shared memory: 16 bytes per lane, two columns of O, the maximum
// and the sum. The stores are asynchronous, and count their bytes on an mbarrier of the *receiver*.
//
// In the exercise two things are missing. The receiver must say how many bytes it waits for. And a block must
// not write to the other, or count on its barrier, before the other has started and initialised the barrier:
// cluster_arrive_relaxed() says "I have come this far", and cluster_wait() waits until all threads of both
// blocks have said so. Put the wait where it costs nothing.
#include "attention/hopper.cuh"
#include "given.cuh"

namespace attention::exercise {

constexpr int kClusterSize = 2;
constexpr int kRows = 4;  // one warp each
constexpr int kThreads = 32 * kRows;

__global__ void cluster_kernel(Problem p, Tensors t) {
  __shared__ __align__(16) float4 mailbox[kRows / kClusterSize][32];
  __shared__ Mbarrier received;
  const int warp_id = threadIdx.x / 32, lane_id = threadIdx.x % 32;
  const unsigned rank = cluster_ctarank(), other = rank ^ 1;
  const int row = blockIdx.x / kClusterSize * kRows + warp_id, head = blockIdx.y;

  // [begin]
  if (threadIdx.x == 0) {
    mbarrier_init(&received, 1);
    fence_mbarrier_init();
    mbarrier_arrive(&received);
  }
  __syncthreads();
  // [begin]

  const auto pair_of = [&](const half* tensor, int tensor_row) {
    return __half22float2(
        *reinterpret_cast<const half2*>(tensor + size_t(tensor_row) * kHeadDim + 2 * lane_id));
  };
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const float2 q = row < p.seq_q ? pair_of(t.q, head * p.seq_q + row) : make_float2(0.f, 0.f);
  const int keys = row < p.seq_q ? visible_keys(p, row) : 0, half_of_keys = (p.seq_kv + 1) / 2;
  const int first = rank == 0 ? 0 : half_of_keys, end = rank == 0 ? min(keys, half_of_keys) : keys;

  float m_i = -1e30f, l_i = 0.f;  // finite: -inf - -inf would be NaN for a row without keys
  float2 o = make_float2(0.f, 0.f);
  for (int key = first; key < end; ++key) {
    const float2 k = pair_of(t.k + kv_offset, key), v = pair_of(t.v + kv_offset, key);
    const float s = warp_reduce_sum(q.x * k.x + q.y * k.y) * p.scale;
    const float m_new = fmaxf(m_i, s);
    const float correction = __expf(m_i - m_new), weight = __expf(s - m_new);
    l_i = l_i * correction + weight;
    o.x = o.x * correction + weight * v.x;
    o.y = o.y * correction + weight * v.y;
    m_i = m_new;
  }

  // [exchange]
  float4* letter = &mailbox[warp_id / 2][lane_id];
  if (warp_id % 2 != int(rank)) {
    st_async(mapa(letter, other), make_float4(o.x, o.y, m_i, l_i), mapa(&received, other));
    return;  // this block has to stay only for its other warps, which wait for what the other block sends
  }
  mbarrier_wait(&received, 0);
  const float4 theirs = *letter;
  // [exchange]
  const float m = fmaxf(m_i, theirs.z);
  const float own_weight = __expf(m_i - m), their_weight = __expf(theirs.z - m);
  const float l = own_weight * l_i + their_weight * theirs.w;
  const float inverse = l > 0.f ? 1.f / l : 0.f;
  if (row < p.seq_q) {
    reinterpret_cast<half2*>(t.o + (size_t(head) * p.seq_q + row) * kHeadDim)[lane_id] =
        __floats2half2_rn((own_weight * o.x + their_weight * theirs.x) * inverse,
                          (own_weight * o.y + their_weight * theirs.y) * inverse);
  }
}

cudaError_t attend(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  const cudaLaunchAttribute attribute = clusters_of(kClusterSize);
  return launch_with({&attribute, 1}, cluster_kernel,
                     dim3(ceil_div(p.seq_q, kRows) * kClusterSize, all_heads(p)), dim3(kThreads), 0, stream,
                     p, t);
}

}  // namespace attention::exercise
