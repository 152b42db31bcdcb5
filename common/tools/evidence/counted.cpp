// What the emulated device counts and records of one call.
#include "attention/session.hpp"
#include "emulator/emulator.hpp"
#include "observe.hpp"

namespace attention::evidence {
namespace {

using nlohmann::json;

json to_json(const emulator::Counters& counters) {
  json object = json::object();
  for (const auto& [name, value] : emulator::named_values(counters)) object[name] = value;
  return object;
}

// Of the first warp: every warp's would be a hundred times as long, and one shows the order.
json events_of_first_warp(const emulator::KernelProfile& kernel) {
  json events = json::array();
  for (const emulator::Event& event : kernel.events) {
    if (event.warp != 0) continue;
    events.push_back(
        {emulator::name(event.kind), event.file + ":" + std::to_string(event.line), event.begin, event.end});
  }
  return events;
}

// A call of the variant under observation, and where its tensors were.
const Variant* observed;
Tensors tensors;

cudaError_t launch_observed(const Problem& problem, const Tensors& given, void* workspace,
                            cudaStream_t stream) {
  tensors = given;
  return observed->launch(problem, given, workspace, stream);
}

}  // namespace

const char* kind() {
  return "counted";
}

// One head of the headline shape: as many tiles, an eighth of the work. Then few rows and many keys.
std::vector<Shape> shapes() {
  return {{.heads = 1}, {.heads = 1, .seq_q = 32, .seq_kv = 4096}};
}

Device device() {
  EmulatorOptions counting;
  counting.profile = true;
  configure_device(counting);
  return current_device();
}

json observe(const Variant& variant, const Problem& problem) {
  const Inputs inputs = make_inputs(problem, Distribution::normal, 11);
  Session session(problem, inputs);
  session.prepare(variant);
  emulator::clear_profile();
  observed = &variant;
  Variant spied_on = variant;
  spied_on.launch = launch_observed;
  session.run(spied_on);
  json kernels = json::array();
  for (const emulator::KernelProfile& kernel : emulator::profile().kernels) {
    json warps = json::array();
    for (const emulator::Counters& warp : kernel.warps) warps.push_back(to_json(warp));
    kernels.push_back({{"kernel", kernel.kernel},
                       {"launches", kernel.launches},
                       {"blocks", kernel.blocks},
                       {"total", to_json(kernel.total)},
                       {"warps", warps},
                       {"events", events_of_first_warp(kernel)}});
  }
  const std::size_t kv_bytes = problem.kv_elements() * sizeof(half);
  return {{"kernels", kernels},
          {"k", std::uintptr_t(tensors.k)},
          {"v", std::uintptr_t(tensors.v)},
          {"kv_bytes", kv_bytes}};
}

json harness() {
  return json::array();  // the emulated device has no times, so the harness refuses to take any
}

}  // namespace attention::evidence
