// Every variant's file must differ from the one before by its idea alone. Prints the counts per variant.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "attention/stage.hpp"
#include "catch.hpp"

using namespace attention;

namespace {

constexpr int kMaxChangedLines = 60;  // removed plus added
constexpr int kMaxRewrites = 2;       // per stage, its first variant not counted
constexpr int kMaxLines = 250;        // per file
constexpr int kMaxHopperLines = 350;  // per file that includes attention/hopper.cuh

using Lines = std::vector<std::string>;

std::filesystem::path file_of(const Stage& stage, const Variant& variant) {
  return std::filesystem::path(ATTENTION_STAGES) / stage.name / fmt::format("{}.cu", variant.name);
}

Lines read_lines(const std::filesystem::path& file) {
  std::ifstream in(file);
  INFO(file.string());
  REQUIRE(in);
  Lines lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

// Without `//` comments, blank lines and white space at either end: what the compiler reads.
Lines code_of(const Lines& lines) {
  Lines code;
  for (std::string line : lines) {
    line.erase(std::min(line.find("//"), line.size()));
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string::npos) continue;
    code.push_back(line.substr(begin, line.find_last_not_of(" \t") + 1 - begin));
  }
  return code;
}

// Lines of a longest common subsequence; what diff leaves unmarked.
int common_lines(const Lines& a, const Lines& b) {
  std::vector<int> row(b.size() + 1, 0);
  for (const std::string& line : a) {
    int diagonal = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const int above = row[j + 1];
      row[j + 1] = line == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

}  // namespace

TEST_CASE("lines are compared without comments and white space") {
  const Lines a = code_of({"// one", "int x;  // two", "", "  int y;", "int z;"});
  CHECK(a == Lines{"int x;", "int y;", "int z;"});
  CHECK(common_lines(a, {"int y;", "int w;", "int z;"}) == 2);
  CHECK(common_lines(a, {}) == 0);
}

TEST_CASE("every step between variants is small, or declared a rewrite") {
  fmt::print("{:<15}{:<20}{:>6}  changed\n", "stage", "variant", "lines");
  for (const Stage* stage : registry()) {
    const Variant* before = nullptr;
    int rewrites = 0;
    for (const Variant& variant : stage->variants) {
      INFO(stage->name << "/" << variant.name);
      // A choice among other stages' variants has no kernel of its own.
      if (!std::filesystem::exists(file_of(*stage, variant))) {
        CHECK(std::filesystem::exists(file_of(*stage, variant).replace_extension(".cpp")));
        continue;
      }
      const Lines lines = read_lines(file_of(*stage, variant));
      const bool hopper =
          std::find(lines.begin(), lines.end(), "#include \"attention/hopper.cuh\"") != lines.end();
      CHECK(int(lines.size()) <= (hopper ? kMaxHopperLines : kMaxLines));

      fmt::print("{:<15}{:<20}{:>6}", stage->name, variant.name, lines.size());
      if (before) {
        const Lines old_code = code_of(read_lines(file_of(*stage, *before))), new_code = code_of(lines);
        const int same = common_lines(old_code, new_code);
        const int removed = int(old_code.size()) - same, added = int(new_code.size()) - same;
        fmt::print("  -{} +{}", removed, added);
        if (variant.rewrite.empty()) {
          INFO(removed << " lines removed, " << added << " added");
          CHECK(removed + added <= kMaxChangedLines);
          // A reader is told how to see the step.
          const std::string command = fmt::format("diff -u stages/{0}/{1}.cu stages/{0}/{2}.cu", stage->name,
                                                  before->name, variant.name);
          CHECK(
              std::any_of(lines.begin(), lines.begin() + std::min<std::ptrdiff_t>(30, lines.size()),
                          [&](const std::string& line) { return line.find(command) != std::string::npos; }));
        } else {
          fmt::print("  rewritten: {}", variant.rewrite);
          ++rewrites;
        }
      }
      fmt::print("\n");
      before = &variant;
    }
    CHECK(rewrites <= kMaxRewrites);
  }
}
