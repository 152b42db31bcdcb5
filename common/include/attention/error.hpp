#pragma once

#include <functional>
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

/// Runs the body of a program and gives its exit code. What it throws becomes one line on stderr and the code
/// that belongs to it: InvalidInput and a lack of host memory 2, NoDevice 3, anything else 1.
int run_program(const std::function<ExitCode()>& body);

}  // namespace attention
