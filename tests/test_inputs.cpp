// make_inputs(): normals are normal, every distribution does what it is for, and values never change.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "attention/inputs.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

/// FNV-1a over the bits of every element.
std::uint64_t fingerprint(const Inputs& inputs) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::vector<half>* tensor : {&inputs.q, &inputs.k, &inputs.v}) {
    for (const half element : *tensor) hash = (hash ^ __half_as_ushort(element)) * 0x100000001b3;
  }
  return hash;
}

bool same_bits(const std::vector<half>& a, const std::vector<half>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](half x, half y) { return __half_as_ushort(x) == __half_as_ushort(y); });
}

/// scale * q.k of batch 0, head 0: [seq_q, seq_kv].
std::vector<double> scores_of_first_head(const Problem& problem, const Inputs& inputs) {
  std::vector<double> scores;
  for (int i = 0; i < problem.seq_q; ++i) {
    for (int j = 0; j < problem.seq_kv; ++j) {
      double sum = 0;
      for (int d = 0; d < problem.head_dim; ++d) {
        sum += double(__half2float(inputs.q[i * problem.head_dim + d])) *
               __half2float(inputs.k[j * problem.head_dim + d]);
      }
      scores.push_back(problem.scale * sum);
    }
  }
  return scores;
}

}  // namespace

TEST_CASE("Every distribution has a name of its own") {
  std::set<std::string_view> names;
  for (const Distribution distribution : all_distributions()) names.insert(name(distribution));
  CHECK(names.size() == 12);
  CHECK(names.size() == all_distributions().size());
  CHECK(names.count("outlier_key") == 1);
}

TEST_CASE("Inputs have the problem's shape and are finite") {
  const Problem problem({.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 5, .seq_kv = 9, .head_dim = 32});
  for (const Distribution distribution : all_distributions()) {
    INFO(name(distribution));
    const Inputs inputs = make_inputs(problem, distribution, 3);
    CHECK(inputs.q.size() == problem.q_elements());
    CHECK(inputs.k.size() == problem.kv_elements());
    CHECK(inputs.v.size() == problem.kv_elements());
    for (const std::vector<half>* tensor : {&inputs.q, &inputs.k, &inputs.v}) {
      CHECK(
          std::all_of(tensor->begin(), tensor->end(), [](half x) { return std::isfinite(__half2float(x)); }));
    }
  }
}

TEST_CASE("A seed gives the same values on every machine, for ever") {
  const Problem problem({.heads = 2, .seq_q = 33, .seq_kv = 17, .head_dim = 32});
  CHECK(fingerprint(make_inputs(problem, Distribution::normal, 0)) == 0x9e788cc763f1e8bc);
  CHECK(fingerprint(make_inputs(problem, Distribution::normal, 0x123456789abcdef0)) == 0x914a9359d5c43904);
  CHECK(fingerprint(make_inputs(problem, Distribution::large_logits, 1)) == 0xeefe0dd1d4735bda);
  CHECK(fingerprint(make_inputs(problem, Distribution::equal_keys, 1)) == 0x9852fe62a19cf845);
  CHECK(fingerprint(make_inputs(problem, Distribution::outlier_key, 1)) == 0x80530df16e41b654);
  CHECK(fingerprint(make_inputs(problem, Distribution::underflow_rows, 1)) == 0x24aec7b081ad586a);
}

TEST_CASE("Seeds and tensors are streams of their own") {
  const Problem problem({.heads = 1, .seq_q = 16});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 1);
  CHECK_FALSE(same_bits(inputs.q, inputs.k));
  CHECK_FALSE(same_bits(inputs.k, inputs.v));
  CHECK_FALSE(same_bits(inputs.q, make_inputs(problem, Distribution::normal, 2).q));
  CHECK_FALSE(same_bits(inputs.q, make_inputs(problem, Distribution::normal, 1 + (1ull << 32)).q));
  const Inputs more_keys =
      make_inputs(Problem({.heads = 1, .seq_q = 16, .seq_kv = 99}), Distribution::normal, 1);
  CHECK(same_bits(inputs.q, more_keys.q));
}

TEST_CASE("Normal inputs are normal") {
  const Problem problem;  // 262144 elements a tensor
  const Inputs inputs = make_inputs(problem, Distribution::normal, 1);
  for (const std::vector<half>* tensor : {&inputs.q, &inputs.k, &inputs.v}) {
    const double n = double(tensor->size());
    double sum = 0, squares = 0, fourths = 0, within_one = 0, beyond_three = 0;
    for (const half element : *tensor) {
      const double x = __half2float(element);
      sum += x;
      squares += x * x;
      fourths += x * x * x * x;
      within_one += std::abs(x) < 1;
      beyond_three += std::abs(x) > 3;
    }
    // Margins of five standard errors: sqrt(1/n), sqrt(2/n), sqrt(96/n), sqrt(p (1-p)/n); n = 2^18. Rounding
    // to half moves 1.2e-4 of the mass across |x| = 1.
    CHECK(std::abs(sum / n) < 5 * std::sqrt(1 / n));
    CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2 / n));
    CHECK(std::abs(fourths / n - 3) < 5 * std::sqrt(96 / n));
    CHECK(std::abs(within_one / n - 0.682689) < 5 * std::sqrt(0.2166 / n) + 1.2e-4);
    CHECK(std::abs(beyond_three / n - 0.0026998) < 5 * std::sqrt(0.0027 / n) + 2e-5);
  }
}

