// The reference against facts that do not depend on it, against PyTorch, and the tolerance that it sets.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention/compare.hpp"
#include "attention/inputs.hpp"
#include "attention/npy.hpp"
#include "catch.hpp"
#include "reference.hpp"

using namespace attention;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

half to_half(double value) {
  return __float2half(float(value));
}

std::vector<half> halves(const std::vector<double>& values) {
  std::vector<half> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(), to_half);
  return result;
}

bool close(const std::vector<double>& got, const std::vector<double>& want, double tolerance) {
  return std::equal(got.begin(), got.end(), want.begin(), want.end(), [&](double a, double b) {
    return std::abs(a - b) <= tolerance * std::max(1.0, std::abs(b));
  });
}

/// Query row `row` of the whole output, counted over batch and heads.
std::vector<double> row_of(const Problem& problem, const std::vector<double>& o, int row) {
  const auto first = o.begin() + std::ptrdiff_t(row) * problem.head_dim;
  return {first, first + problem.head_dim};
}

/// The mean of the first `keys` values of a key/value head, counted over the batch.
std::vector<double> mean_of_v(const Problem& problem, const Inputs& inputs, int kv_head, int keys) {
  std::vector<double> mean(problem.head_dim);
  for (int j = 0; j < keys; ++j) {
    for (int d = 0; d < problem.head_dim; ++d) {
      mean[d] +=
          double(__half2float(inputs.v[(std::size_t(kv_head) * problem.seq_kv + j) * problem.head_dim + d])) /
          keys;
    }
  }
  return mean;
}

/// Shapes on which the facts below are held: GQA, causal masks of each kind, ragged lengths.
const std::vector<Shape>& shapes() {
  static const std::vector<Shape> all = {
      {.heads = 2, .seq_q = 64},
      {.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 17, .seq_kv = 65, .head_dim = 32},
      {.heads = 2, .seq_q = 65, .head_dim = 96, .causal = true},
      {.heads = 4, .kv_heads = 1, .seq_q = 17, .seq_kv = 257, .head_dim = 32, .causal = true},
      {.heads = 2, .seq_q = 127, .seq_kv = 17, .head_dim = 32, .causal = true},
      {.heads = 3, .seq_q = 1, .seq_kv = 1, .head_dim = 1},
  };
  return all;
}

int visible_keys(const Problem& problem, int row) {
  if (!problem.causal) return problem.seq_kv;
  return std::clamp(row % problem.seq_q + 1 + problem.seq_kv - problem.seq_q, 0, problem.seq_kv);
}

int rows_of(const Problem& problem) {
  return problem.batch * problem.heads * problem.seq_q;
}

int kv_head_of(const Problem& problem, int row) {
  return row / problem.seq_q / (problem.heads / problem.kv_heads);
}

std::vector<float> floats(const std::vector<half>& values) {
  std::vector<float> result(values.size());
  std::transform(values.begin(), values.end(), result.begin(),
                 [](half value) { return __half2float(value); });
  return result;
}

/// Flash attention as a device does it: float scores and sums, unnormalised half probabilities, and
/// optionally one key left out of everything.
std::vector<half> flash_attention(const Problem& problem, const Inputs& inputs, int left_out = -1) {
  const std::vector<float> q = floats(inputs.q), k = floats(inputs.k), v = floats(inputs.v);
  std::vector<half> o(problem.q_elements());
  const int head_dim = problem.head_dim;
  std::vector<float> scores(problem.seq_kv);
  for (int row = 0; row < rows_of(problem); ++row) {
    const float* const q_row = q.data() + std::size_t(row) * head_dim;
    const std::size_t head = std::size_t(kv_head_of(problem, row)) * problem.seq_kv * head_dim;
    const int visible = visible_keys(problem, row);
    float m_i = -kInfinity;
    for (int j = 0; j < visible; ++j) {
      const float* const k_row = k.data() + head + std::size_t(j) * head_dim;
      scores[j] = problem.scale * std::inner_product(q_row, q_row + head_dim, k_row, 0.0f);
      if (j == left_out) scores[j] = -kInfinity;
      m_i = std::max(m_i, scores[j]);
    }
    float l_i = 0;
    std::vector<float> sums(head_dim);
    for (int j = 0; j < visible; ++j) {
      const float p = std::exp(scores[j] - m_i);
      l_i += p;
      const float p_half = __half2float(__float2half(p));
      const float* const v_row = v.data() + head + std::size_t(j) * head_dim;
      for (int d = 0; d < head_dim; ++d) sums[d] += p_half * v_row[d];
    }
    for (int d = 0; d < head_dim; ++d) {
      o[std::size_t(row) * head_dim + d] = __float2half(visible == 0 ? 0.0f : sums[d] / l_i);
    }
  }
  return o;
}

}  // namespace

