// Results files, and the names, tables and pages made of them.
#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "attention/error.hpp"
#include "attention/text.hpp"
#include "attention/timing.hpp"
#include "catch.hpp"
#include "names.hpp"
#include "page.hpp"
#include "results.hpp"
#include "tables.hpp"

using namespace attention;
using namespace attention::bench;
using Json = nlohmann::ordered_json;

namespace {

struct Scratch {
  std::filesystem::path path;
  Scratch() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attention_report_XXXXXX").string();
    path = mkdtemp(pattern.data());
  }
  ~Scratch() { std::filesystem::remove_all(path); }
};

Json row(const std::string& name, double time, const std::string& unit = "us") {
  return {{"name", name + "/iterations:1/manual_time"},
          {"run_type", "iteration"},
          {"real_time", time},
          {"time_unit", unit},
          {"p10_us", 0.9 * time},
          {"p90_us", 1.1 * time},
          {"TFLOP/s", 536.870912 / time},
          {"label", "an idea"}};
}

Json file(std::vector<Json> rows) {
  return {
      {"context", {{"gpu", "Example GPU"}, {"commit", "0123456789abcdef"}, {"date", "2020-01-02T03:04:05"}}},
      {"benchmarks", rows}};
}

std::string complaint(const Json& json) {
  try {
    parse_results(json, "r.json");
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "none";
}

const std::string kLadder = "/B1_H8_S512_D64/chain";

// Two stages, two libraries and the floor on the headline shape.
Json small_ladder() {
  return file({row("floor/empty_kernel/G128_T256/chain", 0.6), row("pytorch/flash" + kLadder, 10),
               row("pytorch/cudnn" + kLadder, 8), row("01_naive/unfused" + kLadder, 1200),
               row("01_naive/one_pass" + kLadder, 100), row("02_tiled/padded" + kLadder, 40),
               row("02_tiled/padded/B1_H8_S512_D64/single", 42)});
}

struct Run {
  int exit_code;
  std::string out, err;
};

Run run(const std::string& program_and_arguments) {
  const Scratch scratch;
  const std::string command = fmt::format("{}/{} >{out}/out 2>{out}/err </dev/null", ATTENTION_BIN_DIR,
                                          program_and_arguments, fmt::arg("out", scratch.path.string()));
  const int status = std::system(command.c_str());
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, read_text(scratch.path / "out"),
          read_text(scratch.path / "err")};
}

std::size_t lines(const std::string& text) {
  return std::size_t(std::count(text.begin(), text.end(), '\n'));
}

// A repository with results, a README and one stage.
void make_repository(const std::filesystem::path& root, const Json& results) {
  std::filesystem::create_directories(root / "docs/results");
  std::filesystem::create_directories(root / "stages/02_tiled");
  write_whole_file(root / "docs/results/example.json", results.dump());
  write_whole_file(root / "README.md", "# Top\n\n<!-- results: ladder -->\n<!-- /results -->\n\nafter\n");
  write_whole_file(root / "stages/02_tiled/README.md",
                   "before\n<!-- results: 02_tiled -->\nold\n<!-- /results -->\n");
}

}  // namespace

TEST_CASE("the table of large shapes has a column per length and compares our best with the best library") {
  const Results results = parse_results(
      file({row("04_fused/fitted/B1_H8_S512_D64/chain", 5), row("pytorch/cudnn/B2_H32_S8192_D64/chain", 300),
            row("04_fused/fitted/B2_H32_S8192_D64/chain", 400),
            row("05_tuned/chosen/B2_H32_S8192_D64/chain", 200),
            row("05_tuned/ping_pong/B2_H32_S8192_D64/chain", 250),
            row("05_tuned/chosen/B1_H32_S16384_D64_causal/chain", 100)}),
      "r.json");
  const std::string text = block("large", {results}, "");
  CHECK(text.find("| D=64, TFLOP/s | S=8192 | S=16384 causal |") != std::string::npos);
  CHECK(text.find("| `pytorch/cudnn` | 1.79 | - |") != std::string::npos);
  CHECK(text.find("| `05_tuned/chosen` | 2.68 | 5.37 |") != std::string::npos);
  CHECK(text.find("| our best, of the best library | 150 % | - |") != std::string::npos);
  CHECK(text.find("D=128") == std::string::npos);
}

