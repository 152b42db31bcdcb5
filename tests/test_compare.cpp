// compare(): every kind of wrong output is caught, and said in one line.

#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention/compare.hpp"
#include "catch.hpp"

using namespace attention;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr float kAllowed = 1e-3f;

std::vector<half> halves(const std::vector<double>& values) {
  std::vector<half> result;
  for (const double value : values) result.push_back(__float2half(float(value)));
  return result;
}

// Every element may be off by `allowed`, every row by as much as its elements together.
Expected expect(const std::vector<double>& want, std::size_t head_dim = 1, float allowed = kAllowed) {
  const std::size_t rows = want.size() / head_dim;
  return {.o = want,
          .scale = std::vector<float>(want.size(), 1.f),
          .allowed = std::vector<float>(want.size(), allowed),
          .allowed_norm = std::vector<float>(rows, allowed * std::sqrt(float(head_dim))),
          .tainted_rows = std::vector<unsigned char>(rows, 0),
          .head_dim = head_dim};
}

bool one_line(const std::string& message) {
  return !message.empty() && message.find('\n') == std::string::npos && message.size() < 200;
}

}  // namespace

TEST_CASE("An output equal to the reference passes, with no error and no message") {
  const std::vector<double> want = {0, -1.5, 0.25, 1000};
  const Comparison result = compare(halves(want), expect(want, 2, 0));
  CHECK(result.ok);
  CHECK(result.error == 0);
  CHECK(result.row_error == 0);
  CHECK(result.wrong_elements == 0);
  CHECK(result.compared == 4);
  CHECK(result.message.empty());
}

TEST_CASE("The element and the row that come nearest to what they are allowed are told") {
  Expected expected = expect({3, 4, 0, 0}, 2);
  expected.allowed = {1, 1, 1, 0.3f};
  expected.allowed_norm = {1, 0.5f};
  const Comparison result = compare(halves({3, 4.5, 0, 0.25}), expected);
  CHECK(result.ok);
  CHECK(result.error == 0.25);  // of 0.3, where the larger error is half of what it may be
  CHECK(result.allowed == double(0.3f));
  CHECK(result.worst_index == 3);
  CHECK(result.row_error == 0.5);
  CHECK(result.row_allowed == 1);
}

TEST_CASE("One wrong element in a million is caught") {
  constexpr std::size_t kElements = 1'000'000;
  constexpr std::size_t kWrong = 765'432;
  const Expected expected = expect(std::vector<double>(kElements, 0.125), 64);
  const std::vector<half> right = halves(expected.o);
  REQUIRE(compare(right, expected).ok);

  struct Row {
    const char* what;
    half value;
  };
  const std::vector<Row> rows = {{"off", __float2half(0.127f)},
                                 {"zero", __float2half(0.0f)},
                                 {"NaN", __float2half(float(kNan))},
                                 {"Inf", __float2half(float(kInfinity))},
                                 {"-Inf", __float2half(-float(kInfinity))},
                                 {"poison of memory never written", __ushort_as_half(0xffff)}};
  for (const Row& row : rows) {
    INFO(row.what);
    std::vector<half> got = right;
    got[kWrong] = row.value;
    const Comparison result = compare(got, expected);
    CHECK_FALSE(result.ok);
    CHECK(result.wrong_elements == 1);
    CHECK(result.worst_index == kWrong);
    CHECK_FALSE(result.error <= result.allowed);
    CHECK(one_line(result.message));
    CHECK_THAT(result.message, Catch::Contains("element 765432 (row 11959, column 56)"));
    CHECK_THAT(result.message, Catch::Contains("want 0.125"));
    CHECK_THAT(result.message, Catch::Contains("1 of 1000000"));
  }
}

TEST_CASE("Large values in one head, row or column hide nothing in another") {
  // A row of values near 60000, which may be off by 30, beside rows near 1.
  Expected expected = expect({6e4, 6e4, 1, 1, 6e4, 1}, 2);
  for (std::size_t i = 0; i < 6; ++i) expected.allowed[i] = float(expected.o[i] / 1500);
  expected.allowed_norm = {40, 1e-3f, 40};
  CHECK(compare(halves({6e4 + 32, 6e4, 1, 1, 6e4, 1}), expected).ok);
  CHECK_FALSE(compare(halves({6e4, 6e4, 0, 0, 6e4, 1}), expected).ok);  // a row
  CHECK_FALSE(compare(halves({6e4, 6e4, 1, 1, 6e4, 0}), expected).ok);  // a column beside a large one
  CHECK_FALSE(compare(halves({6e4, 6e4, 1, 1.01, 6e4, 1}), expected).ok);
}

TEST_CASE("NaN never passes, whatever is allowed") {
  CHECK_FALSE(compare(halves({1, kNan}), expect({1, 2}, 1, float(kInfinity))).ok);
  CHECK_FALSE(compare(halves({kNan, kNan}), expect({1, 2}, 1, float(kInfinity))).ok);
  CHECK_FALSE(compare(halves({1, 2}), expect({1, 2}, 1, float(kNan))).ok);
  Expected expected = expect({1, 2}, 1);
  expected.allowed_norm[1] = float(kNan);
  CHECK_FALSE(compare(halves({1, 2}), expected).ok);
}