TEST_CASE("A case small enough to do by hand") {
  // One query, two keys: scores ln 3 and 0 give probabilities 3/4 and 1/4 (ln 3 rounded to
  // half: 1.0986328125).
  const Problem problem({.heads = 1, .seq_q = 1, .seq_kv = 2, .head_dim = 2, .scale = 1.0f});
  const Inputs inputs = {halves({1, 0}), halves({1.0986328125, 5, 0, 7}), halves({4, -8, 8, 0})};
  const std::vector<double> o = reference::attention(problem, inputs);
  const double p = 1 / (1 + std::exp(-1.0986328125));
  CHECK(std::abs(p - 0.75) < 1e-4);
  CHECK(close(o, {4 * p + 8 * (1 - p), -8 * p}, 1e-15));
}

TEST_CASE("The scale given is the scale used") {
  const Inputs inputs = {halves({2}), halves({1, 3}), halves({0, 1})};
  for (const float scale : {0.25f, 1.0f, -2.0f}) {
    const Problem problem({.heads = 1, .seq_q = 1, .seq_kv = 2, .head_dim = 1, .scale = scale});
    CHECK(close(reference::attention(problem, inputs), {1 / (1 + std::exp(-4.0 * scale))}, 1e-15));
  }
}

TEST_CASE("V of ones gives ones, and rows without a key give zeros") {
  for (const Shape& shape : shapes()) {
    const Problem problem(shape);
    INFO(describe(problem));
    for (const Distribution distribution : all_distributions()) {
      INFO(name(distribution));
      Inputs inputs = make_inputs(problem, distribution, 1);
      std::fill(inputs.v.begin(), inputs.v.end(), to_half(1));
      const std::vector<double> o = reference::attention(problem, inputs);
      for (int row = 0; row < rows_of(problem); ++row) {
        const double want = visible_keys(problem, row) == 0 ? 0 : 1;
        CHECK(close(row_of(problem, o, row), std::vector<double>(problem.head_dim, want), 1e-13));
      }
    }
  }
}

TEST_CASE("Equal keys, or a scale of zero, give the mean of the visible V") {
  for (const bool zero_scale : {false, true}) {
    for (Shape shape : shapes()) {
      if (zero_scale) shape.scale = 0.0f;
      const Problem problem(shape);
      INFO(describe(problem));
      const Inputs inputs =
          make_inputs(problem, zero_scale ? Distribution::normal : Distribution::equal_keys, 2);
      const std::vector<double> o = reference::attention(problem, inputs);
      for (int row = 0; row < rows_of(problem); ++row) {
        const auto mean = mean_of_v(problem, inputs, kv_head_of(problem, row), visible_keys(problem, row));
        CHECK(close(row_of(problem, o, row), mean, 1e-13));
      }
    }
  }
}

