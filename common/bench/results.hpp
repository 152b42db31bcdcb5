#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "attention/problem.hpp"
#include "names.hpp"

// Results files: Google Benchmark's JSON, as `bench` writes it and as tools of others may have merged it.
namespace attention::bench {

enum class Kind { stage, rival, floor, ceiling };

/// One benchmark that has a time.
struct Measurement {
  Kind kind;
  Name name;
  std::optional<Problem> problem;  ///< of stages and rivals
  std::string idea;
  double median_us, p10_us, p90_us;
  std::optional<double> tflops, gbytes_per_s, floor_us, of_best_rival;
};

/// One that has none, and why.
struct NotMeasured {
  Name name;
  std::string reason;
};

struct Results {
  std::string file;  ///< its name, without folders
  std::map<std::string, std::string>
      context;                            ///< what is text there: gpu, driver, cuda, commit, command, date
  std::vector<Measurement> measurements;  ///< in the file's order, which is the ladder's; a name comes once
  std::vector<NotMeasured> not_measured;

  /// The one with this name, or null.
  const Measurement* find(const Name& name) const;
  /// A value of the context, or "unknown".
  std::string about(const std::string& key) const;
};

/// Takes results from a parsed file. Where a benchmark was repeated, the repetition with the middle time
/// counts.
/// @throws InvalidInput, one line that names the file: not from `bench` (no benchmarks, no GPU in the
/// context, a name
///   of another form, counters missing), rows in different units of time, a time that is not a positive
///   number.
Results parse_results(const nlohmann::ordered_json& json, const std::string& file);

/// @throws InvalidInput where the file is missing or is not JSON, and as parse_results().
Results read_results(const std::filesystem::path& path);

/// Every *.json of a folder, by name; none where there is no folder.
std::vector<Results> read_all_results(const std::filesystem::path& folder);

/// A whole file's text. @throws InvalidInput where it cannot be read.
std::string read_text(const std::filesystem::path& path);

}  // namespace attention::bench
