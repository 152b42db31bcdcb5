#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace emulator {

/// A line of source.
struct Place {
  std::string file;
  int line = 0;
};

/// Works out the lines of many return addresses at once (addr2line is another process), for place_of().
void find_places(const std::vector<std::uintptr_t>& return_addresses);

/// The line of kernel source that a return address stands for: of the inlined calls at that place the
/// innermost that is not one of the emulated device's own headers.
Place place_of(std::uintptr_t return_address);

/// The path relative to the working directory where it lies below it, else as it is.
std::string short_path(const std::string& path);

/// The text of a line without leading blanks, or "".
std::string source_text(const std::string& file, int line);

}  // namespace emulator