TEST_CASE("One huge logit picks its row of V") {
  const Problem problem({.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 9, .seq_kv = 33, .head_dim = 32});
  Inputs inputs = make_inputs(problem, Distribution::normal, 3);
  // Query i of every head has its whole weight in column i; key j is far out in the column of the query that
  // it is for.
  std::fill(inputs.q.begin(), inputs.q.end(), to_half(0));
  std::fill(inputs.k.begin(), inputs.k.end(), to_half(0));
  const auto chosen = [](int i, int kv_head) { return (7 * i + 5 * kv_head) % 33; };
  for (int row = 0; row < rows_of(problem); ++row) inputs.q[row * 32 + row % 9] = to_half(100);
  for (int kv_head = 0; kv_head < 4; ++kv_head) {
    for (int i = 0; i < 9; ++i) inputs.k[(kv_head * 33 + chosen(i, kv_head)) * 32 + i] = to_half(100);
  }
  const std::vector<double> o = reference::attention(problem, inputs);
  for (int row = 0; row < rows_of(problem); ++row) {
    const int kv_head = kv_head_of(problem, row);
    std::vector<double> want;
    for (int d = 0; d < 32; ++d) {
      want.push_back(__half2float(inputs.v[(kv_head * 33 + chosen(row % 9, kv_head)) * 32 + d]));
    }
    CHECK(close(row_of(problem, o, row), want, 1e-13));
  }
}

TEST_CASE("Permuting keys and values together changes nothing") {
  const Problem problem({.heads = 4, .kv_heads = 2, .seq_q = 33, .seq_kv = 65, .head_dim = 32});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 4);
  std::vector<int> order(65);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(1));
  Inputs permuted = inputs;
  for (int kv_head = 0; kv_head < 2; ++kv_head) {
    for (int j = 0; j < 65; ++j) {
      const int from = (kv_head * 65 + order[j]) * 32;
      const int to = (kv_head * 65 + j) * 32;
      std::copy_n(inputs.k.begin() + from, 32, permuted.k.begin() + to);
      std::copy_n(inputs.v.begin() + from, 32, permuted.v.begin() + to);
    }
  }
  CHECK(close(reference::attention(problem, permuted), reference::attention(problem, inputs), 1e-13));
}

TEST_CASE("The output is linear in V") {
  for (const Shape& shape : shapes()) {
    const Problem problem(shape);
    INFO(describe(problem));
    Inputs a = make_inputs(problem, Distribution::normal, 5);
    Inputs b = a;
    b.v = make_inputs(problem, Distribution::normal, 6).v;
    // Halves of few bits, so that 2 a + b is exact in half.
    const auto coarse = [](half& value) { value = to_half(std::round(__half2float(value) * 8) / 8); };
    std::for_each(a.v.begin(), a.v.end(), coarse);
    std::for_each(b.v.begin(), b.v.end(), coarse);
    Inputs both = a;
    for (std::size_t i = 0; i < both.v.size(); ++i) {
      both.v[i] = to_half(2 * __half2float(a.v[i]) + __half2float(b.v[i]));
    }
    std::vector<double> want = reference::attention(problem, a);
    const std::vector<double> second = reference::attention(problem, b);
    for (std::size_t i = 0; i < want.size(); ++i) want[i] = 2 * want[i] + second[i];
    CHECK(close(reference::attention(problem, both), want, 1e-13));
  }
}

TEST_CASE("Grouped heads equal the same problem with keys and values repeated") {
  const Problem grouped({.batch = 2, .heads = 6, .kv_heads = 2, .seq_q = 19, .seq_kv = 33, .causal = true});
  const Problem repeated({.batch = 2, .heads = 6, .seq_q = 19, .seq_kv = 33, .causal = true});
  const Inputs inputs = make_inputs(grouped, Distribution::normal, 7);
  Inputs copies = {inputs.q, {}, {}};
  const int head_elements = 33 * 64;
  for (int kv_head = 0; kv_head < 4; ++kv_head) {
    for (int copy = 0; copy < 3; ++copy) {
      const auto add = [&](std::vector<half>& to, const std::vector<half>& from) {
        to.insert(to.end(), from.begin() + kv_head * head_elements,
                  from.begin() + (kv_head + 1) * head_elements);
      };
      add(copies.k, inputs.k);
      add(copies.v, inputs.v);
    }
  }
  CHECK(close(reference::attention(grouped, inputs), reference::attention(repeated, copies), 0));
}