TEST_CASE("names of shapes read back as the problem they name") {
  for (const std::string shape :
       {"B1_H8_S512_D64", "B2_H32-4_S8192_D128_causal", "B1_H1_S17x257_D32", "B3_H6-2_S9x4_D96"}) {
    CHECK(shape_name(parse_shape(shape)) == shape);
  }
  const Problem problem = parse_shape("B2_H32-4_S17x257_D128_causal");
  CHECK(problem.batch == 2);
  CHECK(problem.heads == 32);
  CHECK(problem.kv_heads == 4);
  CHECK(problem.seq_q == 17);
  CHECK(problem.seq_kv == 257);
  CHECK(problem.head_dim == 128);
  CHECK(problem.causal);
  for (const char* wrong :
       {"", "B1", "B1_H8_S512", "B1_H8_S512_D64_", "B1_H8_S512_D64_causal_x", "b1_H8_S512_D64",
        "B1_H8_S512x_D64", "B_H8_S512_D64", "B99999999999_H8_S512_D64"}) {
    CHECK_THROWS_AS(parse_shape(wrong), InvalidInput);
  }
  CHECK_THROWS_AS(parse_shape("B0_H8_S512_D64"), InvalidInput);
}

TEST_CASE("a benchmark's name comes apart and together again") {
  const auto name = split("02_tiled/wide/B1_H8_S512_D64/cold/iterations:1/manual_time");
  REQUIRE(name);
  CHECK(join(*name) == "02_tiled/wide/B1_H8_S512_D64/cold");
  CHECK_FALSE(split("BM_memcpy/8"));
  CHECK_FALSE(split("a//b/c"));
  CHECK_FALSE(split(""));
}

TEST_CASE("what is measured keeps its names") {
  const auto names = [](bool quick) {
    std::vector<std::string> list;
    for (const Case& c : plan(quick)) list.push_back(shape_name(c.problem));
    return list;
  };
  CHECK(names(true) == std::vector<std::string>{"B1_H8_S512_D64"});
  CHECK(names(false) ==
        std::vector<std::string>{
            "B1_H8_S512_D64",           "B1_H8_S512_D64_causal",    "B1_H8_S128_D64",
            "B1_H8_S256_D64",           "B1_H8_S1024_D64",          "B1_H8_S2048_D64",
            "B1_H8_S4096_D64",          "B1_H8_S8192_D64",          "B1_H8_S16384_D64",
            "B8_H32_S2048_D64",         "B8_H32_S2048_D64_causal",  "B2_H32_S8192_D64",
            "B2_H32_S8192_D64_causal",  "B1_H32_S16384_D64",        "B1_H32_S16384_D64_causal",
            "B8_H16_S2048_D128",        "B8_H16_S2048_D128_causal", "B2_H16_S8192_D128",
            "B2_H16_S8192_D128_causal", "B1_H16_S16384_D128",       "B1_H16_S16384_D128_causal"});
  CHECK(name(Mode::chain) == "chain");
  CHECK(name(Mode::single) == "single");
  CHECK(name(Mode::cold) == "cold");
  CHECK(name(Mode::streams) == "streams");
}

TEST_CASE("median and percentiles are those of the sorted times") {
  std::vector<double> times;
  for (int i = 0; i <= 100; ++i) times.push_back((i * 37) % 101);  // 0 to 100, shuffled
  const Timing timing = summarize(times, 7);
  CHECK(timing.median_us == 50);
  CHECK(timing.p10_us == 10);
  CHECK(timing.p90_us == 90);
  CHECK(timing.launches == 7);
  CHECK(timing.replays == 101);
  CHECK(summarize({3.5}, 1).p90_us == 3.5);
}

TEST_CASE("results come from Google Benchmark's JSON") {
  Json json = file({row("01_naive/one_pass" + kLadder, 129.5)});
  json["benchmarks"][0]["floor_us"] = 0.96;
  json["benchmarks"].push_back({{"name", "01_naive/unfused" + kLadder + "/iterations:1/manual_time"},
                                {"error_occurred", true},
                                {"error_message", "wrong result: row 3"}});
  const Results results = parse_results(json, "r.json");
  REQUIRE(results.measurements.size() == 1);
  const Measurement& measurement = results.measurements.front();
  CHECK(measurement.kind == Kind::stage);
  CHECK(measurement.median_us == 129.5);
  CHECK(measurement.floor_us == 0.96);
  REQUIRE(measurement.problem);
  CHECK(measurement.problem->seq_q == 512);
  REQUIRE(results.not_measured.size() == 1);
  CHECK(results.not_measured.front().reason == "wrong result: row 3");
  CHECK(results.about("gpu") == "Example GPU");
  CHECK(results.about("driver") == "unknown");
  CHECK(results.find({"01_naive", "one_pass", "B1_H8_S512_D64", "chain"}) == &measurement);
  CHECK(results.find({"01_naive", "one_pass", "B1_H8_S512_D64", "cold"}) == nullptr);
}

