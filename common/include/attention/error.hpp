#pragma once

#include <stdexcept>

namespace attention {

/// Exit codes of every program in this repository.
enum class ExitCode { right = 0, wrong_result = 1, bad_input = 2, no_device = 3 };

/// Something the user gave cannot be used; what() is one line that says what was got and what is allowed.
struct InvalidInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// No device of the kind this program was built for answers.
struct NoDevice : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A CUDA call failed; what() has the file, line, expression and the runtime's own words.
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace attention
