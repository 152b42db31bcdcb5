#include "reference.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <exception>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <thread>

namespace attention::reference {
namespace {

// The formula is written once, below, for two ways of rounding.

struct Float64 {
  using Real = double;
  using Output = double;
  static double round(double value) { return value; }
  static double output(double value) { return value; }
};

struct Fp16 {
  using Real = float;
  using Output = half;
  static float round(float value) { return __half2float(__float2half(value)); }
  static half output(float value) { return __float2half(value); }
};

/// Query rows that one thread takes at a time: few enough to spread, enough to pay for converting K and V.
constexpr int kRowsPerTask = 64;

/// Calls work(worker, task) for every task in [0, tasks), each worker on a thread of its own. Tasks are
/// handed out in order. The first exception of a worker is thrown again here.
template <typename MakeWorker>
void parallel_for(std::size_t tasks, unsigned threads, MakeWorker make_worker) {
  std::atomic<std::size_t> next = 0;
  std::exception_ptr failure;
  std::mutex failure_mutex;
  const auto run = [&] {
    try {
      auto worker = make_worker();
      for (std::size_t task = next++; task < tasks; task = next++) worker(task);
    } catch (...) {
      const std::scoped_lock lock(failure_mutex);
      if (!failure) failure = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> others;  // joined at the end of this block
    for (std::size_t i = 1; i < std::min<std::size_t>(threads, tasks); ++i) others.emplace_back(run);
    run();
  }
  if (failure) std::rethrow_exception(failure);
}

/// Attention of single query rows, with K (transposed) and V of one head kept in the type that accumulates.
template <typename Rounding>
class HeadAttention {
 public:
  using Real = typename Rounding::Real;
  using Output = typename Rounding::Output;

  HeadAttention(const Problem& problem, const Inputs& inputs)
      : problem_(problem),
        inputs_(inputs),
        k_transposed_(std::size_t(problem.head_dim) * problem.seq_kv),
        v_(k_transposed_.size()),
        k_norm_(problem.seq_kv),
        v_norm_(problem.seq_kv),
        scores_(problem.seq_kv),
        sums_(problem.head_dim),
        scratch_{std::vector<double>(problem.head_dim), std::vector<double>(problem.head_dim)} {}

  /// Loads key/value head `kv_head`, counted over the whole batch, unless it is there already.
  void load(std::size_t kv_head) {
    if (kv_head == kv_head_) return;
    kv_head_ = kv_head;
    const std::size_t seq_kv = problem_.seq_kv;
    const std::size_t head_dim = problem_.head_dim;
    const half* const k = inputs_.k.data() + kv_head * seq_kv * head_dim;
    const half* const v = inputs_.v.data() + kv_head * seq_kv * head_dim;
    for (std::size_t j = 0; j < seq_kv; ++j) {
      double k_squares = 0, v_squares = 0;
      for (std::size_t d = 0; d < head_dim; ++d) {
        const float k_jd = __half2float(k[j * head_dim + d]), v_jd = __half2float(v[j * head_dim + d]);
        k_transposed_[d * seq_kv + j] = k_jd;
        v_[j * head_dim + d] = v_jd;
        k_squares += double(k_jd) * k_jd;
        v_squares += double(v_jd) * v_jd;
      }
      k_norm_[j] = std::sqrt(k_squares);
      v_norm_[j] = std::sqrt(v_squares);
    }
  }

  /// Row i of a query head: q and o are that row's head_dim elements.
  void row(int i, const half* q, Output* o) { probabilities_and_output(i, q, o); }

  /// The same, and what rounding does to the row: the scale of each element and what it is allowed (without the
  /// share of the FP16 version), and the norm that the row is allowed.
  void row(int i, const half* q, Output* o, float* scale, float* allowed, float* allowed_norm) {
    const int visible = probabilities_and_output(i, q, o);
    const int head_dim = problem_.head_dim;
    double q_squares = 0;
    for (int d = 0; d < head_dim; ++d) q_squares += double(__half2float(q[d])) * __half2float(q[d]);
    const double score_rounding = std::abs(double(problem_.scale)) * kScoreRounding * std::sqrt(q_squares);

    std::vector<double>& scales = scratch_[0];
    std::vector<double>& of_keys = scratch_[1];
    std::fill(scales.begin(), scales.end(), 0.);
    std::fill(of_keys.begin(), of_keys.end(), 0.);
    double b_squares = 0;
    for (int j = 0; j < visible; ++j) {
      const double p = scores_[j];  // probabilities by now
      if (p == 0) continue;         // also where a key is infinite, and 0 * infinity would be NaN
      const double rounding = p * score_rounding * k_norm_[j];
      const double of_p = p < kHalfSmallestNormal ? kHalfSmallest / 2 : 0;
      const Real* const v_j = v_.data() + std::size_t(j) * head_dim;
      for (int d = 0; d < head_dim; ++d) {
        scales[d] += p * std::abs(v_j[d]);
        of_keys[d] += rounding * std::abs(v_j[d] - o[d]) + of_p * std::abs(v_j[d]);
      }
      b_squares += p * p * v_norm_[j] * v_norm_[j];
    }
    double o_squares = 0, scale_squares = 0, of_keys_squares = 0;
    for (int d = 0; d < head_dim; ++d) {
      scale[d] = float(scales[d]);
      allowed[d] = float(3 * kHalfRounding * scales[d] + of_keys[d] + 2 * kHalfSmallest);
      if (!std::isfinite(double(o[d]))) continue;
      o_squares += double(o[d]) * o[d];
      scale_squares += scales[d] * scales[d];
      of_keys_squares += of_keys[d] * of_keys[d];
    }
    // V that is not finite in some column leaves the others to be compared.
    if (!std::isfinite(b_squares)) b_squares = scale_squares;
    *allowed_norm = float(
        kHalfRounding * (2 * std::sqrt(o_squares) + std::sqrt(b_squares) + std::sqrt(scale_squares) / 4) +
        std::sqrt(of_keys_squares) + 2 * kHalfSmallest * std::sqrt(double(head_dim)));
  }

 private:
  /// Leaves the probabilities in scores_; returns how many keys the row sees.
  int probabilities_and_output(int i, const half* q, Output* o) {
    const int head_dim = problem_.head_dim;
    const int seq_kv = problem_.seq_kv;
    const int visible = problem_.causal ? std::clamp(i + 1 + seq_kv - problem_.seq_q, 0, seq_kv) : seq_kv;

    // Both products run along contiguous memory in the inner loop, with independent sums, so that compilers
    // vectorise them without reordering any sum.
    std::fill_n(scores_.begin(), visible, Real(0));
    for (int d = 0; d < head_dim; ++d) {
      const Real q_d = __half2float(q[d]);
      const Real* const k_d = k_transposed_.data() + std::size_t(d) * seq_kv;
      for (int j = 0; j < visible; ++j) scores_[j] += q_d * k_d[j];
    }

    Real m_i = -std::numeric_limits<Real>::infinity();
    for (int j = 0; j < visible; ++j) {
      scores_[j] = Rounding::round(Real(problem_.scale) * scores_[j]);
      m_i = std::max(m_i, scores_[j]);
    }
    Real l_i = 0;  // NaN in any score makes it NaN, and with it the row
    for (int j = 0; j < visible; ++j) {
      scores_[j] = std::exp(scores_[j] - m_i);
      l_i += scores_[j];
    }

    std::fill(sums_.begin(), sums_.end(), Real(0));
    for (int j = 0; j < visible; ++j) {
      const Real p = scores_[j] = Rounding::round(scores_[j] / l_i);
      const Real* const v_j = v_.data() + std::size_t(j) * head_dim;
      for (int d = 0; d < head_dim; ++d) sums_[d] += p * v_j[d];
    }
    std::transform(sums_.begin(), sums_.end(), o, Rounding::output);
    return visible;
  }

  const Problem& problem_;
  const Inputs& inputs_;
  std::size_t kv_head_ = std::numeric_limits<std::size_t>::max();
  std::vector<Real> k_transposed_;  // [head_dim, seq_kv]
  std::vector<Real> v_;             // [seq_kv, head_dim]
  std::vector<double> k_norm_;      // [seq_kv], |k|
  std::vector<double> v_norm_;      // [seq_kv], |v|
  std::vector<Real> scores_;        // [seq_kv], then probabilities
  std::vector<Real> sums_;          // [head_dim]
  std::vector<double> scratch_[2];  // [head_dim] each
};

void check_sizes(const Problem& problem, const Inputs& inputs) {
  const std::size_t q = problem.q_elements();
  const std::size_t kv = problem.kv_elements();
  if (inputs.q.size() != q || inputs.k.size() != kv || inputs.v.size() != kv) {
    throw std::logic_error(fmt::format("reference: Q, K, V of {}, {}, {} elements for {}", inputs.q.size(),
                                       inputs.k.size(), inputs.v.size(), describe(problem)));
  }
}

/// Calls of_row(head, row) for every query row of the problem, counted over batch and heads, on several threads;
/// `head` is a HeadAttention with the row's key/value head loaded.
template <typename Rounding, typename OfRow>
void for_each_row(const Problem& problem, const Inputs& inputs, unsigned threads, const OfRow& of_row) {
  check_sizes(problem, inputs);
  // The query heads of one key/value head lie side by side: group * seq_q rows that read the same K and V.
  const std::size_t group_rows = std::size_t(problem.heads / problem.kv_heads) * problem.seq_q;
  const std::size_t group_tasks = (group_rows + kRowsPerTask - 1) / kRowsPerTask;
  const std::size_t kv_heads = std::size_t(problem.batch) * problem.kv_heads;
  parallel_for(kv_heads * group_tasks, threads, [&] {
    return [&, head = HeadAttention<Rounding>(problem, inputs)](std::size_t task) mutable {
      const std::size_t kv_head = task / group_tasks;
      head.load(kv_head);
      const std::size_t first = task % group_tasks * kRowsPerTask;
      const std::size_t last = std::min(first + kRowsPerTask, group_rows);
      for (std::size_t row = first; row < last; ++row) of_row(head, kv_head * group_rows + row);
    };
  });
}

template <typename Rounding>
std::vector<typename Rounding::Output> compute(const Problem& problem, const Inputs& inputs,
                                               unsigned threads) {
  std::vector<typename Rounding::Output> o(problem.q_elements());
  for_each_row<Rounding>(problem, inputs, threads, [&](HeadAttention<Rounding>& head, std::size_t row) {
    const std::size_t offset = row * problem.head_dim;
    head.row(int(row % problem.seq_q), inputs.q.data() + offset, o.data() + offset);
  });
  return o;
}

bool is_finite(half value) {
  return std::isfinite(__half2float(value));
}

/// Adds what the error of the FP16 version allows.
void allow_errors_of_fp16(const std::vector<half>& fp16, Expected& expected) {
  const std::size_t head_dim = expected.head_dim;
  for (std::size_t row = 0; row < expected.allowed_norm.size(); ++row) {
    double largest = 0;  // as a share of the scale
    double error_squares = 0, scale_squares = 0;
    for (std::size_t i = row * head_dim; i < (row + 1) * head_dim; ++i) {
      const double value = __half2float(fp16[i]), scale = expected.scale[i];
      if (!std::isfinite(expected.o[i])) continue;
      if (expected.tainted_rows[row] != 0 && !std::isfinite(value)) continue;
      scale_squares += scale * scale;
      // Infinite where half precision overflowed: the largest share decides.
      const double error =
          std::isfinite(value) ? std::abs(value - expected.o[i]) : std::numeric_limits<double>::infinity();
      error_squares += error * error;
      if (scale > 0) largest = std::max(largest, (error - kHalfSmallest) / scale);
    }
    largest = std::min(largest, kLargestRelativeError);
    for (std::size_t i = row * head_dim; i < (row + 1) * head_dim; ++i) {
      expected.allowed[i] += float(2 * largest * expected.scale[i]);
    }
    expected.allowed_norm[row] +=
        float(2 * std::min(std::sqrt(error_squares), kLargestRelativeError * std::sqrt(scale_squares)));
  }
}

}  // namespace

unsigned all_cores() {
  return std::max(1u, std::thread::hardware_concurrency());
}

std::vector<double> attention(const Problem& problem, const Inputs& inputs, unsigned threads) {
  return compute<Float64>(problem, inputs, threads);
}

std::vector<half> attention_fp16(const Problem& problem, const Inputs& inputs) {
  return compute<Fp16>(problem, inputs, all_cores());
}

std::vector<unsigned char> tainted_rows(const Problem& problem, const Inputs& inputs) {
  check_sizes(problem, inputs);
  const auto all_finite = [](const std::vector<half>& tensor, std::size_t first, std::size_t count) {
    return std::all_of(tensor.begin() + first, tensor.begin() + first + count, is_finite);
  };
  const std::size_t kv_head_elements = std::size_t(problem.seq_kv) * problem.head_dim;
  const std::size_t group_rows = std::size_t(problem.heads / problem.kv_heads) * problem.seq_q;
  std::vector<unsigned char> tainted(problem.q_elements() / problem.head_dim);
  for (std::size_t first_row = 0, kv_head = 0; first_row < tainted.size();
       first_row += group_rows, ++kv_head) {
    const bool kv_finite = all_finite(inputs.k, kv_head * kv_head_elements, kv_head_elements) &&
                           all_finite(inputs.v, kv_head * kv_head_elements, kv_head_elements);
    for (std::size_t row = first_row; row < first_row + group_rows; ++row) {
      tainted[row] = !kv_finite || !all_finite(inputs.q, row * problem.head_dim, problem.head_dim);
    }
  }
  return tainted;
}

Expected expect(const Problem& problem, const Inputs& inputs, unsigned threads) {
  const std::size_t elements = problem.q_elements(), rows = elements / problem.head_dim;
  Expected expected = {.o = std::vector<double>(elements),
                       .scale = std::vector<float>(elements),
                       .allowed = std::vector<float>(elements),
                       .allowed_norm = std::vector<float>(rows),
                       .tainted_rows = tainted_rows(problem, inputs),
                       .head_dim = std::size_t(problem.head_dim)};
  for_each_row<Float64>(problem, inputs, threads, [&](HeadAttention<Float64>& head, std::size_t row) {
    const std::size_t offset = row * problem.head_dim;
    head.row(int(row % problem.seq_q), inputs.q.data() + offset, expected.o.data() + offset,
             expected.scale.data() + offset, expected.allowed.data() + offset,
             expected.allowed_norm.data() + row);
  });
  allow_errors_of_fp16(compute<Fp16>(problem, inputs, threads), expected);
  return expected;
}

}  // namespace attention::reference
