// A stage's program as its user meets it: exit codes, one line on stderr, files.
#include <fmt/format.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "attention/inputs.hpp"
#include "attention/npy.hpp"
#include "catch.hpp"

using namespace attention;

namespace {

struct Run {
  int exit_code;
  std::string out, err;
};

// A temporary folder, deleted with this object.
struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attention_cli_XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Scratch() { std::filesystem::remove_all(path); }
};

std::string contents(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

// Runs bin/01_naive; the shape is small unless `arguments` says otherwise.
Run run(const std::string& arguments) {
  const Scratch scratch;
  const std::string command =
      fmt::format("{}/01_naive --no-time {} >{out}/out 2>{out}/err </dev/null", ATTENTION_BIN_DIR, arguments,
                  fmt::arg("out", scratch.path.string()));
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, contents(scratch.path / "out"),
          contents(scratch.path / "err")};
}

const std::string kSmall = "--heads 2 --seq-q 9 --seq-kv 21 --head-dim 32 ";

std::size_t lines(const std::string& text) {
  return std::size_t(std::count(text.begin(), text.end(), '\n'));
}

void save(const std::filesystem::path& path, std::array<int, 4> shape, std::uint64_t seed) {
  const Problem problem({.batch = shape[0], .heads = shape[1], .seq_q = shape[2], .head_dim = shape[3]});
  write_npy(path, shape, make_inputs(problem, Distribution::normal, seed).q);
}

}  // namespace

TEST_CASE("a right result exits 0 and prints a row per variant") {
  const Run all = run(kSmall);
  CHECK(all.exit_code == 0);
  CHECK(all.err == "");
  CHECK_THAT(all.out, Catch::Contains("unfused") && Catch::Contains("one_pass") && Catch::Contains("right"));

  const Run one = run(kSmall + "--variant one_pass --causal --seed 9 --scale 0.3");
  CHECK(one.exit_code == 0);
  CHECK_THAT(one.out, Catch::Contains("one_pass") && !Catch::Contains("unfused"));
  CHECK_THAT(run(kSmall + "--no-check").out, Catch::Contains("not checked"));
}

TEST_CASE("the list and the help need no device and exit 0") {
  CHECK_THAT(run("--list").out, Catch::Contains("one_pass") && Catch::Contains("running maximum"));
  const Run help = run("--help");
  CHECK(help.exit_code == 0);
  CHECK_THAT(help.out, Catch::Contains("--kv-heads") && Catch::Contains("Exit codes"));
}

TEST_CASE("bad input exits 2 with one line that says what was got and what is allowed") {
  struct Case {
    const char *arguments, *got, *allowed;
  };
  const Case cases[] = {
      {"--head-dim 80", "got 80", "32, 64, 96 or 128"},
      {"--seq-q 0", "0", "at least 1"},
      {"--batch -3", "-3", "at least 1"},
      {"--heads 6 --kv-heads 4", "4", "multiple"},
      {"--seq-q abc", "abc", "--seq-q"},
      {"--scale nan", "nan", "finite"},
      {"--variant nope", "nope", "unfused, one_pass or all"},
      {"--no-such-option", "--no-such-option", "not expected"},
      {"--variant unfused --seq-q 2000000 --seq-kv 2000000 --heads 1", "workspace", "free"},
      {"--seq-q 2147483647 --seq-kv 1 --heads 1 --head-dim 64", "2147483647", "2^31"},
      {"--q q.npy", "--q", "equires"},
      {"--variant all --out o.npy", "2", "--variant"},
      {"--q missing.npy --k missing.npy --v missing.npy", "missing.npy", "cannot"},
      {"--q a --k a --v a --seq-q 4", "--seq-q", "excludes"},
      {"--json /nowhere/x.json --seq-q 4 --variant one_pass", "/nowhere/x.json", "folder"},
      {"--out /nowhere/o.npy --seq-q 4", "/nowhere/o.npy", "folder"},
  };
  for (const Case& c : cases) {
    const Run result = run(c.arguments);
    CAPTURE(c.arguments, result.out, result.err);
    CHECK(result.exit_code == 2);
    CHECK(lines(result.err) == 1);
    CHECK_THAT(result.err, Catch::Contains(c.got) && Catch::Contains(c.allowed));
  }
}

TEST_CASE("tensors come from files and go to one") {
  const Scratch scratch;
  const std::string q = scratch.path / "q.npy", k = scratch.path / "k.npy", v = scratch.path / "v.npy",
                    o = scratch.path / "o.npy";
  save(q, {2, 4, 9, 32}, 1);
  save(k, {2, 2, 21, 32}, 2);
  save(v, {2, 2, 21, 32}, 3);
  const auto run_files = [&](const std::string& output) {
    return run(fmt::format("--q {} --k {} --v {} --out {}", q, k, v, output));
  };
  const Run result = run_files(o);
  CAPTURE(result.out, result.err);
  REQUIRE(result.exit_code == 0);
  CHECK_THAT(result.out, Catch::Contains("one_pass") && !Catch::Contains("unfused"));  // the default variant
  CHECK(read_npy(o).shape == std::array<int, 4>{2, 4, 9, 32});

  save(v, {2, 2, 20, 32}, 3);
  const Run mismatched = run_files(o + "2");
  CHECK(mismatched.exit_code == 2);
  CHECK_THAT(mismatched.err, Catch::Contains("[2, 2, 21, 32]") && Catch::Contains("[2, 2, 20, 32]"));
  CHECK_FALSE(std::filesystem::exists(o + "2"));

  std::filesystem::resize_file(v, 300);
  const Run truncated = run_files(o);
  CHECK(truncated.exit_code == 2);
  CHECK(lines(truncated.err) == 1);
  CHECK_THAT(truncated.err, Catch::Contains("v.npy"));
}

TEST_CASE("results go to a JSON file") {
  const Scratch scratch;
  const std::string file = scratch.path / "r.json";
  REQUIRE(run(kSmall + "--json " + file).exit_code == 0);
  const nlohmann::json json = nlohmann::json::parse(contents(file));
  CHECK(json["problem"]["seq_kv"] == 21);
  REQUIRE(json["results"].size() == 2);
  for (const auto& row : json["results"]) {
    CHECK(row["verdict"] == "right");
    CHECK(row["error"] <= row["allowed"]);
    CHECK(row["row_error"] <= row["row_allowed"]);
    CHECK_FALSE(row.contains("median_us"));
  }
}

TEST_CASE("NaN among the inputs is no error") {
  const Scratch scratch;
  const std::string q = scratch.path / "q.npy", k = scratch.path / "k.npy";
  save(k, {1, 1, 8, 32}, 2);
  std::vector<half> values(8 * 32, __ushort_as_half(0x7e00));
  const int shape[] = {1, 1, 8, 32};
  write_npy(q, shape, values);
  CHECK(run(fmt::format("--q {} --k {} --v {}", q, k, k)).exit_code == 0);
}
