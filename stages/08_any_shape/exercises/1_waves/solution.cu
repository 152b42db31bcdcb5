// Exercise 08.1: waves.
//
// Two kernels compute the same. A block of short_kernel has 4 query rows, a block of tall_kernel 16. Which is
// faster depends on the problem: tall blocks take longer, but there are fewer of them. Blocks run in waves, one
// block per SM at a time, and a wave takes as long as one block, even if it has work for a single SM. A block
// takes a fixed time, and some more for each key.
//
// attend() launches the kernel with the lower estimate. In the exercise, estimate_us() forgets the waves: it
// counts the time of one block, so short blocks always look better.
#include "given.cuh"

namespace attention::exercise {

constexpr int kWarps = 4;

struct Cost {
  int block_rows;   // query rows per block
  double block_us;  // per block, whatever it has to do
  double key_us;    // per block and key
};
constexpr Cost kShort = {4, 1.0, 0.004}, kTall = {16, 1.5, 0.012};

// [estimate]
// Microseconds that the problem takes with these blocks on a GPU with `sms` SMs.
double estimate_us(const Cost& cost, const Problem& p, int sms) {
  // Every head has its own blocks, and the last one of a head may have rows to spare.
  const unsigned blocks = ceil_div(p.seq_q, cost.block_rows) * all_heads(p);
  const unsigned waves = ceil_div(blocks, sms);
  return waves * (cost.block_us + cost.key_us * p.seq_kv);
}
// [estimate]

// For check.cpp, which does not know Cost.
double estimate_short_us(const Problem& p, int sms) {
  return estimate_us(kShort, p, sms);
}
double estimate_tall_us(const Problem& p, int sms) {
  return estimate_us(kTall, p, sms);
}

// Online softmax, one row after the other: a warp per row, two columns per lane.
template <int kRowsPerWarp>
__device__ void attend_rows(const Problem& p, const Tensors& t) {
  const int lane_id = threadIdx.x % 32;
  const int first_row = (blockIdx.x * kWarps + threadIdx.x / 32) * kRowsPerWarp;
  const int head = blockIdx.y;
  const size_t kv_offset = size_t(kv_head_of(p, head)) * p.seq_kv * kHeadDim;
  const auto pair_of = [&](const half* tensor, size_t row) {
    return __half22float2(*reinterpret_cast<const half2*>(tensor + row * kHeadDim + 2 * lane_id));
  };
  for (int row = first_row; row < min(first_row + kRowsPerWarp, p.seq_q); ++row) {
    const float2 q = pair_of(t.q, size_t(head) * p.seq_q + row);
    float m_i = -INFINITY, l_i = 0.f;
    float2 o = make_float2(0.f, 0.f);
    for (int key = 0; key < visible_keys(p, row); ++key) {
      const float2 k = pair_of(t.k + kv_offset, key), v = pair_of(t.v + kv_offset, key);
      const float s = warp_reduce_sum(q.x * k.x + q.y * k.y) * p.scale;
      const float m_new = fmaxf(m_i, s);
      const float correction = __expf(m_i - m_new), weight = __expf(s - m_new);
      l_i = l_i * correction + weight;
      o.x = o.x * correction + weight * v.x;
      o.y = o.y * correction + weight * v.y;
      m_i = m_new;
    }
    const float inverse = l_i > 0.f ? 1.f / l_i : 0.f;
    half2* o_row = reinterpret_cast<half2*>(t.o + (size_t(head) * p.seq_q + row) * kHeadDim);
    o_row[lane_id] = __floats2half2_rn(o.x * inverse, o.y * inverse);
  }
}

__global__ void short_kernel(Problem p, Tensors t) {
  attend_rows<kShort.block_rows / kWarps>(p, t);
}
__global__ void tall_kernel(Problem p, Tensors t) {
  attend_rows<kTall.block_rows / kWarps>(p, t);
}

cudaError_t attend(const Problem& p, const Tensors& t, void*, cudaStream_t stream) {
  int sms = 0;
  const cudaError_t status = device_attribute(&sms, cudaDevAttrMultiProcessorCount);
  if (status != cudaSuccess) return status;
  const bool tall = estimate_us(kTall, p, sms) < estimate_us(kShort, p, sms);
  const dim3 grid(ceil_div(p.seq_q, tall ? kTall.block_rows : kShort.block_rows), all_heads(p));
  return launch(tall ? tall_kernel : short_kernel, grid, dim3(32 * kWarps), 0, stream, p, t);
}

}  // namespace attention::exercise
