#include "attention/inputs.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <random>
#include <stdexcept>

namespace attention {
namespace {

constexpr std::array kAll = {
    Distribution::normal,           Distribution::large_logits,     Distribution::equal_keys,
    Distribution::outlier_key,      Distribution::underflow_rows,   Distribution::constant,
    Distribution::one_hot,          Distribution::positive_values,  Distribution::value_outlier,
    Distribution::mixed_magnitudes, Distribution::subnormal_values, Distribution::domain_edge};

/// N(0, 1) by the polar method.
class Normal {
 public:
  Normal(std::uint64_t seed, unsigned stream) {
    std::seed_seq sequence = {unsigned(seed), unsigned(seed >> 32), stream};
    generator_.seed(sequence);
  }

  double operator()() {
    if (second_) {
      const double value = *second_;
      second_.reset();
      return value;
    }
    double u, v, s;
    do {
      // Multiples of 2^-26 in [-1, 1): their squares and the sum are exact in double, so that a compiler's
      // choice of fused multiply-add changes nothing.
      const std::uint64_t bits = generator_();
      u = coordinate(std::uint32_t(bits));
      v = coordinate(std::uint32_t(bits >> 32));
      s = u * u + v * v;
    } while (s >= 1 || s == 0);
    const double radius = std::sqrt(-2 * std::log(s) / s);
    second_ = v * radius;
    return u * radius;
  }

 private:
  static double coordinate(std::uint32_t bits) { return (double(bits >> 5) - 0x1p26) * 0x1p-26; }

