// bench as its user meets it without a GPU. Where there is one, it is hidden.
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "catch.hpp"

namespace {

struct Run {
  int exit_code;
  std::string out;
};

// The output has standard error too.
Run run(const std::string& arguments) {
  const std::string command =
      fmt::format("CUDA_VISIBLE_DEVICES= {}/bench {} 2>&1", ATTENTION_BIN_DIR, arguments);
  FILE* pipe = popen(command.c_str(), "r");
  REQUIRE(pipe);
  std::string out;
  char buffer[4096];
  while (std::fgets(buffer, sizeof buffer, pipe)) out += buffer;
  const int status = pclose(pipe);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, out};
}

std::size_t lines(const std::string& text) {
  return std::size_t(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("the list of benchmarks needs no device") {
  const Run all = run("--benchmark_list_tests");
  CHECK(all.exit_code == 0);
  CHECK_THAT(all.out, Catch::Contains("01_naive/one_pass/B1_H8_S512_D64/chain/") &&
                          Catch::Contains("01_naive/unfused/B1_H8_S512_D64_causal/streams/") &&
                          Catch::Contains("02_tiled/l2_persist/B1_H8_S4096_D64/chain/") &&
                          Catch::Contains("floor/empty_kernel/G128_T256/cold/"));
  CHECK_THAT(all.out, !Catch::Contains("02_tiled/wide/B1_H8_S4096_D64"));
  const Run quick = run("--quick --benchmark_list_tests");
  CHECK_THAT(quick.out, Catch::Contains("02_tiled/wide/B1_H8_S512_D64/chain/") && !Catch::Contains("single"));
  const Run one = run("--shape=B1_H8-2_S17x257_D64 --benchmark_list_tests --benchmark_filter=one_pass");
  CHECK(lines(one.out) == 4);
  CHECK_THAT(one.out, Catch::Contains("01_naive/one_pass/B1_H8-2_S17x257_D64/single/"));
}

TEST_CASE("bad input to bench is one line and exit code 2") {
  for (const char* arguments : {"--nope", "--shape=B1", "--largest-call-ms=x", "extra",
                                "--benchmark_list_tests --benchmark_filter=no_such_stage"}) {
    const Run result = run(arguments);
    CAPTURE(arguments, result.out);
    CHECK(result.exit_code == 2);
    CHECK(lines(result.out) == 1);
  }
}

TEST_CASE("without a GPU bench says so in one line and exits 3") {
  const Run result = run("--quick");
  CAPTURE(result.out);
  CHECK(result.exit_code == 3);
  CHECK(lines(result.out) == 1);
}