TEST_CASE("one unit of time is converted, two are refused") {
  CHECK(parse_results(file({row("01_naive/a" + kLadder, 1500, "ns")}), "r").measurements[0].median_us == 1.5);
  CHECK(parse_results(file({row("01_naive/a" + kLadder, 1.5, "ms")}), "r").measurements[0].median_us == 1500);
  CHECK_THAT(complaint(file({row("01_naive/a" + kLadder, 1), row("01_naive/b" + kLadder, 1, "ms")})),
             Catch::Contains("r.json") && Catch::Contains("us") && Catch::Contains("ms"));
}

TEST_CASE("of several repetitions the middle one counts, and aggregates are passed over") {
  Json json =
      file({row("01_naive/a" + kLadder, 9), row("01_naive/a" + kLadder, 5), row("01_naive/a" + kLadder, 7)});
  Json mean = row("01_naive/a" + kLadder, 99);
  mean["run_type"] = "aggregate";
  mean["name"] = "01_naive/a" + kLadder + "/iterations:1/manual_time_mean";
  json["benchmarks"].push_back(mean);
  const Results results = parse_results(json, "r.json");
  REQUIRE(results.measurements.size() == 1);
  CHECK(results.measurements.front().median_us == 7);
}

TEST_CASE("JSON from elsewhere is refused in one line") {
  const Json foreign = {{"context", {{"date", "x"}}}, {"benchmarks", Json::array({row("BM_memcpy/8", 1)})}};
  Json other_names = file({row("BM_memcpy/8", 1)});
  Json no_counters = file({row("01_naive/a" + kLadder, 1)});
  no_counters["benchmarks"][0].erase("p10_us");
  Json no_unit = file({row("01_naive/a" + kLadder, 1, "fortnight")});
  for (const Json& json :
       {Json(), Json(3), Json::array(), Json::object(), foreign, other_names, no_counters, no_unit,
        file({row("01_naive/a" + kLadder, 0)}), file({row("01_naive/a" + kLadder, -1)}), file({}),
        file({row("01_naive/a/B1_H8/chain", 1)}), file({Json(3)})}) {
    CAPTURE(json.dump());
    CHECK(complaint(json) != "none");
    CHECK(lines(complaint(json)) == 0);
  }
}

TEST_CASE("a block says what was measured, where and by which command") {
  const std::vector<Results> all = {parse_results(small_ladder(), "example.json")};
  const std::string ladder = block("ladder", all, "");
  CHECK_THAT(ladder, Catch::Contains(
                         "| 01_naive | `one_pass` | an idea | 100 | 90.0 - 110 | 12.0x | 5.37 | 8.0 % |"));
  CHECK_THAT(ladder,
             Catch::Contains("| 02_tiled | `padded` | an idea | 40.0 | 36.0 - 44.0 | 2.50x | 13.4 | 20 % |"));
  CHECK_THAT(ladder, Catch::Contains("| library | `cudnn` |") && Catch::Contains("`0123456789ab`") &&
                         Catch::Contains("docs/scripts/record.sh") && Catch::Contains("](docs/ladder.svg)"));
  const std::string stage = block("02_tiled", all, "../../");
  CHECK_THAT(stage, Catch::Contains("| `01_naive/one_pass` |") &&
                        Catch::Contains("| `padded` | 40.0 | - | 42.0 | - | - | - |"));
  CHECK_THAT(stage, !Catch::Contains("unfused"));
  CHECK_THAT(block("04_fused", all, ""), Catch::Contains("Not measured yet"));
  CHECK(lines(block("ladder", {}, "")) == 1);
}

TEST_CASE("only blocks of a document change") {
  const std::vector<Results> none;
  const std::string nothing = block("ladder", none, "");
  CHECK(with_blocks("no block\n", "f", none) == "no block\n");
  CHECK(with_blocks("a\n<!-- results: ladder -->\nold\n<!-- /results -->\nb\n<!-- results: shapes -->\n<!-- "
                    "/results -->c",
                    "f", none) == "a\n<!-- results: ladder -->\n" + nothing +
                                      "<!-- /results -->\nb\n<!-- results: shapes -->\n" + nothing +
                                      "<!-- /results -->c");
  CHECK_THROWS_AS(with_blocks("<!-- results: ladder -->\n", "f", none), InvalidInput);
  CHECK_THROWS_AS(with_blocks("<!-- results: laddder -->\n<!-- /results -->", "f", none), InvalidInput);
  CHECK_THROWS_AS(
      with_blocks("<!-- results: ladder -->\n<!-- results: shapes -->\n<!-- /results -->", "f", none),
      InvalidInput);
}

