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
#include <string>
#include <thread>

namespace attention::reference {
namespace {

// The formula is written once, in HeadAttention, for these two ways of rounding.

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

/// Query rows that a thread takes at a time: few enough to keep all threads busy, enough to repay converting
/// K and V.
constexpr int kRowsPerTask = 64;

/// Calls worker(task) for every task in [0, tasks) on up to `threads` threads, each with a worker =
/// make_worker() of its own. Every thread takes the next task when it is done with one. Rethrows the first
/// exception of a worker.
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
        scores_(problem.seq_kv),
        sums_(problem.head_dim) {}

  /// Converts K and V of key/value head `kv_head`, counted
  /// over the whole batch, unless they are loaded already.
  void load(std::size_t kv_head) {
    if (kv_head == kv_head_) return;
    kv_head_ = kv_head;
    const std::size_t seq_kv = problem_.seq_kv;
    const std::size_t head_dim = problem_.head_dim;
    const half* const k = inputs_.k.data() + kv_head * seq_kv * head_dim;
    const half* const v = inputs_.v.data() + kv_head * seq_kv * head_dim;
    for (std::size_t j = 0; j < seq_kv; ++j) {
      for (std::size_t d = 0; d < head_dim; ++d) {
        k_transposed_[d * seq_kv + j] = __half2float(k[j * head_dim + d]);
        v_[j * head_dim + d] = __half2float(v[j * head_dim + d]);
      }
    }
  }

  /// Computes row i of a query head: `q` and `o` are that row's head_dim elements.
  void row(int i, const half* q, Output* o) {
    const int head_dim = problem_.head_dim;
    const int seq_kv = problem_.seq_kv;
    const int visible = problem_.causal ? std::clamp(i + 1 + seq_kv - problem_.seq_q, 0, seq_kv) : seq_kv;

    // The inner loops of both products run along contiguous memory and over independent sums, so that the
    // compiler can vectorise them without reordering any sum.
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
    Real l_i = 0;  // a NaN in any score makes l_i NaN, and with it the whole row
    for (int j = 0; j < visible; ++j) {
      scores_[j] = std::exp(scores_[j] - m_i);
      l_i += scores_[j];
    }

    std::fill(sums_.begin(), sums_.end(), Real(0));
    for (int j = 0; j < visible; ++j) {
      const Real p = Rounding::round(scores_[j] / l_i);
      const Real* const v_j = v_.data() + std::size_t(j) * head_dim;
      for (int d = 0; d < head_dim; ++d) sums_[d] += p * v_j[d];
    }
    std::transform(sums_.begin(), sums_.end(), o, Rounding::output);
  }

 private:
  const Problem& problem_;
  const Inputs& inputs_;
  std::size_t kv_head_ = std::numeric_limits<std::size_t>::max();
  std::vector<Real> k_transposed_;  // [head_dim, seq_kv]
  std::vector<Real> v_;             // [seq_kv, head_dim]
  std::vector<Real> scores_;        // [seq_kv], then probabilities
  std::vector<Real> sums_;          // [head_dim]
};

void check_sizes(const Problem& problem, const Inputs& inputs) {
  const std::size_t q = problem.q_elements();
  const std::size_t kv = problem.kv_elements();
  if (inputs.q.size() != q || inputs.k.size() != kv || inputs.v.size() != kv) {
    throw std::logic_error(fmt::format("reference: Q, K and V have {}, {} and {} elements for {}",
                                       inputs.q.size(), inputs.k.size(), inputs.v.size(), describe(problem)));
  }
}

template <typename Rounding>
std::vector<typename Rounding::Output> compute(const Problem& problem, const Inputs& inputs,
                                               unsigned threads) {
  check_sizes(problem, inputs);
  std::vector<typename Rounding::Output> o(problem.q_elements());

  // The query heads of one key/value head are adjacent in
  // memory: group * seq_q rows that read the same K and V.
  const std::size_t group_rows = std::size_t(problem.heads / problem.kv_heads) * problem.seq_q;
  const std::size_t group_tasks = (group_rows + kRowsPerTask - 1) / kRowsPerTask;
  const std::size_t kv_heads = std::size_t(problem.batch) * problem.kv_heads;
  parallel_for(kv_heads * group_tasks, threads, [&] {
    return [&, head = HeadAttention<Rounding>(problem, inputs)](std::size_t task) mutable {
      const std::size_t kv_head = task / group_tasks;
      head.load(kv_head);
      const std::size_t first = task % group_tasks * kRowsPerTask;
      const std::size_t last = std::min(first + kRowsPerTask, group_rows);
      for (std::size_t row = first; row < last; ++row) {
        const std::size_t offset = (kv_head * group_rows + row) * problem.head_dim;
        head.row(int(row % problem.seq_q), inputs.q.data() + offset, o.data() + offset);
      }
    };
  });
  return o;
}

bool is_finite(half value) {
  return std::isfinite(__half2float(value));
}

Tolerance tolerance_of(const Problem& problem, const Inputs& inputs, const std::vector<double>& want,
                       const std::vector<unsigned char>& tainted) {
  const std::vector<half> fp16 = compute<Fp16>(problem, inputs, all_cores());
  double largest_error = 0;
  double error_squares = 0;
  double want_squares = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double value = __half2float(fp16[i]);
    const bool tainted_row = tainted[i / problem.head_dim] != 0;
    if (!std::isfinite(want[i]) || (tainted_row && !std::isfinite(value))) continue;
    // Infinite where half precision overflowed: then the caps below decide.
    const double error =
        std::isfinite(value) ? std::abs(value - want[i]) : std::numeric_limits<double>::infinity();
    largest_error = std::max(largest_error, error);
    error_squares += error * error;
    want_squares += want[i] * want[i];
  }
  double largest_v = 0;
  for (const half v : inputs.v) {
    if (is_finite(v)) largest_v = std::max(largest_v, std::abs(double(__half2float(v))));
  }
  const double relative_error = error_squares == 0 ? 0 : std::sqrt(error_squares / want_squares);
  return {std::max(kToleranceFloor,
                   std::min(2 * largest_error + kToleranceFloor, kLargestAbsToleranceOfV * largest_v)),
          std::min(2 * relative_error + kToleranceFloor, kLargestRelativeTolerance)};
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

Expected expect(const Problem& problem, const Inputs& inputs) {
  Expected expected;
  expected.o = attention(problem, inputs);
  expected.tainted_rows = tainted_rows(problem, inputs);
  expected.tolerance = tolerance_of(problem, inputs, expected.o, expected.tainted_rows);
  return expected;
}

}  // namespace attention::reference
