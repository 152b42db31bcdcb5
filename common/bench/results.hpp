#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "attention/problem.hpp"
#include "names.hpp"

// Results files: Google Benchmark's JSON, as `bench` writes
// it, or as Google's tools have merged several of them.
namespace attention::bench {

enum class Kind { stage, library, floor, ceiling };

/// A benchmark that has a time.
struct Measurement {
  Kind kind;
  Name name;
  std::optional<Problem> problem;      ///< of stages and libraries
  std::string idea;                    ///< one line for tables
  double median_us, p10_us, p90_us;    ///< microseconds per call
  std::optional<double> tflops;        ///< TFLOP/s, with Problem::flop()
  std::optional<double> gbytes_per_s;  ///< GB/s, with compulsory_bytes()
  std::optional<double> floor_us;      ///< the same launches of empty kernels, microseconds per call
};

/// A benchmark that has none, and why.
struct NotMeasured {
  Name name;
  std::string reason;
};

struct Results {
  std::string file;  ///< its name, without folders
  /// The text fields of the file's context: gpu, driver, cuda, libraries, commit, command, date and others.
  std::map<std::string, std::string> context;
  std::vector<Measurement> measurements;  ///< each name once, in the file's order, the ladder's
  std::vector<NotMeasured> not_measured;

  /// The measurement with this name, or null.
  const Measurement* find(const Name& name) const;
  /// A value of the context, or "unknown".
  std::string about(const std::string& key) const;
};

/// Takes results from a parsed file; `file` is its name. Where a benchmark was repeated, the repetition with
/// the middle time counts.
/// @throws InvalidInput, one line that names the file, where it is not from `bench`
///   (no benchmarks, no GPU in the context, a name of another form, counters
///   missing), mixes units of time, or has a time that is not a positive number.
Results parse_results(const nlohmann::ordered_json& json, const std::string& file);

/// Reads a results file. @throws InvalidInput where it is
/// missing or is not JSON, and as parse_results() does.
Results read_results(const std::filesystem::path& path);

/// Reads every *.json of a folder, in the order of their names; none where there is no folder.
/// @throws InvalidInput as read_results() does.
std::vector<Results> read_all_results(const std::filesystem::path& folder);

/// The whole text of a file. @throws InvalidInput where it cannot be read.
std::string read_text(const std::filesystem::path& path);

}  // namespace attention::bench
