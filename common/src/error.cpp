#include "attention/error.hpp"

#include <iostream>
#include <new>

namespace attention {

int run_program(const std::function<ExitCode()>& body) {
  const auto fail = [](ExitCode code, const char* message) {
    std::cerr << "error: " << message << '\n';
    return int(code);
  };
  try {
    return int(body());
  } catch (const NoDevice& error) {
    return fail(ExitCode::no_device, error.what());
  } catch (const InvalidInput& error) {
    return fail(ExitCode::bad_input, error.what());
  } catch (const std::bad_alloc&) {
    return fail(ExitCode::bad_input, "not enough host memory");
  } catch (const std::exception& error) {
    return fail(ExitCode::wrong_result, error.what());
  }
}

}  // namespace attention
