// What a benchmark accepts as a right result.
#include <limits>

#include "attention/inputs.hpp"
#include "catch.hpp"
#include "reference.hpp"
#include "verify.hpp"

using namespace attention;
using namespace attention::bench;

namespace {

std::vector<half> right_output(const Problem& problem, const Inputs& inputs) {
  std::vector<half> o;
  for (const double value : reference::attention(problem, inputs)) o.push_back(__float2half(float(value)));
  return o;
}

}  // namespace

TEST_CASE("a right output is accepted, whole or in samples") {
  for (const Shape& shape :
       {Shape{.batch = 2, .heads = 4, .kv_heads = 2, .seq_q = 100, .seq_kv = 130, .head_dim = 32},
        Shape{.heads = 3, .seq_q = 100, .seq_kv = 70, .head_dim = 32, .causal = true},
        Shape{.heads = 2, .seq_q = 70, .seq_kv = 100, .head_dim = 32, .causal = true, .scale = 0.3f},
        Shape{.heads = 1, .seq_q = 5, .head_dim = 32}}) {
    const Problem problem(shape);
    CAPTURE(describe(problem));
    const Inputs inputs = make_inputs(problem, Distribution::normal, 3);
    const std::vector<half> o = right_output(problem, inputs);
    for (const std::size_t largest_whole : {Verifier::kLargestWhole, std::size_t(0)}) {
      const auto complaint = Verifier(problem, inputs, largest_whole).complaint(o, 0);
      CHECK(complaint.value_or("none") == "none");
    }
  }
}

TEST_CASE("what is wrong is found in samples too") {
  const Problem problem({.batch = 1, .heads = 2, .seq_q = 300, .head_dim = 32, .causal = true});
  const Inputs inputs = make_inputs(problem, Distribution::normal, 3);
  const std::vector<half> right = right_output(problem, inputs);
  const Verifier verifier(problem, inputs, 0);
  const auto complaint_with = [&](std::size_t element, float value) {
    std::vector<half> o = right;
    o[element] = __float2half(value);
    return verifier.complaint(o, 0).value_or("none");
  };
  CHECK_THAT(complaint_with(0, 3.0f), Catch::Contains("head 0") && Catch::Contains("rows from 0"));
  CHECK_THAT(complaint_with(right.size() - 1, float(right.back()) + 1), Catch::Contains("head 1"));
  // A NaN anywhere is an element that nobody wrote.
  CHECK_THAT(complaint_with(20 * 32, std::numeric_limits<float>::quiet_NaN()),
             Catch::Contains("not written"));

  // As if the last key were left out of every row.
  Inputs without = inputs;
  for (std::size_t i = 0; i < without.v.size(); ++i) {
    if (i / 32 % 300 == 299) without.v[i] = __float2half(0.0f);
  }
  CHECK(verifier.complaint(right_output(problem, without), 0).value_or("none") != "none");
}