TEST_CASE("A causal row sees the keys up to its own, aligned at the bottom right, and no other") {
  for (const auto& [seq_q, seq_kv] : {std::pair{7, 7}, {4, 9}, {9, 4}}) {
    const Problem causal({.heads = 1, .seq_q = seq_q, .seq_kv = seq_kv, .head_dim = 32, .causal = true});
    INFO(describe(causal));
    const Inputs inputs = make_inputs(causal, Distribution::normal, 8);
    const std::vector<double> o = reference::attention(causal, inputs);
    for (int i = 0; i < seq_q; ++i) {
      const int visible = i + 1 + seq_kv - seq_q;
      std::vector<double> want(32);
      if (visible > 0) {
        const Problem one_row({.heads = 1, .seq_q = 1, .seq_kv = visible, .head_dim = 32});
        const auto first = [](const std::vector<half>& tensor, int skip, int rows) {
          return std::vector<half>(tensor.begin() + skip * 32, tensor.begin() + (skip + rows) * 32);
        };
        want = reference::attention(
            one_row, {first(inputs.q, i, 1), first(inputs.k, 0, visible), first(inputs.v, 0, visible)});
      }
      CHECK(close(row_of(causal, o, i), want, 1e-15));
    }
  }
}

TEST_CASE("NaN and Inf propagate to the rows that read them, and only there") {
  const Problem problem({.heads = 2, .kv_heads = 1, .seq_q = 8, .head_dim = 32, .causal = true});
  const Inputs good = make_inputs(problem, Distribution::normal, 9);
  const std::vector<double> want = reference::attention(problem, good);
  const auto finite_rows = [&](const std::vector<double>& o) {
    std::string rows;
    for (int row = 0; row < rows_of(problem); ++row) {
      const std::vector<double> values = row_of(problem, o, row);
      const bool finite =
          std::all_of(values.begin(), values.end(), [](double x) { return std::isfinite(x); });
      if (finite) CHECK(close(values, row_of(problem, want, row), 0));
      rows += finite ? '.' : 'x';
    }
    return rows;
  };
  const auto flags = [&](const Inputs& inputs) {
    std::string rows;
    for (const unsigned char tainted : reference::tainted_rows(problem, inputs)) rows += tainted ? 'x' : '.';
    return rows;
  };
  CHECK(finite_rows(want) == "................");
  CHECK(flags(good) == "................");

  SECTION("a query: its own row") {
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
      Inputs inputs = good;
      inputs.q[(8 + 3) * 32 + 5] = to_half(bad);
      // An infinite query times keys of either sign: scores of +Inf and -Inf, and so NaN.
      CHECK(finite_rows(reference::attention(problem, inputs)) == "...........x....");
      CHECK(flags(inputs) == "...........x....");
    }
  }
  SECTION("a key: the rows that see it") {
    Inputs inputs = good;
    inputs.k[5 * 32 + 2] = to_half(kNan);
    CHECK(finite_rows(reference::attention(problem, inputs)) == ".....xxx.....xxx");
    CHECK(flags(inputs) == "xxxxxxxxxxxxxxxx");
  }
  SECTION("a value: its column in the rows that see it") {
    for (const float bad : {kNan, kInfinity}) {
      Inputs inputs = good;
      inputs.v[6 * 32 + 2] = to_half(bad);
      const std::vector<double> o = reference::attention(problem, inputs);
      CHECK(finite_rows(o) == "......xx......xx");
      CHECK(flags(inputs) == "xxxxxxxxxxxxxxxx");
      const auto non_finite = std::count_if(o.begin(), o.end(), [](double x) { return !std::isfinite(x); });
      CHECK(non_finite == 4);
      if (bad == kInfinity) CHECK(o[6 * 32 + 2] == double(kInfinity));
    }
  }
  SECTION("a key of -Inf scores counts for nothing") {
    Inputs inputs = good;
    for (int row = 0; row < 16; ++row) inputs.q[row * 32] = to_half(1);
    inputs.k[7 * 32] = to_half(-kInfinity);
    Inputs without = inputs;
    for (int d = 0; d < 32; ++d) without.k[7 * 32 + d] = to_half(d == 0 ? -60000 : 0);
    CHECK(close(reference::attention(problem, inputs), reference::attention(problem, without), 0));
  }
  SECTION("a correct output passes, in which masked keys made NaN or not") {
    Inputs inputs = good;
    inputs.k[5 * 32 + 2] = to_half(kNan);
    const Expected expected = reference::expect(problem, inputs);
    std::vector<half> got = flash_attention(problem, inputs);
    CHECK(compare(got, expected).ok);
    got[0] = to_half(kNan);
    CHECK(compare(got, expected).ok);
    got[0] = to_half(expected.o[0] + 0.1);
    CHECK_FALSE(compare(got, expected).ok);
    got = flash_attention(problem, inputs);
    got[7 * 32] = to_half(0);
    CHECK_FALSE(compare(got, expected).ok);
  }
}

