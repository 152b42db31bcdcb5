#include "page.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "attention/error.hpp"
#include "attention/text.hpp"
#include "page_files.hpp"

namespace attention::bench {
namespace {

using Json = nlohmann::ordered_json;

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json();
}

const char* word(Kind kind) {
  switch (kind) {
    case Kind::stage:
      return "stage";
    case Kind::library:
      return "library";
    case Kind::floor:
      return "floor";
    case Kind::ceiling:
      return "ceiling";
  }
  return "";
}

// A label for each file: the chip's name where these differ,
// else chip and commit where those do, else the file's name.
std::vector<std::string> labels(const std::vector<Results>& all) {
  const auto all_differ = [](const std::vector<std::string>& names) {
    return std::set<std::string>(names.begin(), names.end()).size() == names.size();
  };
  std::vector<std::string> chips, commits, files;
  for (const Results& results : all) {
    chips.push_back(results.about("gpu"));
    commits.push_back(fmt::format("{} {:.8}", results.about("gpu"), results.about("commit")));
    files.push_back(results.file);
  }
  return all_differ(chips) ? chips : all_differ(commits) ? commits : files;
}

}  // namespace

bool is_run(const Json& json) {
  return json.is_object() && json.contains("device") && json.contains("results");
}

Json page_data_of_run(const Json& run, const std::string& file) {
  try {
    Json rows = Json::array();
    for (const Json& result : run.at("results")) {
      Json counters = Json::object();
      if (result.contains("profile") && result["profile"].is_object()) {
        counters = result["profile"].at("total");
      }
      rows.push_back({{"stage", result.at("stage")},
                      {"variant", result.at("variant")},
                      {"verdict", result.at("verdict")},
                      {"error", result.value("error", Json())},
                      {"allowed", result.value("allowed", Json())},
                      {"us", result.value("median_us", Json())},
                      {"counters", counters}});
    }
    const Json& sizes = run.at("problem");
    const Problem problem({.batch = sizes.at("batch"),
                           .heads = sizes.at("heads"),
                           .kv_heads = sizes.at("kv_heads").get<int>(),
                           .seq_q = sizes.at("seq_q"),
                           .seq_kv = sizes.at("seq_kv").get<int>(),
                           .head_dim = sizes.at("head_dim"),
                           .causal = sizes.at("causal")});
    return {{"problem", describe(problem)},
            {"device", run.at("device").at("name")},
            {"emulated", run.at("device").at("emulated")},
            {"rows", rows}};
  } catch (const Json::exception& error) {
    throw InvalidInput(fmt::format("{}: not a run of this project's programs: {}", file, error.what()));
  }
}

Json page_data_of_results(const Results& results, const std::string& label) {
  Json rows = Json::array(), not_measured = Json::array(), about;
  for (const Measurement& measurement : results.measurements) {
    Json row = {{"kind", word(measurement.kind)},
                {"who", measurement.name.who},
                {"variant", measurement.name.variant},
                {"shape", measurement.name.shape},
                {"mode", measurement.name.mode},
                {"idea", measurement.idea},
                {"us", measurement.median_us},
                {"p10", measurement.p10_us},
                {"p90", measurement.p90_us},
                {"tflops", or_null(measurement.tflops)},
                {"gbs", or_null(measurement.gbytes_per_s)},
                {"floor", or_null(measurement.floor_us)}};
    if (const auto& problem = measurement.problem) {
      row["heads"] = problem->heads;
      row["seq_q"] = problem->seq_q;
      row["head_dim"] = problem->head_dim;
      row["causal"] = problem->causal;
      row["flop"] = problem->flop();
      row["bytes"] = compulsory_bytes(*problem);
    }
    rows.push_back(std::move(row));
  }
  for (const NotMeasured& entry : results.not_measured) {
    not_measured.push_back({{"name", join(entry.name)}, {"reason", entry.reason}});
  }
  for (const char* key : {"gpu", "driver", "cuda", "commit", "dirty", "date", "command", "libraries",
                          "state_before", "state_after"}) {
    about[key] = results.about(key);
  }
  return {{"file", results.file},
          {"label", label},
          {"about", about},
          {"rows", rows},
          {"not_measured", not_measured}};
}

void write_page(const std::filesystem::path& folder, const std::vector<Results>& results, const Json& runs) {
  if (!std::filesystem::is_regular_file(kChartJs)) {
    throw InvalidInput(
        "Chart.js is not installed, so there is no page: apt-get install libjs-chart.js, then build again");
  }
  Json data = {{"results", Json::array()}, {"runs", runs}};
  const std::vector<std::string> names = labels(results);
  for (std::size_t i = 0; i < results.size(); ++i) {
    data["results"].push_back(page_data_of_results(results[i], names[i]));
  }
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw InvalidInput(fmt::format("cannot make the folder {}: {}", folder.string(), error.message()));
  }
  write_whole_file(folder / "chart.min.js", read_text(kChartJs));
  write_whole_file(folder / "data.js", fmt::format("window.attentionData = {};\n", data.dump()));
  write_whole_file(folder / "report.css", kReportCss);
  write_whole_file(folder / "report.js", kReportJs);
  write_whole_file(folder / "index.html", kIndexHtml);
}

}  // namespace attention::bench
