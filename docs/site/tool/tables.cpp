// book_tables ROOT STAGES FOLDER: writes the tables that the chapters include to FOLDER, as HTML, for every
// stage of the build's list.
//
//   counts_<stage>.html      what the emulated device counted: ROOT/docs/results/counts/<stage>.json
//   prediction_<stage>.html  what ROOT/stages/<stage>/README.md predicts, with what was measured:
//                            ROOT/docs/results/*.json
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "text.hpp"

namespace book {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::string table(const std::vector<std::string>& head, const std::vector<std::vector<std::string>>& rows,
                  std::size_t words, const std::string& caption) {
  const auto cell = [&](const std::string& tag, std::size_t column, const std::string& html) {
    return fmt::format("<{0}{1}>{2}</{0}>", tag, column < words ? "" : " class=\"number\"", html);
  };
  std::string html = fmt::format("<table class=\"results\"><caption>{}</caption>\n<thead><tr>", caption);
  for (std::size_t i = 0; i < head.size(); ++i) html += cell("th", i, escaped(head[i]));
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) html += cell("td", i, row[i]);
    html += "</tr>\n";
  }
  return html + "</tbody></table>\n";
}

std::string code(std::string_view text) {
  return fmt::format("<code>{}</code>", escaped(text));
}

// A cell of a README's table as HTML.
std::string cell_of_markdown(std::string_view text) {
  static const std::regex kCode("`([^`]*)`");
  return std::regex_replace(escaped(text), kCode, "<code>$1</code>");
}

// 12,345 with separators.
std::string grouped(std::uint64_t value) {
  const std::string digits = fmt::format("{}", value);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) text += ',';
    text += digits[i];
  }
  return text;
}

// "attention::tiled::wide_softmax_kernel" as "wide_softmax"; template arguments left out.
std::string short_name(std::string kernel) {
  kernel = kernel.substr(0, kernel.find('<'));
  const std::size_t colon = kernel.rfind(':');
  if (colon != kernel.npos) kernel = kernel.substr(colon + 1);
  const std::size_t suffix = kernel.rfind("_kernel");
  return suffix != kernel.npos && suffix > 0 ? kernel.substr(0, suffix) : kernel;
}

// What `common/tools counts` recorded of a stage. The book runs no kernel, so a variant without counts is an
// error.
json read_counts(const fs::path& root, const Stage& stage) {
  const std::string file = fmt::format("docs/results/counts/{}.json", stage.name);
  const std::string remedy = "run python3 common/tools counts --update";
  if (!fs::exists(root / file)) throw std::runtime_error(fmt::format("{} is missing; {}", file, remedy));
  json counts = json::parse(read_file(root / file));
  for (const std::string& variant : stage.variants) {
    const json& results = counts.at("results");
    if (std::none_of(results.begin(), results.end(),
                     [&](const json& any) { return any.at("variant") == variant; }))
      throw std::runtime_error(fmt::format("{} has no variant '{}'; {}", file, variant, remedy));
  }
  return counts;
}

void write_counts(const fs::path& root, const Stage& stage, const fs::path& folder) {
  const json profile = read_counts(root, stage);
  std::vector<std::vector<std::string>> rows;
  for (const json& result : profile.at("results")) {
    if (!result.contains("profile") || result.at("profile").is_null()) continue;
    std::string variant = code(result.at("variant").get<std::string>());
    for (const json& kernel : result.at("profile").at("kernels")) {
      const json& total = kernel.at("total");
      const auto count = [&](const char* name) { return total.value(name, std::uint64_t(0)); };
      const auto each = [&](std::uint64_t what, std::uint64_t requests) {
        return requests == 0 ? std::string("-") : fmt::format("{:.1f}", double(what) / double(requests));
      };
      const std::uint64_t loads = count("global_load_requests"), shared = count("shared_load_requests");
      const auto some = [](std::uint64_t what) { return what == 0 ? std::string("-") : grouped(what); };
      rows.push_back({variant, code(short_name(kernel.at("kernel"))), some(count("global_load_bytes") / 1024),
                      each(count("global_load_sectors"), loads),
                      each(count("global_load_sectors_ideal"), loads), some(count("bulk_load_bytes") / 1024),
                      some(count("shared_load_wavefronts")),
                      shared == 0 ? "-" : grouped(count("shared_load_wavefronts_ideal")),
                      some(count("shared_store_wavefronts") + count("async_store_wavefronts")),
                      some(count("mma")), some(count("wgmma")), some(count("wgmma_wavefronts"))});
      variant.clear();
    }
  }
  if (rows.empty()) throw std::runtime_error(fmt::format("{}: nothing was counted", stage.name));
  std::vector<std::string> head = {"variant",
                                   "kernel",
                                   "KB loaded",
                                   "sectors per load",
                                   "ideal",
                                   "KB by TMA",
                                   "wavefronts to read shared",
                                   "ideal",
                                   "to write it",
                                   "mma",
                                   "wgmma",
                                   "wavefronts of wgmma"};
  for (std::size_t column = head.size(); column-- > 2;) {  // what no kernel of the stage does
    if (!std::all_of(rows.begin(), rows.end(), [&](const auto& row) { return row[column] == "-"; })) continue;
    head.erase(head.begin() + std::ptrdiff_t(column));
    for (auto& row : rows) row.erase(row.begin() + std::ptrdiff_t(column));
  }
  const std::string caption = fmt::format(
      "Counted by the emulated device, from <code>docs/results/counts/{}.json</code>: one head of the "
      "headline "
      "shape, which has eight. Counts, not times. An instruction counts once per warp.",
      escaped(stage.name));
  write_file(folder / fmt::format("counts_{}.html", stage.name), table(head, rows, 2, caption));
}

