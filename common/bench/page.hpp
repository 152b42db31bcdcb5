#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "results.hpp"

namespace attention::bench {

/// Does this file hold a run of a stage's program (`--json`) rather than benchmark results?
bool is_run(const nlohmann::ordered_json& json);

/// What the page shows of a run: problem, device, and a row a variant with verdict, error, time if any and
/// the emulated device's counters if any. @throws InvalidInput naming the file where a field is missing.
nlohmann::ordered_json page_data_of_run(const nlohmann::ordered_json& run, const std::string& file);

/// What the page shows of results; `label` tells them from others.
nlohmann::ordered_json page_data_of_results(const Results& results, const std::string& label);

/// Writes a page of charts to `folder`, which is made: index.html and what it loads, all beside it, so it
/// works from disk. Several results are shown side by side. @throws InvalidInput where Chart.js is missing,
/// with how to get it, or the folder cannot be written.
void write_page(const std::filesystem::path& folder, const std::vector<Results>& results,
                const nlohmann::ordered_json& runs);

}  // namespace attention::bench
