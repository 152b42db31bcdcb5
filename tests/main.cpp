// main of every test program. Exits 1 for failed tests whatever their number, so that no count of failures
// can be taken for the code that means "skipped".
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstdlib>
#include <iostream>
#include <string>
#include <string_view>

#include "attention/device.hpp"
#include "attention/error.hpp"

namespace {

constexpr int kSkipped = 77;  // SKIP_RETURN_CODE of attention_discover_tests()

bool only_lists_tests(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]).substr(0, 6) == "--list") return true;
  }
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  // "any", or the compute capability.
  if (const char* needed = std::getenv("ATTENTION_TEST_NEEDS_DEVICE");
      needed && !only_lists_tests(argc, argv)) {
    try {
      const attention::Device device = attention::current_device();
      if (needed != std::string_view("any") && needed != std::to_string(device.compute_capability)) {
        std::cout << "skipped: needs compute capability " << needed << ", " << device.name << " has "
                  << device.compute_capability << '\n';
        return kSkipped;
      }
    } catch (const attention::NoDevice& error) {
      std::cout << "skipped: " << error.what() << '\n';
      return kSkipped;
    }
  }
  return Catch::Session().run(argc, argv) == 0 ? 0 : 1;
}