  std::mt19937_64 generator_;
  std::optional<double> second_;
};

half to_half(double value) {
  return __float2half(float(value));
}

void fill(std::vector<half>& tensor, Normal& normal, double factor) {
  for (half& element : tensor) element = to_half(factor * normal());
}

/// Rows that lean: element = factor * N(0, 1) + offset(row), so that a row's sum is far from 0.
template <typename Offset>
void fill_rows(std::vector<half>& tensor, Normal& normal, int rows, int head_dim, double factor,
               Offset offset) {
  for (std::size_t i = 0; i < tensor.size(); ++i) {
    tensor[i] = to_half(factor * normal() + offset(int(i / head_dim % rows)));
  }
}

/// scale * sqrt(head_dim): the standard deviation of scaled scores where Q and K are N(0, 1); 1 unless the
/// caller chose the scale. With a scale of 0 all scores are 0 whatever the inputs; it counts as the usual
/// one. Bounded, so that what is divided by it stays within half.
double score_deviation(const Problem& problem) {
  const double deviation = std::abs(double(problem.scale)) * std::sqrt(double(problem.head_dim));
  return deviation == 0 ? 1 : std::clamp(deviation, 1e-3, 1e4);
}

}  // namespace

std::span<const Distribution> all_distributions() {
  return kAll;
}

std::string_view name(Distribution distribution) {
  switch (distribution) {
    case Distribution::normal:
      return "normal";
    case Distribution::large_logits:
      return "large_logits";
    case Distribution::equal_keys:
      return "equal_keys";
    case Distribution::outlier_key:
      return "outlier_key";
    case Distribution::underflow_rows:
      return "underflow_rows";
    case Distribution::constant:
      return "constant";
    case Distribution::one_hot:
      return "one_hot";
    case Distribution::positive_values:
      return "positive_values";
    case Distribution::value_outlier:
      return "value_outlier";
    case Distribution::mixed_magnitudes:
      return "mixed_magnitudes";
    case Distribution::subnormal_values:
      return "subnormal_values";
    case Distribution::domain_edge:
      return "domain_edge";
  }
  throw std::logic_error("name: not a distribution");
}

std::optional<Distribution> distribution_named(std::string_view wanted) {
  for (const Distribution distribution : kAll) {
    if (name(distribution) == wanted) return distribution;
  }
  return {};
}

Inputs make_inputs(const Problem& problem, Distribution distribution, std::uint64_t seed) {
  Inputs inputs;
  inputs.q.resize(problem.q_elements());
  inputs.k.resize(problem.kv_elements());
  inputs.v.resize(problem.kv_elements());
  Normal normal_q(seed, 0);
  Normal normal_k(seed, 1);
  Normal normal_v(seed, 2);
  fill(inputs.v, normal_v, 1);

  const int head_dim = problem.head_dim;
  const double deviation = score_deviation(problem);
  const double sign = problem.scale < 0 ? -1 : 1;
  switch (distribution) {
    case Distribution::normal:
      fill(inputs.q, normal_q, 1);
      fill(inputs.k, normal_k, 1);
      break;

    case Distribution::large_logits: {
      const double factor = std::sqrt(500 / deviation);
      fill(inputs.q, normal_q, factor);
      fill(inputs.k, normal_k, factor);
      break;
    }

    case Distribution::equal_keys: {
      fill(inputs.q, normal_q, 1);
      const std::size_t head_elements = std::size_t(problem.seq_kv) * head_dim;
      for (auto head = inputs.k.begin(); head != inputs.k.end(); head += head_elements) {
        std::generate(head, head + head_dim, [&] { return to_half(normal_k()); });
        for (int row = 1; row < problem.seq_kv; ++row) {
          std::copy(head, head + head_dim, head + std::ptrdiff_t(row) * head_dim);
        }
      }
      break;
    }

    case Distribution::outlier_key: {
      // Every query leans towards (1, ..., 1), by 8 standard deviations of its sum, and one key lies far out
      // in that direction: scale * key * (8 sqrt(D) + N(0, D)) is 40 with a deviation of 5.
      const double lean = 8 / std::sqrt(double(head_dim));
      const double key = sign * 5 / deviation;
      const int rows_with_keys = problem.causal ? std::min(problem.seq_q, problem.seq_kv) : 1;
      const int outlier = problem.seq_kv - (rows_with_keys + 1) / 2;
      fill_rows(inputs.q, normal_q, problem.seq_q, head_dim, 1, [=](int) { return lean; });
      fill(inputs.k, normal_k, 1 / deviation);
      for (std::size_t i = 0; i < inputs.k.size(); ++i) {
        if (int(i / head_dim % problem.seq_kv) == outlier) inputs.k[i] = to_half(key);
      }
      break;
    }

    case Distribution::underflow_rows: {
      // Keys lean towards (1, ..., 1) and odd queries the other way: scale * D * lean_q * lean_k = -1500.
      const double lean = std::sqrt(1500 / std::sqrt(double(head_dim)));
      const double lean_k = lean / deviation;
      fill_rows(inputs.q, normal_q, problem.seq_q, head_dim, 1,
                [=](int row) { return row % 2 == 1 ? -sign * lean : 0; });
      fill_rows(inputs.k, normal_k, problem.seq_kv, head_dim, 1 / deviation, [=](int) { return lean_k; });
      break;
    }

    case Distribution::constant:
      std::fill(inputs.q.begin(), inputs.q.end(), to_half(normal_q()));
      std::fill(inputs.k.begin(), inputs.k.end(), to_half(normal_k()));
      std::fill(inputs.v.begin(), inputs.v.end(), to_half(normal_v()));
      break;

    case Distribution::one_hot: {
      // Key j is 10 along axis j % D and grows a little with j / D, so that one key wins; query i the same along
      // its own axis.
      for (std::size_t i = 0; i < inputs.q.size(); ++i) {
        const int row = int(i / head_dim % problem.seq_q), d = int(i % head_dim);
        inputs.q[i] = to_half(row % head_dim == d ? 10 * sign : 0);
      }
      for (std::size_t i = 0; i < inputs.k.size(); ++i) {
        const int key = int(i / head_dim % problem.seq_kv), d = int(i % head_dim);
        const int turn = 1 + key / head_dim;
        const double growth = 10 * turn * std::sqrt(double(head_dim)) / deviation;
        inputs.k[i] = to_half(key % head_dim == d ? std::min(growth, 6e4) : 0);
      }
      break;
    }

    case Distribution::positive_values:
      fill(inputs.q, normal_q, 1);
      fill(inputs.k, normal_k, 1);
      for (half& v : inputs.v) v = to_half(1 + std::min(4., std::abs(__half2float(v)) + 0.));
      break;

    case Distribution::value_outlier: {
      fill(inputs.q, normal_q, 1);
      fill(inputs.k, normal_k, 1);
      const std::size_t head_elements = std::size_t(problem.seq_kv) * head_dim;
      for (std::size_t first = 0; first < inputs.v.size(); first += head_elements) {
        inputs.v[first + head_elements / 2] = to_half(6e4);
      }
      break;
    }

    case Distribution::mixed_magnitudes: {
      fill(inputs.q, normal_q, 1);
      fill(inputs.k, normal_k, 1);
      const std::size_t head_elements = std::size_t(problem.seq_kv) * head_dim;
      for (std::size_t i = 0; i < inputs.v.size(); ++i) {
        const std::size_t head = i / head_elements, column = i % head_dim;
        const int power = int((head * 7 + column * 11) % 30) - 16;
        inputs.v[i] = to_half(std::clamp(__half2float(inputs.v[i]) * std::exp2(power), -6e4, 6e4));
      }
      break;
    }

    case Distribution::subnormal_values:
      fill(inputs.q, normal_q, 1);
      fill(inputs.k, normal_k, 1);
      for (half& v : inputs.v) v = to_half(1e-6 * __half2float(v));
      break;

    case Distribution::domain_edge: {
      // Constant queries and keys, so that every key scores the same; as far out as halves go for this scale.
      const double size = std::min(6e4, std::sqrt(9e7 / deviation / std::sqrt(double(head_dim))));
      std::fill(inputs.q.begin(), inputs.q.end(), to_half(size));
      std::fill(inputs.k.begin(), inputs.k.end(), to_half(size));
      break;
    }
  }
  return inputs;
}

}  // namespace attention