TEST_CASE("Batches and heads are tainted one by one") {
  const Problem problem({.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 2, .seq_kv = 3, .head_dim = 1});
  Inputs inputs = make_inputs(problem, Distribution::normal, 1);
  inputs.v[3 * 3 - 1] = to_half(kInfinity);  // batch 1, key/value head 0, last key
  const std::vector<unsigned char> want = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0};
  CHECK(reference::tainted_rows(problem, inputs) == want);
}

TEST_CASE("Inputs of another shape are a bug of the caller") {
  const Problem problem({.heads = 1, .seq_q = 4});
  Inputs inputs = make_inputs(problem, Distribution::normal, 1);
  inputs.v.pop_back();
  CHECK_THROWS_AS(reference::attention(problem, inputs), std::logic_error);
  CHECK_THROWS_AS(reference::attention_fp16(problem, inputs), std::logic_error);
  CHECK_THROWS_AS(reference::expect(problem, inputs), std::logic_error);
}

TEST_CASE("attention_fp16 rounds scores, probabilities and output to half, and nothing else") {
  const auto one_row = [](int seq_kv, int head_dim, const Inputs& inputs) {
    const Problem problem({.heads = 1, .seq_q = 1, .seq_kv = seq_kv, .head_dim = head_dim, .scale = 1.0f});
    return floats(reference::attention_fp16(problem, inputs));
  };
  // 1/5 becomes 0.199951171875, and three of them, half-way between two halves, the even one below 0.6.
  CHECK(one_row(5, 1, {halves({0}), halves({1, 2, 3, 4, 5}), halves({1, 1, 1, 0, 0})}).front() ==
        0.599609375f);
  // Scores of 2048 and 2049 become the same half.
  CHECK(one_row(2, 2, {halves({1, 1}), halves({2048, 0, 2048, 1}), halves({1, 8, 3, 8})}) ==
        std::vector<float>{2, 8});
  // The product is accumulated in float: 2048 + 1 + 1 is 2050, where half would stay at 2048.
  const float got =
      one_row(2, 3, {halves({1, 1, 1}), halves({2048, 1, 1, 2048, 0, 0}), halves({4, 0, 0, 8, 0, 0})})
          .front();
  CHECK(std::abs(got - (4 + 4 / (1 + std::exp(2.0)))) < 4e-3);
}

TEST_CASE("What is allowed grows with the error of FP16, element by element and row by row") {
  const Problem problem({.heads = 2, .seq_q = 100, .head_dim = 32});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 10);
  const Expected expected = reference::expect(problem, inputs);
  const std::vector<half> fp16 = reference::attention_fp16(problem, inputs);
  for (int row = 0; row < rows_of(problem); ++row) {
    double largest = 0, squares = 0;
    for (int d = 0; d < 32; ++d) {
      const int i = row * 32 + d;
      const double error = std::abs(__half2float(fp16[i]) - expected.o[i]);
      largest = std::max(largest, error / expected.scale[i]);
      squares += error * error;
    }
    // Of so few keys with such small scores, the other terms are a few roundings of the scale.
    const double u = kHalfRounding;
    for (int d = 0; d < 32; ++d) {
      const int i = row * 32 + d;
      CHECK(expected.allowed[i] >= (2 * largest + 2.9 * u) * expected.scale[i]);
      CHECK(expected.allowed[i] <= (2 * largest + 3.2 * u) * expected.scale[i]);
    }
    CHECK(expected.allowed_norm[row] >= 2 * std::sqrt(squares));
    CHECK(expected.allowed_norm[row] <= 2 * std::sqrt(squares) + u * 8);
  }
}

