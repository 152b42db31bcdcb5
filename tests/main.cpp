// main of every test program. A test case without assertions fails, because
// it cannot find anything. The exit code is 1 whatever the number of failed
// tests, so that no count of failures looks like the code for "skipped".
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <fmt/format.h>

#include <cstdlib>
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
  // Set by attention_discover_tests() to "any" or to a compute capability.
  if (const char* needed = std::getenv("ATTENTION_TEST_NEEDS_DEVICE");
      needed && !only_lists_tests(argc, argv)) {
    try {
      const attention::Device device = attention::current_device();
      if (needed != std::string_view("any") && needed != std::to_string(device.compute_capability)) {
        fmt::print("skipped: needs compute capability {}, {} has {}\n", needed, device.name,
                   device.compute_capability);
        return kSkipped;
      }
    } catch (const attention::NoDevice& error) {
      fmt::print("skipped: {}\n", error.what());
      return kSkipped;
    }
  }
  Catch::Session session;
  session.configData().warnings = Catch::WarnAbout::NoAssertions;
  return session.run(argc, argv) == 0 ? 0 : 1;
}