TEST_CASE("The first element of another kind is named, before any larger finite error") {
  const Comparison result = compare(halves({500, 1, kNan, kInfinity, 1}), expect(std::vector<double>(5, 1)));
  CHECK(result.worst_index == 2);
  CHECK(result.wrong_elements == 3);
  CHECK(std::isnan(result.error));
  CHECK_THAT(result.message, Catch::Contains("element 2 (row 2, column 0): got nan, want 1"));
}

TEST_CASE("Many small errors within what elements are allowed fail by what the row is") {
  Expected expected = expect(std::vector<double>(1000, 0.01), 100);
  expected.allowed_norm.assign(10, 1e-3f);
  const Comparison result = compare(halves(std::vector<double>(1000, 0.0105)), expected);
  CHECK_FALSE(result.ok);
  CHECK(result.wrong_elements == 0);
  CHECK(result.wrong_rows == 10);
  CHECK(std::abs(result.row_error - 0.005) < 1e-4);
  CHECK(one_line(result.message));
  CHECK_THAT(result.message,
             Catch::Contains("row 0: the error of the row is 0.00498") && Catch::Contains("10 of 10 rows"));
}

TEST_CASE("A variant that rounds sums more often is allowed as many roundings of the scale") {
  Expected expected = expect({1, 1});
  expected.scale = {2, 0.5f};
  CHECK_FALSE(compare(halves({1.01, 1}), expected).ok);
  CHECK(compare(halves({1.01, 1}), expected, 10).ok);
  CHECK_FALSE(compare(halves({1, 1.01}), expected, 10).ok);
}

TEST_CASE("What is not finite must be the same") {
  const Expected expected = expect({kNan, kInfinity, -kInfinity, 1});
  CHECK(compare(halves({kNan, kInfinity, -kInfinity, 1}), expected).ok);
  CHECK(compare(halves({kNan, kInfinity, -kInfinity, 1}), expected).compared == 1);
  for (const std::size_t wrong : {0, 1, 2}) {
    for (const double value : {0., 65504., kNan, kInfinity, -kInfinity}) {
      std::vector<double> got = {kNan, kInfinity, -kInfinity, 1};
      if (got[wrong] == value || (std::isnan(got[wrong]) && std::isnan(value))) continue;
      got[wrong] = value;
      INFO("element " << wrong << ": " << value);
      const Comparison result = compare(halves(got), expected);
      CHECK_FALSE(result.ok);
      CHECK(result.worst_index == wrong);
      CHECK_FALSE(std::isfinite(result.error));
    }
  }
}

TEST_CASE("Where nothing is finite, nothing was compared") {
  const Comparison result = compare(halves({kNan, kNan}), expect({kNan, kNan}));
  CHECK(result.ok);
  CHECK(result.compared == 0);
}

TEST_CASE("Only a tainted row may be non-finite where the reference is not") {
  Expected expected = expect({1, 2, 3, 4, kInfinity, 6}, 2);
  expected.tainted_rows = {0, 1, 0};
  CHECK(compare(halves({1, 2, kNan, 4, kInfinity, 6}), expected).ok);
  CHECK(compare(halves({1, 2, 3, kInfinity, kInfinity, 6}), expected).ok);
  CHECK_FALSE(compare(halves({1, kNan, 3, 4, kInfinity, 6}), expected).ok);
  CHECK_FALSE(compare(halves({1, 2, 3, 4, kInfinity, kNan}), expected).ok);
  CHECK_FALSE(compare(halves({1, 2, 3, 4, kNan, 6}), expected).ok);
  SECTION("but what is finite there must be right") {
    const Comparison result = compare(halves({1, 2, kNan, 5, kInfinity, 6}), expected);
    CHECK_FALSE(result.ok);
    CHECK(result.worst_index == 3);
  }
  SECTION("and a non-finite reference there wants the same, or NaN for an infinity") {
    expected.tainted_rows = {1, 1, 1};
    CHECK(compare(halves({1, 2, 3, 4, kNan, 6}), expected).ok);
    CHECK_FALSE(compare(halves({1, 2, 3, 4, 5, 6}), expected).ok);
    CHECK_FALSE(compare(halves({1, 2, 3, 4, -kInfinity, 6}), expected).ok);
    expected.o[0] = kNan;
    CHECK_FALSE(compare(halves({kInfinity, 2, 3, 4, kInfinity, 6}), expected).ok);
  }
}

TEST_CASE("A comparison that cannot be made is a bug of the caller") {
  const std::vector<half> got = halves({0, 0, 0, 0});
  CHECK_NOTHROW(compare(got, expect({0, 0, 0, 0}, 2)));
  CHECK_THROWS_AS(compare(got, expect({0, 0, 0})), std::logic_error);
  CHECK_THROWS_AS(compare(halves({}), expect({})), std::logic_error);
  CHECK_THROWS_AS(compare(got, expect({0, 0, 0, 0}, 3)), std::logic_error);
  Expected expected = expect({0, 0, 0, 0}, 2);
  expected.head_dim = 0;
  CHECK_THROWS_AS(compare(got, expected), std::logic_error);
  expected = expect({0, 0, 0, 0}, 2);
  expected.tainted_rows.pop_back();
  CHECK_THROWS_AS(compare(got, expected), std::logic_error);
}
