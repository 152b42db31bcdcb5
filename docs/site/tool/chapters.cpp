// book_chapters ROOT STAGES DIFFS FOLDER: copies the chapters, ROOT/book/*.md, to FOLDER, where Doxygen reads
// them, and puts two things in place. STAGES is the build's list of stages and variants, DIFFS the folder that
// diffs.sh has written. A line of a chapter that says
//
//   <!-- step: 04_fused/swizzled -->
//
// becomes the step from the variant before to this one, as a diff. The first variant of a stage, and one that
// stage.cpp declares a rewrite, is shown as a whole file, folded away; but a rewrite that is a step from an
// earlier variant than the one before it is shown as that diff. Every variant must be shown once. And
//
//   <!-- readme: 04_fused | ## Looking back | ## Limits -->
//
// becomes the text between two lines of stages/04_fused/README.md, both left out; its links to files beside it
// become words. A line that is not there is an error: a quotation must not disappear unseen.
#include <algorithm>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "text.hpp"

namespace book {
namespace {

namespace fs = std::filesystem;

class Weaver {
 public:
  Weaver(const fs::path& root, const fs::path& stages, const fs::path& diffs)
      : root_(root), diffs_(diffs), stages_(read_stages(stages)) {}

  std::string woven(const fs::path& chapter) {
    std::string text;
    int number = 0;
    for (const std::string& line : split_lines(read_file(chapter))) {
      ++number;
      try {
        if (const auto variant = directive(line, "<!-- step: ")) {
          text += step(*variant);
        } else if (const auto quotation = directive(line, "<!-- readme: ")) {
          text += quoted(*quotation);
        } else {
          text += line + "\n";
        }
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("{}:{}: {}", chapter.string(), number, error.what()));
      }
    }
    return text;
  }

  void check_all_shown() const {
    for (const Stage& stage : stages_) {
      for (const std::string& variant : stage.variants) {
        const std::string name = fmt::format("{}/{}", stage.name, variant);
        if (!shown_.contains(name))
          throw std::runtime_error(fmt::format("no chapter shows {0}; write <!-- step: {0} -->", name));
      }
    }
  }

 private:
  // What stands between `begin` and the end of a comment that is the whole line.
  static std::optional<std::string> directive(std::string_view line, std::string_view begin) {
    constexpr std::string_view kEnd = " -->";
    if (line.substr(0, begin.size()) != begin) return std::nullopt;
    if (line.size() < begin.size() + kEnd.size() || line.substr(line.size() - kEnd.size()) != kEnd)
      throw std::runtime_error(fmt::format("no '{}' at the end of the line", kEnd));
    return std::string(line.substr(begin.size(), line.size() - begin.size() - kEnd.size()));
  }

  std::string step(const std::string& name) {
    const std::size_t slash = std::min(name.find('/'), name.size());
    const auto stage = std::find_if(stages_.begin(), stages_.end(),
                                    [&](const Stage& any) { return any.name == name.substr(0, slash); });
    if (stage == stages_.end() || slash == name.size())
      throw std::runtime_error(fmt::format("no stage for '{}'", name));
    const std::string variant = name.substr(slash + 1);
    const auto& variants = stage->variants;
    const auto here = std::find(variants.begin(), variants.end(), variant);
    if (here == variants.end())
      throw std::runtime_error(fmt::format("{} has no variant '{}'", stage->name, variant));
    if (!shown_.insert(name).second) throw std::runtime_error(fmt::format("{} is shown a second time", name));

    const bool first = here == variants.begin();
    const std::optional<std::string> reason = rewrite_reason(stage->name, variant);
    if (!first && (!reason || !is_from(stage->name, variant, *std::prev(here))))
      return fmt::format("\\include {}_{}.diff\n", stage->name, variant);
    const std::string why =
        reason ? fmt::format("This step is a rewrite ({}), so here is the whole file.\n\n", *reason) : "";
    return fmt::format("{0}\\fold{{stages/{1}.cu, whole}}\n\n\\include {1}.cu\n\n\\endfold\n", why, name);
  }

  // Whether the variant's diff is from `before`.
  bool is_from(const std::string& stage, const std::string& variant, const std::string& before) const {
    const std::string diff = read_file(diffs_ / fmt::format("{}_{}.diff", stage, variant));
    return diff.starts_with(fmt::format("--- stages/{}/{}.cu\n", stage, before));
  }

  // The reason in the variant's entry of stage.cpp, `.rewrite = "..."`; none where it has no such line.
  std::optional<std::string> rewrite_reason(const std::string& stage, const std::string& variant) const {
    const std::string path = fmt::format("stages/{}/stage.cpp", stage), text = read_file(root_ / path);
    const std::string name = fmt::format(".name = \"{}\"", variant);
    const std::size_t entry = text.find(name);
    if (entry == text.npos) throw std::runtime_error(fmt::format("{} has no {}", path, name));
    const std::size_t end = text.find(".name = \"", entry + 1);
    const std::size_t rewrite = text.find(".rewrite = \"", entry);
    if (rewrite >= end) return std::nullopt;
    const std::size_t begin = text.find('"', rewrite) + 1;
    std::string reason = text.substr(begin, text.find("\",", begin) - begin);
    // The formatter splits a long literal in two.
    for (std::size_t at; (at = reason.find('"')) != reason.npos;)
      reason.erase(at, reason.find('"', at + 1) + 1 - at);
    return reason;
  }

  std::string quoted(const std::string& directive) const {
    std::vector<std::string> parts;
    for (std::string_view rest = directive; !rest.empty();) {
      const std::size_t bar = std::min(rest.find(" | "), rest.size());
      parts.emplace_back(trimmed(rest.substr(0, bar)));
      rest.remove_prefix(std::min(bar + 3, rest.size()));
    }
    if (parts.size() != 3)
      throw std::runtime_error(
          fmt::format("expected 'readme: STAGE | FIRST LINE | LAST LINE', got '{}'", directive));
    const bool other_file = parts[0].find('/') != std::string::npos;
    const fs::path readme = root_ / "stages" / (other_file ? parts[0] : parts[0] + "/README.md");
    std::string text;
    bool inside = false, closed = parts[2] == "(end)";
    for (const std::string& line : split_lines(read_file(readme))) {
      if (inside && line == parts[2]) {
        closed = true;
        break;
      }
      // The book has no page for a file that a README links to.
      static const std::regex kLinkToFile(R"(\[([^\]]*)\]\((?!http)[^)]*\))");
      if (inside) text += std::regex_replace(line, kLinkToFile, "$1") + "\n";
      if (line == parts[1]) inside = true;
    }
    if (!inside) throw std::runtime_error(fmt::format("{} has no line '{}'", readme.string(), parts[1]));
    if (!closed)
      throw std::runtime_error(
          fmt::format("{} has no line '{}' after '{}'", readme.string(), parts[2], parts[1]));
    return text;
  }

  fs::path root_, diffs_;
  std::vector<Stage> stages_;
  std::set<std::string> shown_;
};

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_chapters", [&] {
    if (argc != 5) throw std::runtime_error("usage: book_chapters ROOT STAGES DIFFS FOLDER");
    const book::fs::path root = argv[1], folder = argv[4];
    book::Weaver weaver(root, argv[2], argv[3]);
    book::fs::create_directories(folder);
    for (const auto& entry : book::fs::directory_iterator(root / "book")) {
      const book::fs::path& chapter = entry.path();
      if (chapter.extension() == ".md") book::write_file(folder / chapter.filename(), weaver.woven(chapter));
    }
    weaver.check_all_shown();
  });
}
