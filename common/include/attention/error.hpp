#pragma once

#include <functional>
#include <stdexcept>

namespace attention {

/// Exit codes of all programs in this repository.
enum class ExitCode { right = 0, wrong_result = 1, bad_input = 2, no_device = 3 };

/// The user gave something that cannot be used; what() is one line that says what we got and what is allowed.
struct InvalidInput : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// No device of the kind that this program was built for answers.
struct NoDevice : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A CUDA call failed; what() has the file, the line, the expression and the runtime's message.
struct CudaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Runs the body of a program and returns its exit code. An exception becomes one line on stderr and a code:
/// 2 for InvalidInput and for too little host memory, 3 for NoDevice, 1 for anything else.
int run_program(const std::function<ExitCode()>& body);

}  // namespace attention
