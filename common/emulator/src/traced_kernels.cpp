#include "traced_kernels.hpp"

#include <dlfcn.h>
#include <errno.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "attention/error.hpp"
#include "kernel_image.hpp"
#include "source_places.hpp"

namespace emulator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRestarted = "ATTENTION_TRACED_KERNELS";  // in the environment of a restarted program

// glibc gives constructors what it gives main(): so the command line is known without /proc.
char** arguments_of_main = nullptr;
__attribute__((constructor)) void keep_arguments(int, char** arguments, char**) {
  arguments_of_main = arguments;
}

// Where the emulated device's library is: lib/ of the build folder, with all plain kernels.
fs::path library_folder() {
  Dl_info info = {};
  dladdr(reinterpret_cast<const void*>(&need_traced_kernels), &info);
  std::error_code ignored;
  return fs::absolute(info.dli_fname ? info.dli_fname : "", ignored).parent_path();
}

// "traced_02_tiled" for the program of a stage; for others the library's own target.
std::string target_of(const std::string& library) {
  const std::string program = program_invocation_short_name;
  const bool of_a_stage = program.size() > 3 && std::isdigit(static_cast<unsigned char>(program[0])) &&
                          std::isdigit(static_cast<unsigned char>(program[1])) && program[2] == '_';
  if (of_a_stage) return "traced_" + program;
  return library.substr(3, library.size() - 6) + "_traced";  // without "lib" and ".so"
}

[[noreturn]] void refuse_unbuilt(const std::vector<std::string>& libraries, const fs::path& lib) {
#if defined(__SANITIZE_ADDRESS__)
  throw attention::InvalidInput(
      "a build with ATTENTION_SANITIZE has no traced kernels, so nothing can be "
      "checked or counted here");
#endif
  const std::string target = target_of(libraries.front());
  const bool of_a_stage = target.compare(0, 7, "traced_") == 0;
  const std::string more = libraries.size() == 1 ? "" : fmt::format(" (and {} more)", libraries.size() - 1);
  const std::string run =
      of_a_stage ? fmt::format(", as does `./run {} --profile`", target.substr(7)) : std::string();
  throw attention::InvalidInput(
      fmt::format("{}{} is not built, so its kernels cannot be checked or counted; "
                  "`cmake --build {} --target {}` builds it{}",
                  short_path((lib / "traced" / libraries.front()).string()), more,
                  short_path(lib.parent_path().string()), target, run));
}

[[noreturn]] void restart(const fs::path& traced) {
  const char* path = getenv("LD_LIBRARY_PATH");
  const std::string new_path = path && *path ? fmt::format("{}:{}", traced.string(), path) : traced.string();
  setenv("LD_LIBRARY_PATH", new_path.c_str(), 1);
  setenv(kRestarted, "1", 1);
  std::fflush(nullptr);
  const char* program = reinterpret_cast<const char*>(getauxval(AT_EXECFN));
  if (program && arguments_of_main) execv(program, arguments_of_main);
  throw attention::InvalidInput(fmt::format("cannot start {} again with traced kernels: {}",
                                            program ? program : "the program", strerror(errno)));
}

}  // namespace

void need_traced_kernels() {
  const fs::path lib = library_folder();
  const std::vector<std::string> plain = plain_kernel_libraries(lib.string());
  if (plain.empty()) {
    if (any_image_traced()) return;
    throw attention::InvalidInput("this program has no kernels that could be checked or counted");
  }
  std::vector<std::string> unbuilt;
  for (const std::string& library : plain) {
    if (!fs::exists(lib / "traced" / library)) unbuilt.push_back(library);
  }
  if (!unbuilt.empty()) refuse_unbuilt(unbuilt, lib);
  if (getenv(kRestarted)) {
    throw attention::InvalidInput(
        fmt::format("the program started again with LD_LIBRARY_PATH={}, and still loaded the plain {}",
                    (lib / "traced").string(), plain.front()));
  }
  restart(lib / "traced");
}

}  // namespace emulator
