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

}  // namespace

const char* kind() {
  return "counted";
}

// One head of the headline shape: as many tiles, an eighth of the work.
std::vector<Shape> shapes() {
  return {{.heads = 1}};
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
  session.run(variant);
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
  return {{"kernels", kernels}};
}

json harness() {
  return json::array();  // the emulated device has no times, so the harness refuses to take any
}

}  // namespace attention::evidence
