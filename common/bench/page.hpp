#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "results.hpp"

namespace attention::bench {

/// True for what a stage's program writes with `--json`, false for benchmark results.
bool is_run(const nlohmann::ordered_json& json);

/// What the page shows of a run: the problem, the device, and for each variant
/// its verdict and error, its time if any and the emulated device's counters
/// if any. @throws InvalidInput naming the file where a field is missing.
nlohmann::ordered_json page_data_of_run(const nlohmann::ordered_json& run, const std::string& file);

/// What the page shows of a results file; `label` distinguishes it from others on the page.
nlohmann::ordered_json page_data_of_results(const Results& results, const std::string& label);

/// Writes a page of charts to `folder`, which it creates: index.html and all that it loads, so the page works
/// from disk. Several results are shown side by side. @throws InvalidInput where Chart.js is missing, saying
/// how to install it, or where the folder cannot be written.
void write_page(const std::filesystem::path& folder, const std::vector<Results>& results,
                const nlohmann::ordered_json& runs);

}  // namespace attention::bench
