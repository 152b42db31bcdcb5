// Makes what people read from recorded results: a page of charts, and the repository's tables and picture.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "attention/error.hpp"
#include "attention/text.hpp"
#include "page.hpp"
#include "results.hpp"
#include "tables.hpp"

namespace attention::bench {
namespace {

void make_page(const std::vector<std::string>& files, const std::filesystem::path& folder) {
  std::vector<Results> results;
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (const std::string& file : files) {
    const auto json = nlohmann::ordered_json::parse(read_text(file), nullptr, false);
    if (json.is_discarded()) throw InvalidInput(fmt::format("{} is not JSON", file));
    if (is_run(json)) {
      runs.push_back(page_data_of_run(json, file));
    } else {
      results.push_back(parse_results(json, std::filesystem::path(file).filename()));
    }
  }
  write_page(folder, results, runs);
  fmt::print("charts: {}\n", (folder / "index.html").string());
}

// Rewrites the files that do not show the recorded results.
void update(const std::filesystem::path& root) {
  std::vector<Generated> files = generate_documents(root);
  if (auto picture = generate_picture(root, true)) files.push_back(*picture);
  for (const Generated& file : files) {
    if (std::filesystem::exists(file.path) && read_text(file.path) == file.contents) continue;
    write_whole_file(file.path, file.contents);
    fmt::print("updated {}\n", file.path.string());
  }
}

ExitCode check(const std::filesystem::path& root) {
  std::vector<Generated> files = generate_documents(root);
  if (auto picture = generate_picture(root, false)) files.push_back(*picture);
  bool stale = false;
  for (const Generated& file : files) {
    const std::string now = std::filesystem::exists(file.path) ? read_text(file.path) : "";
    if (file.picture ? now.find(file.contents) != std::string::npos : now == file.contents) continue;
    stale = true;
    fmt::print("stale: {} does not show the results of docs/results; run report --update\n",
               file.path.string());
  }
  return stale ? ExitCode::wrong_result : ExitCode::right;
}

ExitCode run(int argc, char** argv) {
  CLI::App app{"Charts and tables of benchmark results"};
  app.footer(
      "FILE is a results file of bench, or what a stage's program wrote with --json. Several appear side by "
      "side.\n"
      "Exit codes: 0 right, 1 stale, 2 bad input.");
  std::vector<std::string> files;
  std::string folder, root = ".";
  bool wants_update = false, wants_check = false;
  app.add_option("FILE", files, "Results to show");
  app.add_option("-o,--out", folder, "Write a page of charts to this folder");
  app.add_flag("--update", wants_update, "Rewrite the repository's tables and picture from docs/results");
  app.add_flag("--check", wants_check, "Exit 1 where the repository's tables or picture are stale");
  app.add_option("--root", root, "The repository for --update and --check [.]")
      ->check(CLI::ExistingDirectory);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return ExitCode(app.exit(help));
  } catch (const CLI::ParseError& error) {
    throw InvalidInput(fmt::format("{}; see --help", error.what()));
  }

  const bool wants_page = !folder.empty() || !files.empty();
  if (wants_page + wants_update + wants_check != 1) {
    throw InvalidInput("give results and -o FOLDER, or --update, or --check; see --help");
  }
  if (wants_check) return check(root);
  if (wants_update) {
    update(root);
    return ExitCode::right;
  }
  if (folder.empty()) throw InvalidInput("-o must name the folder for the page");
  if (files.empty()) throw InvalidInput("there is nothing to show: name at least one results file");
  make_page(files, folder);
  return ExitCode::right;
}

}  // namespace
}  // namespace attention::bench

int main(int argc, char** argv) {
  return attention::run_program([&] { return attention::bench::run(argc, argv); });
}
