// Observes every variant of the stages linked to it and prints what it saw as one JSON object; see
// observe.hpp.
#include "observe.hpp"

#include <iostream>
#include <stdexcept>

#include "attention/error.hpp"

namespace attention::evidence {
namespace {

using nlohmann::json;

json names(Techniques techniques) {
  json list = json::array();
  for (std::size_t i = 0; i < std::size(kTechniqueNames); ++i) {
    if (techniques.contains(Technique(i))) list.push_back(kTechniqueNames[i]);
  }
  return list;
}

json observe_all(const Variant& variant) {
  json calls = json::array();
  for (const Shape& shape : shapes()) {
    const Problem problem(shape);
    json call = {{"shape", describe(problem)},   {"batch", problem.batch}, {"heads", problem.heads},
                 {"kv_heads", problem.kv_heads}, {"seq_q", problem.seq_q}, {"seq_kv", problem.seq_kv},
                 {"head_dim", problem.head_dim}};
    const Support support = check_support(variant, problem, device());
    if (support.ok) {
      call["workspace_bytes"] = workspace_bytes(variant, problem);
      call.update(observe(variant, problem));
    } else {
      call["unsupported"] = support.reason;
    }
    calls.push_back(call);
  }
  return calls;
}

json observe_named(const Stage& stage, const Variant& variant) {
  try {
    return {{"name", variant.name},
            {"techniques", names(variant.techniques)},
            {"extra_roundings", extra_roundings(variant, Problem())},
            {"calls", observe_all(variant)}};
  } catch (const std::exception& error) {
    throw std::runtime_error(std::string(stage.name) + "/" + std::string(variant.name) + ": " + error.what());
  }
}

ExitCode run() {
  json all = {{"kind", kind()}, {"techniques", kTechniqueNames}, {"stages", json::array()}};
  for (const Stage* stage : registry()) {
    json variants = json::array();
    for (const Variant& variant : stage->variants) variants.push_back(observe_named(*stage, variant));
    all["stages"].push_back({{"name", stage->name}, {"variants", variants}});
  }
  for (const json& stage : harness()) all["stages"].push_back(stage);
  std::cout << all.dump() << '\n';
  return ExitCode::right;
}

}  // namespace
}  // namespace attention::evidence

int main() {
  return attention::run_program(attention::evidence::run);
}
