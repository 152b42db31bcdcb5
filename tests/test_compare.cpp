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
constexpr Tolerance kTolerance = {1e-3, 1e-3};

std::vector<half> halves(const std::vector<double>& values) {
  std::vector<half> result;
  for (const double value : values) result.push_back(__float2half(float(value)));
  return result;
}

bool one_line(const std::string& message) {
  return !message.empty() && message.find('\n') == std::string::npos && message.size() < 200;
}

}  // namespace

TEST_CASE("An output equal to the reference passes, with no error and no message") {
  const std::vector<double> want = {0, -1.5, 0.25, 1000};
  const Comparison result = compare(halves(want), want, {0, 0});
  CHECK(result.ok);
  CHECK(result.max_abs_error == 0);
  CHECK(result.relative_error == 0);
  CHECK(result.wrong_elements == 0);
  CHECK(result.message.empty());
}

TEST_CASE("Errors are measured as documented") {
  const std::vector<double> want = {3, 4, 0, 0};
  const Comparison result = compare(halves({3, 4.5, 0, 0.25}), want, {0.5, 1});
  CHECK(result.ok);
  CHECK(result.max_abs_error == 0.5);
  CHECK(result.worst_index == 1);
  CHECK(std::abs(result.relative_error - std::sqrt(0.5 * 0.5 + 0.25 * 0.25) / 5) < 1e-15);
}

TEST_CASE("One wrong element in a million is caught") {
  constexpr std::size_t kElements = 1'000'000;
  constexpr std::size_t kWrong = 765'432;
  const std::vector<double> want(kElements, 0.125);
  const std::vector<half> right = halves(want);
  REQUIRE(compare(right, want, kTolerance).ok);

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
    const Comparison result = compare(got, want, kTolerance, {}, 64);
    CHECK_FALSE(result.ok);
    CHECK(result.wrong_elements == 1);
    CHECK(result.worst_index == kWrong);
    CHECK_FALSE(result.max_abs_error <= kTolerance.max_abs_error);
    CHECK(one_line(result.message));
    CHECK_THAT(result.message, Catch::Contains("element 765432 (row 11959, column 56)"));
    CHECK_THAT(result.message, Catch::Contains("want 0.125"));
    CHECK_THAT(result.message, Catch::Contains("1 of 1000000"));
  }
}

TEST_CASE("NaN never passes, whatever the tolerance") {
  const std::vector<double> want = {1, 2};
  CHECK_FALSE(compare(halves({1, kNan}), want, {kInfinity, kInfinity}).ok);
  CHECK_FALSE(compare(halves({kNan, kNan}), want, {kInfinity, kInfinity}).ok);
  CHECK_FALSE(compare(halves({1, 2}), want, {kNan, 1}).ok);
  CHECK_FALSE(compare(halves({1, 2}), want, {1, kNan}).ok);
}

TEST_CASE("The first non-finite element is named, before any larger finite error") {
  const Comparison result =
      compare(halves({500, 1, kNan, kInfinity, 1}), std::vector<double>(5, 1), kTolerance);
  CHECK(result.worst_index == 2);
  CHECK(result.wrong_elements == 3);
  CHECK(std::isnan(result.max_abs_error));
  CHECK(std::isnan(result.relative_error));
  CHECK_THAT(result.message, Catch::Contains("element 2: got nan, want 1"));
}

TEST_CASE("Many small errors within the absolute tolerance fail by the relative one") {
  const std::vector<double> want(1000, 0.01);
  const Comparison result = compare(halves(std::vector<double>(1000, 0.0105)), want, kTolerance);
  CHECK_FALSE(result.ok);
  CHECK(result.wrong_elements == 0);
  CHECK(std::abs(result.relative_error - 0.05) < 1e-3);
  CHECK(one_line(result.message));
  CHECK_THAT(result.message, Catch::Contains("relative error 0.0498") && Catch::Contains("above 0.001"));
}

TEST_CASE("An all-zero reference has a defined relative error") {
  const std::vector<double> zeros(8, 0.0);
  const Comparison right = compare(halves(zeros), zeros, kTolerance);
  CHECK(right.ok);
  CHECK(right.relative_error == 0);
  CHECK(compare(halves(std::vector<double>(8, -0.0)), zeros, {0, 0}).ok);

  std::vector<double> nearly = zeros;
  nearly[3] = 1e-4;
  const Comparison wrong = compare(halves(nearly), zeros, kTolerance);
  CHECK_FALSE(wrong.ok);
  CHECK(wrong.relative_error == kInfinity);
  CHECK(wrong.worst_index == 3);
}

TEST_CASE("A non-finite reference wants a non-finite output") {
  const std::vector<double> want = {kNan, kInfinity, -kInfinity, 1};
  CHECK(compare(halves({kNan, kInfinity, -kInfinity, 1}), want, kTolerance).ok);
  CHECK(compare(halves({kInfinity, kNan, kNan, 1}), want, kTolerance).ok);
  for (const std::size_t wrong : {0, 1, 2}) {
    std::vector<double> got = {kNan, kNan, kNan, 1};
    got[wrong] = 0;
    const Comparison result = compare(halves(got), want, kTolerance);
    CHECK_FALSE(result.ok);
    CHECK(result.worst_index == wrong);
    CHECK_FALSE(std::isfinite(result.max_abs_error));
  }
}

TEST_CASE("Only a flagged row may be non-finite where the reference is not") {
  const std::vector<double> want = {1, 2, 3, 4, kNan, 6};
  const std::vector<unsigned char> flags = {0, 1, 0};
  CHECK(compare(halves({1, 2, kNan, 4, kNan, 6}), want, kTolerance, flags, 2).ok);
  CHECK(compare(halves({1, 2, 3, kInfinity, kNan, 6}), want, kTolerance, flags, 2).ok);
  CHECK_FALSE(compare(halves({1, kNan, 3, 4, kNan, 6}), want, kTolerance, flags, 2).ok);
  CHECK_FALSE(compare(halves({1, 2, 3, 4, kNan, kNan}), want, kTolerance, flags, 2).ok);
  SECTION("but what is finite there must be right") {
    const Comparison result = compare(halves({1, 2, kNan, 5, kNan, 6}), want, kTolerance, flags, 2);
    CHECK_FALSE(result.ok);
    CHECK(result.worst_index == 3);
  }
  SECTION("and a non-finite reference there still wants a non-finite output") {
    const std::vector<unsigned char> all = {1, 1, 1};
    CHECK_FALSE(compare(halves({1, 2, 3, 4, 5, 6}), want, kTolerance, all, 2).ok);
  }
}

TEST_CASE("A comparison that cannot be made is a bug of the caller") {
  const std::vector<double> want(4, 0.0);
  const std::vector<unsigned char> flags(2);
  CHECK_THROWS_AS(compare(halves({0, 0, 0}), want, kTolerance), std::logic_error);
  CHECK_THROWS_AS(compare(halves({}), std::vector<double>{}, kTolerance), std::logic_error);
  CHECK_THROWS_AS(compare(halves(want), want, kTolerance, flags, 1), std::logic_error);
  CHECK_THROWS_AS(compare(halves(want), want, kTolerance, flags, 3), std::logic_error);
  CHECK_THROWS_AS(compare(halves(want), want, kTolerance, flags, 0), std::logic_error);
  CHECK_NOTHROW(compare(halves(want), want, kTolerance, flags, 2));
}
