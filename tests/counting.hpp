#pragma once

// One call of a variant, counted on the emulated device. Only tests for that device include this.

#include <algorithm>
#include <span>
#include <string_view>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "emulator/emulator.hpp"

namespace attention {

/// The variant with this name in the program's first stage. Fails the test where there is none.
inline const Variant& variant_named(std::string_view name) {
  const std::span<const Variant> variants = registry().front()->variants;
  const auto found = std::find_if(variants.begin(), variants.end(),
                                  [&](const Variant& variant) { return variant.name == name; });
  INFO("no variant is named " << name);
  REQUIRE(found != variants.end());
  return *found;
}

/// The counters of one call, kernel by kernel. The first use starts the program again with traced kernels.
/// Afterwards, emulator::launches() has the launches of the call.
inline emulator::Profile profile_of(std::string_view name, const Shape& shape) {
  EmulatorOptions counting;
  counting.profile = true;
  configure_device(counting);
  const Problem problem(shape);
  const Inputs inputs = make_inputs(problem, Distribution::normal, 60);
  Session session(problem, inputs);
  emulator::clear_profile();
  emulator::clear_launches();
  session.run(variant_named(name));
  configure_device({});
  return emulator::profile();
}

}  // namespace attention
