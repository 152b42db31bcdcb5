// book_chapters ROOT FOLDER: copies the chapters, ROOT/book/*.md, to FOLDER, where Doxygen reads them, and
// puts in place what they quote of a stage's README.md. A line of a chapter that says
//
//   <!-- readme: 04_fused | ## Looking back | ## Limits -->
//
// becomes the text between two lines of stages/04_fused/README.md, both left out. A line that is not there is
// an error: a quotation must not disappear unseen.
#include <string>
#include <vector>

#include "text.hpp"

namespace book {
namespace {

namespace fs = std::filesystem;

std::string quoted(const fs::path& root, const std::string& directive) {
  std::vector<std::string> parts;
  for (std::string_view rest = directive; !rest.empty();) {
    const std::size_t bar = std::min(rest.find(" | "), rest.size());
    parts.emplace_back(trimmed(rest.substr(0, bar)));
    rest.remove_prefix(std::min(bar + 3, rest.size()));
  }
  if (parts.size() != 3)
    throw std::runtime_error("expected 'readme: STAGE | FIRST LINE | LAST LINE', got '" + directive + "'");
  const bool other_file = parts[0].find('/') != std::string::npos;
  const fs::path readme = root / "stages" / (other_file ? parts[0] : parts[0] + "/README.md");
  std::string text;
  bool inside = false, closed = parts[2] == "(end)";
  for (const std::string& line : split_lines(read_file(readme))) {
    if (inside && line == parts[2]) {
      closed = true;
      break;
    }
    if (inside) text += line + "\n";
    if (line == parts[1]) inside = true;
  }
  if (!inside) throw std::runtime_error(readme.string() + " has no line '" + parts[1] + "'");
  if (!closed)
    throw std::runtime_error(readme.string() + " has no line '" + parts[2] + "' after '" + parts[1] + "'");
  return text;
}

std::string woven(const fs::path& root, const fs::path& chapter) {
  constexpr std::string_view kBegin = "<!-- readme: ", kEnd = " -->";
  std::string text;
  int number = 0;
  for (const std::string& line : split_lines(read_file(chapter))) {
    ++number;
    if (std::string_view(line).substr(0, kBegin.size()) != kBegin) {
      text += line + "\n";
      continue;
    }
    try {
      text += quoted(root, line.substr(kBegin.size(), line.rfind(kEnd) - kBegin.size()));
    } catch (const std::exception& error) {
      throw std::runtime_error(chapter.string() + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  return text;
}

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_chapters", [&] {
    if (argc != 3) throw std::runtime_error("usage: book_chapters ROOT FOLDER");
    const book::fs::path root = argv[1], folder = argv[2];
    book::fs::create_directories(folder);
    for (const auto& entry : book::fs::directory_iterator(root / "book")) {
      const book::fs::path chapter = entry.path();
      if (chapter.extension() == ".md")
        book::write_file(folder / chapter.filename(), book::woven(root, chapter));
    }
  });
}