TEST_CASE("A right answer passes everywhere, with room") {
  std::vector<Shape> all = shapes();
  all.push_back({.heads = 2});  // two heads of the headline shape
  all.push_back({.heads = 1, .seq_q = 65, .seq_kv = 129, .scale = 1.0f});
  for (const Shape& shape : all) {
    const Problem problem(shape);
    for (const Distribution distribution : all_distributions()) {
      const Inputs inputs = make_inputs(problem, distribution, 11);
      const Expected expected = reference::expect(problem, inputs);
      const Comparison result = compare(flash_attention(problem, inputs), expected);
      INFO(describe(problem) << ' ' << name(distribution) << ' ' << result.message);
      CHECK(result.ok);
      CHECK(result.error <= 0.75 * result.allowed);
      CHECK(result.row_error <= 0.75 * result.row_allowed);
    }
  }
}

TEST_CASE("At the headline shape, one key of 512 left out fails") {
  const Problem problem;
  for (const Distribution distribution : {Distribution::normal, Distribution::equal_keys}) {
    const Inputs inputs = make_inputs(problem, distribution, 12);
    const Expected expected = reference::expect(problem, inputs);
    INFO(name(distribution));
    const std::vector<half> right = flash_attention(problem, inputs);
    const std::vector<half> wrong = flash_attention(problem, inputs, 511);
    REQUIRE(compare(right, expected).ok);
    const Comparison result = compare(wrong, expected);
    CHECK_FALSE(result.ok);
    // Each bound alone would catch it.
    CHECK(result.error > 2 * result.allowed);
    CHECK(result.row_error > 2 * result.row_allowed);

    // And so does one row of one head. With normal inputs a row may all but ignore the key: then leaving it
    // out is no error to speak of.
    constexpr int kRows = 100;
    int caught = 0;
    for (int i = 0; i < kRows; ++i) {
      const int first = i * (rows_of(problem) / kRows) * problem.head_dim;
      std::vector<half> got = right;
      std::copy_n(wrong.begin() + first, problem.head_dim, got.begin() + first);
      caught += !compare(got, expected).ok;
    }
    CHECK(caught >= (distribution == Distribution::equal_keys ? kRows : kRows * 6 / 10));
  }
}

TEST_CASE("Where FP16 itself fails, what is allowed stays tight") {
  SECTION("scores in the thousands") {
    const Problem problem({.heads = 2, .seq_q = 128});
    const Inputs inputs = make_inputs(problem, Distribution::large_logits, 14);
    const Expected expected = reference::expect(problem, inputs);
    for (std::size_t i = 0; i < expected.o.size(); ++i) {
      CHECK(expected.allowed[i] <= 3e-2 * expected.scale[i] + 2e-7);
    }
  }
  SECTION("scores beyond half") {
    const Problem problem({.heads = 1, .seq_q = 32, .head_dim = 32});
    Inputs inputs = make_inputs(problem, Distribution::normal, 15);
    for (half& q : inputs.q) q = to_half(1000 * __half2float(q));
    for (half& k : inputs.k) k = to_half(1000 * __half2float(k));
    std::fill(inputs.v.begin(), inputs.v.end(), to_half(2));
    const std::vector<half> fp16 = reference::attention_fp16(problem, inputs);
    REQUIRE(std::any_of(fp16.begin(), fp16.end(), [](half x) { return !std::isfinite(__half2float(x)); }));
    const Expected expected = reference::expect(problem, inputs);
    CHECK(compare(halves(expected.o), expected).ok);
    CHECK_FALSE(compare(fp16, expected).ok);
    CHECK_FALSE(compare(halves(std::vector<double>(expected.o.size(), 1.97)), expected).ok);
  }
  SECTION("nothing visible at all") {
    const Problem problem({.heads = 1, .seq_q = 32, .seq_kv = 1, .head_dim = 32, .causal = true});
    Inputs inputs = make_inputs(problem, Distribution::normal, 17);
    std::fill(inputs.v.begin(), inputs.v.end(), to_half(0));
    const Expected expected = reference::expect(problem, inputs);
    CHECK(compare(halves(expected.o), expected).ok);
    std::vector<double> wrong = expected.o;
    wrong[0] = 1e-6;
    CHECK_FALSE(compare(halves(wrong), expected).ok);
  }
}

