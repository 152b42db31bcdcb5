#pragma once

namespace emulator {

/// A place in a kernel's source. As a default argument it names the place of the call.
struct Site {
  const char* file = nullptr;
  int line = 0;

  static constexpr Site here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

}  // namespace emulator
