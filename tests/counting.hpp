#pragma once

// One call of a variant, counted on the emulated device. For tests that are compiled for that device alone.

#include <string_view>

#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "catch.hpp"
#include "emulator/emulator.hpp"

namespace attention {

/// The variant of this program's first stage. A test fails where there is none of the name.
inline const Variant& variant_named(std::string_view name) {
  for (const Variant& variant : registry().front()->variants) {
    if (variant.name == name) return variant;
  }
  FAIL("no variant " << name);
  throw;
}

/// What one call counts, kernel by kernel. The first use starts the program again, with traced kernels. The
/// launches of the call are in emulator::launches() afterwards.
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
