#include "results.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "attention/error.hpp"

namespace attention::bench {
namespace {

using Json = nlohmann::ordered_json;

Kind kind_of(const std::string& who) {
  if (who == "pytorch") return Kind::library;
  if (who == "floor") return Kind::floor;
  if (who == "ceiling") return Kind::ceiling;
  return Kind::stage;
}

std::optional<double> microseconds_per(const std::string& unit) {
  if (unit == "ns") return 1e-3;
  if (unit == "us") return 1.0;
  if (unit == "ms") return 1e3;
  if (unit == "s") return 1e6;
  return {};
}

std::optional<double> number(const Json& row, const char* key) {
  const auto found = row.find(key);
  if (found == row.end() || !found->is_number()) return {};
  return found->get<double>();
}

std::string text(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace

const Measurement* Results::find(const Name& name) const {
  const auto found =
      std::find_if(measurements.begin(), measurements.end(),
                   [&](const Measurement& measurement) { return join(measurement.name) == join(name); });
  return found == measurements.end() ? nullptr : &*found;
}

std::string Results::about(const std::string& key) const {
  const auto found = context.find(key);
  return found == context.end() || found->second.empty() ? "unknown" : found->second;
}

Results parse_results(const Json& json, const std::string& file) {
  const auto fail = [&](const std::string& what) { throw InvalidInput(fmt::format("{}: {}", file, what)); };
  const auto part = [&](const char* key) {
    return json.is_object() && json.contains(key) ? json[key] : Json();
  };
  const Json context = part("context"), rows = part("benchmarks");
  if (!context.is_object() || !rows.is_array()) {
    fail("not a results file of Google Benchmark: it has no \"context\" and \"benchmarks\"");
  }
  Results results{file, {}, {}, {}};
  for (const auto& [key, value] : context.items()) {
    if (value.is_string()) results.context[key] = value.get<std::string>();
  }
  if (!results.context.contains("gpu")) fail("not results of this project's bench: no GPU in the context");

  std::string unit;
  std::map<std::string, std::vector<Measurement>> repetitions;
  std::vector<std::string> order;
  for (const Json& row : rows) {
    if (text(row, "run_type") == "aggregate") continue;
    const std::string full_name = text(row, "name");
    const std::optional<Name> name = split(full_name);
    if (!name) {
      fail(fmt::format("'{}' is not named stage/variant/shape/mode, so it is not from this project's bench",
                       full_name));
    }
    if (const auto failed = row.find("error_occurred"); failed != row.end() && *failed == true) {
      results.not_measured.push_back({*name, text(row, "error_message")});
      continue;
    }
    const std::string own_unit = text(row, "time_unit");
    const std::optional<double> to_us = microseconds_per(own_unit);
    if (!to_us) fail(fmt::format("'{}' has no time unit (ns, us, ms or s)", full_name));
    if (!unit.empty() && unit != own_unit) {
      fail(fmt::format("it has times in {} and in {}; a file has one unit of time", unit, own_unit));
    }
    unit = own_unit;
    const std::optional<double> time = number(row, "real_time"), p10 = number(row, "p10_us"),
                                p90 = number(row, "p90_us");
    if (!time || !p10 || !p90) fail(fmt::format("'{}' lacks a real_time, p10_us or p90_us", full_name));
    if (!(*time > 0 && std::isfinite(*time))) {
      fail(fmt::format("'{}' has a time that is not a positive number", full_name));
    }
    const Kind kind = kind_of(name->who);
    const bool has_problem = kind == Kind::stage || kind == Kind::library;
    const std::string key = join(*name);
    if (!repetitions.contains(key)) order.push_back(key);
    repetitions[key].push_back(
        {.kind = kind,
         .name = *name,
         .problem = has_problem ? std::optional(parse_shape(name->shape)) : std::nullopt,
         .idea = text(row, "label"),
         .median_us = *time * *to_us,
         .p10_us = *p10,
         .p90_us = *p90,
         .tflops = number(row, "TFLOP/s"),
         .gbytes_per_s = number(row, "GB/s"),
         .floor_us = number(row, "floor_us")});
  }
  for (const std::string& key : order) {
    std::vector<Measurement>& runs = repetitions[key];
    const auto middle = runs.begin() + std::ptrdiff_t(runs.size() / 2);
    std::nth_element(runs.begin(), middle, runs.end(),
                     [](const Measurement& a, const Measurement& b) { return a.median_us < b.median_us; });
    results.measurements.push_back(*middle);
  }
  if (results.measurements.empty()) fail("no benchmark in it has a time");
  return results;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw InvalidInput(fmt::format("cannot read {}", path.string()));
  return text.str();
}

Results read_results(const std::filesystem::path& path) {
  const Json json = Json::parse(read_text(path), nullptr, false);
  if (json.is_discarded()) throw InvalidInput(fmt::format("{} is not JSON", path.string()));
  return parse_results(json, path.filename());
}

std::vector<Results> read_all_results(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> paths;
  if (std::filesystem::is_directory(folder)) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      if (entry.path().extension() == ".json") paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Results> all;
  for (const std::filesystem::path& path : paths) all.push_back(read_results(path));
  return all;
}

}  // namespace attention::bench
