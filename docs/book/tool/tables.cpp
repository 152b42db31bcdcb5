// book_tables FOLDER ROOT STAGE...: writes the tables that the chapters include, as HTML.
//
//   counts_<stage>.html      what the emulated device counted, from FOLDER/<stage>.profile.json
//   prediction_<stage>.html  what ROOT/stages/<stage>/README.md predicts beside what ROOT/docs/results/*.json
//   has
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
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
    const std::string attributes = column < words ? "" : " class=\"number\"";
    return std::string("<")
        .append(tag)
        .append(attributes)
        .append(">")
        .append(html)
        .append("</")
        .append(tag)
        .append(">");
  };
  std::string html = "<table class=\"results\"><caption>" + caption + "</caption>\n<thead><tr>";
  for (std::size_t i = 0; i < head.size(); ++i) html += cell("th", i, escaped(head[i]));
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows) {
    html += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) html += cell("td", i, row[i]);
    html += "</tr>\n";
  }
  return html + "</tbody></table>\n";
}

// 12,345 with separators.
std::string grouped(std::uint64_t value) {
  const std::string digits = std::to_string(value);
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

void write_counts(const fs::path& folder, const std::string& stage) {
  const json profile = json::parse(read_file(folder / (stage + ".profile.json")));
  std::vector<std::vector<std::string>> rows;
  for (const json& result : profile.at("results")) {
    if (!result.contains("profile") || result.at("profile").is_null()) continue;
    std::string variant = "<code>" + escaped(result.at("variant").get<std::string>()) + "</code>";
    for (const json& kernel : result.at("profile").at("kernels")) {
      const json& total = kernel.at("total");
      const auto count = [&](const char* name) { return total.value(name, std::uint64_t(0)); };
      const auto each = [&](std::uint64_t what, std::uint64_t requests) {
        char text[32];
        std::snprintf(text, sizeof text, "%.1f", double(what) / double(requests));
        return requests == 0 ? std::string("-") : std::string(text);
      };
      const std::uint64_t loads = count("global_load_requests"), shared = count("shared_load_requests");
      const auto some = [](std::uint64_t what) { return what == 0 ? std::string("-") : grouped(what); };
      rows.push_back({variant, "<code>" + escaped(short_name(kernel.at("kernel"))) + "</code>",
                      some(count("global_load_bytes") / 1024), each(count("global_load_sectors"), loads),
                      each(count("global_load_sectors_ideal"), loads), some(count("bulk_load_bytes") / 1024),
                      some(count("shared_load_wavefronts")),
                      shared == 0 ? "-" : grouped(count("shared_load_wavefronts_ideal")),
                      some(count("shared_store_wavefronts") + count("async_store_wavefronts")),
                      some(count("mma")), some(count("wgmma")), some(count("wgmma_wavefronts"))});
      variant.clear();
    }
  }
  if (rows.empty()) throw std::runtime_error(stage + ": nothing was counted");
  std::vector<std::string> head = {"variant",
                                   "kernel",
                                   "KB loaded",
                                   "sectors a load",
                                   "ideal",
                                   "KB by copy engine",
                                   "wavefronts to read shared",
                                   "ideal",
                                   "to write it",
                                   "mma",
                                   "wgmma",
                                   "wavefronts of those"};
  for (std::size_t column = head.size(); column-- > 2;) {  // what no kernel of the stage does
    if (!std::all_of(rows.begin(), rows.end(), [&](const auto& row) { return row[column] == "-"; })) continue;
    head.erase(head.begin() + std::ptrdiff_t(column));
    for (auto& row : rows) row.erase(row.begin() + std::ptrdiff_t(column));
  }
  write_file(
      folder / ("counts_" + stage + ".html"),
      table(head, rows, 2,
            "Counted by the emulated device while this book was built: one head of the headline shape, which "
            "has eight. Counts, not times. Instructions are counted by warp."));
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

void write_predictions(const fs::path& folder, const fs::path& root, const std::string& stage,
                       const std::vector<Recorded>& all) {
  const fs::path readme = root / "stages" / stage / "README.md";
  const std::vector<Prediction> predictions =
      fs::exists(readme) ? read_predictions(readme) : std::vector<Prediction>();
  std::string html;
  if (predictions.empty())
    html = "<p class=\"none-yet\">No predictions are written down for this stage yet.</p>\n";
  if (all.empty() && !predictions.empty()) {
    std::vector<std::vector<std::string>> rows;
    for (const Prediction& p : predictions)
      rows.push_back({"<code>" + escaped(p.variant) + "</code>", escaped(p.microseconds), "-"});
    html = table({"variant", "predicted us", "measured us"}, rows, 2,
                 "Nothing is recorded yet: <code>docs/record.sh</code> on a machine with a GPU fills the "
                 "last column.");
  }
  for (const Recorded& recorded : all) {
    if (predictions.empty()) break;
    std::vector<std::vector<std::string>> rows;
    for (const Prediction& p : predictions) {
      const auto found = recorded.median_us.find(stage + "/" + p.variant + "/B1_H8_S512_D64/chain");
      char text[32] = "-";
      if (found != recorded.median_us.end())
        std::snprintf(text, sizeof text, found->second < 100 ? "%.2f" : "%.0f", found->second);
      rows.push_back({"<code>" + escaped(p.variant) + "</code>", escaped(p.microseconds), text});
    }
    html += table({"variant", "predicted us", "measured us"}, rows, 2,
                  "Headline shape, mode <code>chain</code>, on " + escaped(recorded.gpu) +
                      ", from <code>docs/results/" + escaped(recorded.file) +
                      "</code>. The predictions are those of the stage's README.md.");
  }
  write_file(folder / ("prediction_" + stage + ".html"), html);
}

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_tables", [&] {
    if (argc < 3) throw std::runtime_error("usage: book_tables FOLDER ROOT STAGE...");
    const book::fs::path folder = argv[1], root = argv[2];
    const std::vector<book::Recorded> results = book::read_results(root / "docs" / "results");
    for (int i = 3; i < argc; ++i) {
      book::write_counts(folder, argv[i]);
      book::write_predictions(folder, root, argv[i], results);
    }
  });
}