TEST_CASE("What kernels of FP16 do at the edges is right") {
  SECTION("values that are subnormal in FP16") {
    for (const double size : {1e-4, 1e-5, 1e-6, 6e-8}) {
      const Problem problem({.heads = 2, .seq_q = 64, .seq_kv = 300, .head_dim = 32});
      Inputs inputs = make_inputs(problem, Distribution::normal, 16);
      for (half& v : inputs.v) v = to_half(size * __half2float(v));
      const Comparison result = compare(flash_attention(problem, inputs), reference::expect(problem, inputs));
      INFO("V about " << size << ": " << result.message);
      CHECK(result.ok);
    }
  }
  SECTION("one large value among normal ones") {
    for (const float large : {500.f, 6e4f}) {
      const Problem problem({.heads = 2, .seq_q = 64, .seq_kv = 300, .head_dim = 32});
      Inputs inputs = make_inputs(problem, Distribution::normal, 16);
      inputs.v[77 * 32 + 5] = to_half(large);
      const Expected expected = reference::expect(problem, inputs);
      std::vector<half> got = flash_attention(problem, inputs);
      const Comparison result = compare(got, expected);
      INFO("V of " << large << ": " << result.message);
      CHECK(result.ok);
      // The column beside it is held as tightly as ever.
      got[6] = to_half(expected.o[6] + 0.02);
      CHECK_FALSE(compare(got, expected).ok);
    }
  }
  SECTION("a softmax of a single one, where FP16 is exact") {
    const Problem problem({.heads = 2, .seq_q = 4, .seq_kv = 32, .scale = 1000.f});
    const Inputs inputs = make_inputs(problem, Distribution::normal, 16);
    const Expected expected = reference::expect(problem, inputs);
    CHECK(compare(flash_attention(problem, inputs), expected).ok);
    // An output that was rounded twice is a unit in the last place off.
    std::vector<half> got = flash_attention(problem, inputs);
    for (half& x : got) x = to_half(__half2float(x) * (1 + 0x1p-11));
    CHECK(compare(got, expected).ok);
    for (half& x : got) x = to_half(__half2float(x) * (1 + 0x1p-8));
    CHECK_FALSE(compare(got, expected).ok);
  }
}

TEST_CASE("A wrong head, row or column beside values of 60000 fails") {
  const Problem problem({.heads = 4, .seq_q = 100, .seq_kv = 128});
  Inputs inputs = make_inputs(problem, Distribution::normal, 19);
  for (int i = 0; i < problem.seq_kv * problem.head_dim; ++i) {  // all of head 0
    inputs.v[i] = to_half(std::clamp(2e4f * __half2float(inputs.v[i]), -6e4f, 6e4f));
  }
  for (int key = 0; key < problem.seq_kv; ++key) {  // column 3 of head 2
    half& v = inputs.v[(2 * problem.seq_kv + key) * problem.head_dim + 3];
    v = to_half(2e4f * __half2float(v));
  }
  const Expected expected = reference::expect(problem, inputs);
  const std::vector<half> right = flash_attention(problem, inputs);
  REQUIRE(compare(right, expected).ok);
  const auto with_zeros = [&](auto&& is_wrong) {
    std::vector<half> got = right;
    for (std::size_t i = 0; i < got.size(); ++i) {
      if (is_wrong(int(i) / 64 / 100, int(i) / 64 % 100, int(i) % 64)) got[i] = to_half(0);
    }
    return compare(got, expected);
  };
  CHECK_FALSE(with_zeros([](int head, int, int) { return head == 1; }).ok);
  CHECK_FALSE(with_zeros([](int head, int row, int) { return head == 3 && row == 7; }).ok);
  CHECK_FALSE(with_zeros([](int head, int, int column) { return head == 2 && column == 4; }).ok);
}

