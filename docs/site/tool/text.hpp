#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// Small things that the book's programs share. They run when the book is built, on files of this repository,
// so what they do not understand is an error that stops the build, in one line.
namespace book {

inline std::string read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error(fmt::format("cannot read {}", path.string()));
  std::stringstream contents;
  contents << in.rdbuf();
  return contents.str();
}

inline void write_file(const std::filesystem::path& path, std::string_view contents) {
  std::ofstream out(path, std::ios::binary);
  out << contents;
  if (!out.flush()) throw std::runtime_error(fmt::format("cannot write {}", path.string()));
}

inline std::vector<std::string> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

inline std::string_view trimmed(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

inline std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (std::size_t at = 0; (at = text.find(what, at)) != text.npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

/// A stage, and its variants in order: those that have a file stages/<stage>/<variant>.cu.
struct Stage {
  std::string name;
  std::vector<std::string> variants;
};

/// The list that the build writes: a line for each stage, "04_fused fused cp_async ...".
inline std::vector<Stage> read_stages(const std::filesystem::path& path) {
  std::vector<Stage> stages;
  for (const std::string& line : split_lines(read_file(path))) {
    std::istringstream words(line);
    Stage stage;
    words >> stage.name;
    for (std::string variant; words >> variant;) stage.variants.push_back(variant);
    stages.push_back(std::move(stage));
  }
  return stages;
}

/// Text as HTML.
inline std::string escaped(std::string_view text) {
  std::string html(text);
  html = replaced(html, "&", "&amp;");
  html = replaced(html, "<", "&lt;");
  html = replaced(html, ">", "&gt;");
  return replaced(html, "\"", "&quot;");
}

/// What a reader sees of a piece of HTML: no tags, entities resolved, blanks run together.
inline std::string plain_text(std::string_view html) {
  std::string text;
  bool in_tag = false;
  for (const char c : html) {
    if (c == '<') in_tag = true;
    if (!in_tag) text += c;
    if (c == '>') {
      in_tag = false;
      text += ' ';
    }
  }
  static constexpr std::pair<const char*, const char*> kEntities[] = {
      {"&lt;", "<"},   {"&gt;", ">"},   {"&quot;", "\""},      {"&#39;", "'"},
      {"&#160;", " "}, {"&nbsp;", " "}, {"&ndash;", "-"},      {"&mdash;", "-"},
      {"&zwj;", ""},   {"&#124;", "|"}, {"&times;", "\u00d7"}, {"&amp;", "&"}};
  for (const auto& [entity, character] : kEntities) text = replaced(text, entity, character);
  std::string joined;
  for (const char c : text) {
    const bool blank = static_cast<unsigned char>(c) <= ' ';
    if (!blank) joined += c;
    if (blank && !joined.empty() && joined.back() != ' ') joined += ' ';
  }
  return std::string(trimmed(joined));
}

/// The main of a program that prints one line and exits 1 when something is not as it must be.
template <typename Body>
int run(const char* program, const Body& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "{}: {}\n", program, error.what());
    return 1;
  }
}

}  // namespace book
