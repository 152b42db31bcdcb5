#pragma once

#include <cstddef>
#include <iosfwd>
#include <string>

#include "attention/device.hpp"

// What the harness asks of the kind of device it was built for. The GPU's answers are in
// device_control_gpu.cpp beside this file, the emulated device's in common/emulator/src/device_control.cpp;
// CMake picks one. attention::configure_device() of attention/device.hpp is defined in the same two files.
namespace attention {

bool device_is_emulated();

/// Faults that the emulated device has found in kernels since the last reset (each place once; already
/// printed on stderr where found); 0 on a GPU, where compute-sanitizer looks for them.
std::size_t device_faults();

/// Forgets faults and counters, so that the kernels to come stand alone.
void reset_device_findings();

/// The counters since the last reset as a table for people, where EmulatorOptions::profile is set.
void print_device_profile(std::ostream& out);

/// The same as one JSON object; "null" where there is nothing.
std::string device_profile_json();

}  // namespace attention