TEST_CASE("The result does not depend on which thread computed which rows") {
  // 4 key/value heads of 400 rows are 28 tasks: a thread alone takes all in order, several threads change
  // heads at tasks that differ from run to run, and more threads than tasks leave some without any.
  const Problem problem({.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 200, .seq_kv = 65, .head_dim = 32});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 18);
  const std::vector<double> alone = reference::attention(problem, inputs, 1);
  for (const unsigned threads : {2, 3, 7, 28, 100}) {
    CAPTURE(threads);
    CHECK(reference::attention(problem, inputs, threads) == alone);
  }
}

namespace {

/// What cannot be read from the shapes of a golden case's files; the names are those of
/// golden/make_golden.py.
struct GoldenCase {
  std::string name;
  bool causal = false;
  std::optional<float> scale = {};
};

const std::vector<GoldenCase>& golden_cases() {
  static const std::vector<GoldenCase> all = {
      {"plain"},
      {"ragged"},
      {"gqa"},
      {"causal", true},
      {"causal_more_keys", true},
      {"causal_more_queries", true},
      {"gqa_causal", true},
      {"one_query", true},
      {"scale", false, 0.5f},
      {"large_logits"},
  };
  return all;
}

/// The numbers at the end of a float64 .npy file of make_golden.py; read_npy() reads what kernels take, and
/// that is at most float32.
std::vector<double> read_float64(const std::filesystem::path& path, std::size_t elements) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), {}};
  INFO(path << ", " << bytes.size() << " bytes: missing files are made by tests/golden/make_golden.py");
  REQUIRE(bytes.size() > elements * sizeof(double));
  const std::size_t header_bytes = bytes.size() - elements * sizeof(double);
  const std::string header = bytes.substr(0, header_bytes);
  REQUIRE(header.find("'descr': '<f8', 'fortran_order': False") != std::string::npos);
  REQUIRE(header.back() == '\n');
  std::vector<double> values(elements);
  std::memcpy(values.data(), bytes.data() + header_bytes, elements * sizeof(double));
  return values;
}

}  // namespace

TEST_CASE("PyTorch's float64 attention gives the same, on golden files") {
  for (const GoldenCase& golden : golden_cases()) {
    const std::filesystem::path stem = std::filesystem::path(ATTENTION_GOLDEN_DIR) / golden.name;
    const auto read = [&](const char* suffix) { return read_npy(stem.string() + suffix); };
    INFO("missing files are made by tests/golden/make_golden.py");
    const NpyArray q = read("_q.npy");
    const NpyArray k = read("_k.npy");
    const NpyArray v = read("_v.npy");
    REQUIRE(k.shape == v.shape);
    const Problem problem({.batch = q.shape[0],
                           .heads = q.shape[1],
                           .kv_heads = k.shape[1],
                           .seq_q = q.shape[2],
                           .seq_kv = k.shape[2],
                           .head_dim = q.shape[3],
                           .causal = golden.causal,
                           .scale = golden.scale});
    INFO(golden.name << ": " << describe(problem));
    const Inputs inputs = {q.values, k.values, v.values};
    const std::vector<double> want = read_float64(stem.string() + "_o.npy", problem.q_elements());
    CHECK(close(reference::attention(problem, inputs), want, 1e-11));
    CHECK(compare(halves(want), reference::expect(problem, inputs)).ok);
  }
}