struct Prediction {
  std::string variant, microseconds;
};

// The first table of the README whose header begins with "variant" and has a column of predictions.
std::vector<Prediction> read_predictions(const fs::path& readme) {
  const auto cells = [](const std::string& line) {
    std::vector<std::string> found;
    for (std::size_t at = 1, end; at < line.size() && (end = line.find('|', at)) != line.npos; at = end + 1) {
      found.emplace_back(trimmed(std::string_view(line).substr(at, end - at)));
    }
    return found;
  };
  std::vector<Prediction> predictions;
  std::size_t column = 0;
  for (const std::string& line : split_lines(read_file(readme))) {
    if (line.empty() || line[0] != '|') {
      if (!predictions.empty()) break;
      column = 0;
      continue;
    }
    const std::vector<std::string> row = cells(line);
    if (column == 0) {
      for (std::size_t i = 1; i < row.size() && !row.empty() && row[0] == "variant"; ++i) {
        if (row[i].find("predicted") == 0 || row[i].find("headline, us") == 0) column = i;
      }
    } else if (column < row.size() && row[0].size() > 2 && row[0][0] == '`') {
      predictions.push_back({row[0].substr(1, row[0].size() - 2), row[column]});
    }
  }
  return predictions;
}

struct Recorded {
  std::string file, gpu;
  std::map<std::string, double> median_us;  // by "stage/variant/shape/mode"
};

std::vector<Recorded> read_results(const fs::path& folder) {
  std::vector<Recorded> all;
  if (!fs::is_directory(folder)) return all;
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".json") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    const json results = json::parse(read_file(file));
    if (!results.contains("benchmarks") || !results.contains("context")) continue;
    Recorded recorded = {file.filename().string(), results.at("context").value("gpu", "unknown GPU"), {}};
    for (const json& benchmark : results.at("benchmarks")) {
      if (benchmark.value("error_occurred", false) || benchmark.value("time_unit", "us") != "us") continue;
      std::string name = benchmark.at("name");
      for (int slash = 0, parts = 0; slash < int(name.size()); ++slash) {
        if (name[std::size_t(slash)] == '/' && ++parts == 4) name.resize(std::size_t(slash));
      }
      recorded.median_us[name] = benchmark.at("real_time");
    }
    all.push_back(std::move(recorded));
  }
  return all;
}

void write_predictions(const fs::path& root, const std::string& stage, const std::vector<Recorded>& all,
                       const fs::path& folder) {
  const fs::path readme = root / "stages" / stage / "README.md";
  const std::vector<Prediction> predictions =
      fs::exists(readme) ? read_predictions(readme) : std::vector<Prediction>();
  std::string html;
  if (predictions.empty())
    html = "<p class=\"none-yet\">No predictions are written down for this stage yet.</p>\n";
  if (all.empty() && !predictions.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const Prediction& p : predictions)
      rows.push_back({code(p.variant), cell_of_markdown(p.microseconds), "-"});
    html = table(
        {"variant", "predicted us", "measured us"}, rows, 2,
        "Nothing is recorded yet: <code>docs/scripts/record.sh</code> on a machine with a GPU fills the "
        "last column.");
  }
  for (const Recorded& recorded : all) {
    if (predictions.empty()) break;
    std::vector<std::vector<std::string>> rows;
    for (const Prediction& p : predictions) {
      const auto found = recorded.median_us.find(fmt::format("{}/{}/B1_H8_S512_D64/chain", stage, p.variant));
      const bool measured = found != recorded.median_us.end();
      const std::string text =
          measured ? fmt::format("{:.{}f}", found->second, found->second < 100 ? 2 : 0) : "-";
      rows.push_back({code(p.variant), cell_of_markdown(p.microseconds), text});
    }
    const std::string caption = fmt::format(
        "Headline shape, mode <code>chain</code>, on {}, from <code>docs/results/{}</code>. The predictions "
        "are "
        "those of the stage's README.md.",
        escaped(recorded.gpu), escaped(recorded.file));
    html += table({"variant", "predicted us", "measured us"}, rows, 2, caption);
  }
  write_file(folder / fmt::format("prediction_{}.html", stage), html);
}

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_tables", [&] {
    if (argc != 4) throw std::runtime_error("usage: book_tables ROOT STAGES FOLDER");
    const book::fs::path root = argv[1], folder = argv[3];
    const std::vector<book::Recorded> results = book::read_results(root / "docs" / "results");
    for (const book::Stage& stage : book::read_stages(argv[2])) {
      book::write_counts(root, stage, folder);
      book::write_predictions(root, stage.name, results, folder);
    }
  });
}