TEST_CASE("stale tables are found, and mended by one command") {
  const Scratch scratch;
  make_repository(scratch.path, small_ladder());
  const std::string root = " --root " + scratch.path.string();
  const bool can_draw = std::system("gnuplot --version >/dev/null 2>&1") == 0;

  const Run stale = run("report --check" + root);
  CHECK(stale.exit_code == 1);
  CHECK_THAT(stale.out, Catch::Contains("README.md") && Catch::Contains("report --update"));
  const Run update = run("report --update" + root);
  CAPTURE(update.out, update.err);
  if (!can_draw) {
    CHECK(update.exit_code == 2);
    CHECK_THAT(update.err, Catch::Contains("gnuplot-nox"));
    return;
  }
  REQUIRE(update.exit_code == 0);
  CHECK(run("report --check" + root).exit_code == 0);
  CHECK_THAT(read_text(scratch.path / "README.md"),
             Catch::Contains("one_pass") && Catch::Contains("\nafter\n"));
  CHECK_THAT(read_text(scratch.path / "docs/ladder.svg"),
             Catch::Contains("</svg>") && Catch::Contains("one_pass"));

  Json newer = small_ladder();
  newer["benchmarks"][4]["real_time"] = 99.0;
  write_whole_file(scratch.path / "docs/results/example.json", newer.dump());
  CHECK(run("report --check" + root).exit_code == 1);
  CHECK(run("report --update" + root).exit_code == 0);
  std::filesystem::remove(scratch.path / "docs/ladder.svg");
  CHECK(run("report --check" + root).exit_code == 1);

  write_whole_file(scratch.path / "stages/02_tiled/README.md", "no block\n");
  const Run no_block = run("report --check" + root);
  CHECK(no_block.exit_code == 2);
  CHECK_THAT(no_block.err, Catch::Contains("02_tiled"));
}

TEST_CASE("report says what is wrong with its input in one line and exits 2") {
  const Scratch scratch;
  const auto save = [&](const char* name, const std::string& text) {
    write_whole_file(scratch.path / name, text);
    return (scratch.path / name).string();
  };
  const std::string page = " -o " + (scratch.path / "page").string();
  const std::string good = save("good.json", small_ladder().dump());
  const std::string half = small_ladder().dump();
  const std::string cases[] = {"",
                               "--nope",
                               good,
                               "--check --update",
                               page,
                               "/nowhere.json" + page,
                               scratch.path.string() + page,
                               save("half.json", half.substr(0, half.size() / 2)) + page,
                               save("empty.json", "") + page,
                               save("foreign.json", "{\"a\": 1}") + page,
                               save("run.json", R"({"device": {}, "results": [{}]})") + page,
                               good + " -o /proc/nowhere",
                               "--check --root /nowhere"};
  for (const std::string& arguments : cases) {
    const Run result = run("report " + arguments);
    CAPTURE(arguments, result.out, result.err);
    CHECK(result.exit_code == 2);
    CHECK(lines(result.err) == 1);
  }
  CHECK(run("report --help").exit_code == 0);
}

TEST_CASE("a page is made of results and of a run, side by side") {
  const Json run_of_stage = {{"device", {{"name", "emulated device"}, {"emulated", true}}},
                             {"problem",
                              {{"batch", 1},
                               {"heads", 8},
                               {"kv_heads", 8},
                               {"seq_q", 512},
                               {"seq_kv", 512},
                               {"head_dim", 64},
                               {"causal", false},
                               {"scale", 0.125}}},
                             {"results",
                              {{{"stage", "01_naive"},
                                {"variant", "one_pass"},
                                {"verdict", "right"},
                                {"profile", {{"total", {{"global_load_sectors", 12}}}}}}}}};
  REQUIRE(is_run(run_of_stage));
  const Json shown = page_data_of_run(run_of_stage, "run.json");
  CHECK(shown["problem"] == "B=1 H=8 S=512 D=64");
  CHECK(shown["rows"][0]["counters"]["global_load_sectors"] == 12);
  CHECK_FALSE(is_run(small_ladder()));

  const Json data = page_data_of_results(parse_results(small_ladder(), "example.json"), "a label");
  CHECK(data["label"] == "a label");
  REQUIRE(data["rows"].size() == 7);
  CHECK(data["rows"][3]["flop"] == 4.0 * 8 * 512 * 512 * 64);
  CHECK(data["rows"][3]["bytes"] == 4 * 8 * 512 * 64 * 2);
}