TEST_CASE("Scaled scores stay within half, for every distribution but one, and any usual scale") {
  const std::vector<Shape> shapes = {{.heads = 1, .seq_q = 128},
                                     {.heads = 1, .seq_q = 128, .head_dim = 128},
                                     {.heads = 1, .seq_q = 128, .head_dim = 1},
                                     {.heads = 1, .seq_q = 65, .seq_kv = 129, .head_dim = 32, .causal = true},
                                     {.heads = 1, .seq_q = 64, .scale = 0.0f},
                                     {.heads = 1, .seq_q = 64, .scale = -1.0f},
                                     {.heads = 1, .seq_q = 64, .scale = 100.0f},
                                     {.heads = 1, .seq_q = 64, .scale = 1e-3f}};
  for (const Shape& shape : shapes) {
    const Problem problem(shape);
    for (const Distribution distribution : all_distributions()) {
      INFO(describe(problem) << ' ' << name(distribution));
      const std::vector<double> scores = scores_of_first_head(problem, make_inputs(problem, distribution, 4));
      double largest = 0;
      for (const double score : scores) largest = std::max(largest, std::abs(score));
      CHECK(largest < (distribution == Distribution::domain_edge ? 0x1p27 * std::log(2.) : 60000));
    }
  }
}

TEST_CASE("large_logits overflow exp unless the maximum is subtracted") {
  const Problem problem({.heads = 1, .seq_q = 128});
  const auto scores = scores_of_first_head(problem, make_inputs(problem, Distribution::large_logits, 5));
  CHECK(*std::max_element(scores.begin(), scores.end()) > 1000);  // expf overflows above 88.7
  CHECK(*std::min_element(scores.begin(), scores.end()) < -1000);
}

TEST_CASE("equal_keys repeats one key a head, each head its own") {
  const Problem problem({.batch = 2, .heads = 2, .seq_q = 3, .seq_kv = 70, .head_dim = 32});
  const Inputs inputs = make_inputs(problem, Distribution::equal_keys, 6);
  const auto row = [&](int head, int j) {
    const auto first = inputs.k.begin() + (head * 70 + j) * 32;
    return std::vector<half>(first, first + 32);
  };
  for (int head = 0; head < 4; ++head) {
    for (int j = 1; j < 70; ++j) CHECK(same_bits(row(head, 0), row(head, j)));
    if (head > 0) CHECK_FALSE(same_bits(row(0, 0), row(head, 0)));
  }
}

TEST_CASE("outlier_key stands far above the rest for every query, in the last place") {
  for (const Shape& shape : {Shape{.heads = 1, .seq_q = 200, .seq_kv = 129, .head_dim = 32},
                             Shape{.heads = 1, .scale = 2.0f}, Shape{.heads = 1, .scale = -0.125f}}) {
    const Problem problem(shape);
    INFO(describe(problem));
    const auto scores = scores_of_first_head(problem, make_inputs(problem, Distribution::outlier_key, 7));
    for (int i = 0; i < problem.seq_q; ++i) {
      const auto first = scores.begin() + std::ptrdiff_t(i) * problem.seq_kv;
      const auto last = first + problem.seq_kv - 1;
      CHECK(*last > *std::max_element(first, last) + 8);
    }
  }
}

TEST_CASE("A causal outlier_key is seen by half of the queries that see any") {
  for (const auto& [seq_q, seq_kv] : {std::pair{64, 64}, {64, 200}, {200, 64}, {1, 5}, {5, 1}}) {
    const Problem problem({.heads = 1, .seq_q = seq_q, .seq_kv = seq_kv, .causal = true});
    const auto scores = scores_of_first_head(problem, make_inputs(problem, Distribution::outlier_key, 7));
    const auto first_row = scores.begin();
    const int outlier = int(std::max_element(first_row, first_row + seq_kv) - first_row);
    int see_it = 0;
    for (int i = 0; i < seq_q; ++i) see_it += outlier <= i + seq_kv - seq_q;
    CHECK(see_it == (std::min(seq_q, seq_kv) + 1) / 2);
  }
}

TEST_CASE("underflow_rows puts every score of odd rows far below zero") {
  for (const Shape& shape :
       {Shape{.heads = 1, .seq_q = 128}, Shape{.heads = 1, .seq_q = 128, .head_dim = 128},
        Shape{.heads = 1, .seq_q = 64, .scale = -3.0f}}) {
    const Problem problem(shape);
    INFO(describe(problem));
    const auto scores = scores_of_first_head(problem, make_inputs(problem, Distribution::underflow_rows, 8));
    for (int i = 0; i < problem.seq_q; ++i) {
      for (int j = 0; j < problem.seq_kv; ++j) {
        const double score = scores[std::size_t(i) * problem.seq_kv + j];
        if (i % 2 == 1) {
          CHECK(score < -1000);  // expf is zero below -104
        } else {
          CHECK(std::abs(score) < 200);
        }
      }
    }
  }
}
