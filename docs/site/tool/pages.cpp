// book_pages HTML_FOLDER CONTENTS: finishes the pages that Doxygen wrote, in place.
//
// Puts the tree of contents, the page's own contents and the links to its neighbours where header.html and
// footer.html leave room for them; gives headings their anchors; colours CUDA words and diffs; takes the
// markers of snippets out of code; and writes search-index.js. CONTENTS lists the pages in reading order: a
// line that starts in the first column names a group, an indented one a page, "id" or "id | title".
#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "text.hpp"

namespace book {
namespace {

namespace fs = std::filesystem;

struct Heading {
  int level;  // 2 for a section, 3 for what is inside one
  std::string id, text;
};

struct Page {
  std::string file, title, html;
  std::vector<Heading> headings;
};

struct Group {
  std::string title;
  std::vector<std::pair<std::string, std::string>> pages;  // id, title; the page's own title where empty
};

std::vector<Group> read_contents(const fs::path& path) {
  std::vector<Group> groups;
  for (const std::string& line : split_lines(read_file(path))) {
    if (trimmed(line).empty() || line[0] == '#') continue;
    if (line[0] != ' ') {
      groups.push_back({line, {}});
      continue;
    }
    if (groups.empty())
      throw std::runtime_error(fmt::format("{}: a page before the first group", path.string()));
    const std::size_t bar = std::min(line.find('|'), line.size());
    const std::string_view title = bar < line.size() ? trimmed(std::string_view(line).substr(bar + 1)) : "";
    groups.back().pages.emplace_back(trimmed(std::string_view(line).substr(0, bar)), title);
  }
  return groups;
}

// Calls edit(text between the marks) for every pair of marks and puts its result in their place, marks
// included.
template <typename Edit>
std::string rewritten(const std::string& html, std::string_view begin, std::string_view end,
                      const Edit& edit) {
  std::string result;
  std::size_t done = 0;
  for (std::size_t at; (at = html.find(begin, done)) != html.npos;) {
    const std::size_t stop = html.find(end, at + begin.size());
    if (stop == html.npos) throw std::runtime_error(fmt::format("no '{}' after '{}'", end, begin));
    result.append(html, done, at - done);
    result += edit(std::string_view(html).substr(at + begin.size(), stop - at - begin.size()));
    done = stop + end.size();
  }
  return result.append(html, done);
}

bool word_character(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) || c == '_';
}

// Words of CUDA that Doxygen's C++ does not know, outside of tags.
std::string coloured(std::string_view line) {
  static const std::set<std::string, std::less<>> kWords = {"__global__",
                                                            "__device__",
                                                            "__host__",
                                                            "__shared__",
                                                            "__constant__",
                                                            "__restrict__",
                                                            "__launch_bounds__",
                                                            "__forceinline__",
                                                            "__align__",
                                                            "__grid_constant__",
                                                            "__cluster_dims__",
                                                            "__syncthreads",
                                                            "__syncwarp",
                                                            "threadIdx",
                                                            "blockIdx",
                                                            "blockDim",
                                                            "gridDim",
                                                            "dim3",
                                                            "half",
                                                            "half2",
                                                            "float2",
                                                            "float4",
                                                            "uint4"};
  std::string result;
  bool in_comment = false;
  for (std::size_t i = 0; i < line.size();) {
    if (line[i] == '<') {
      const std::size_t end = std::min(line.find('>', i), line.size() - 1) + 1;
      const std::string_view tag = line.substr(i, end - i);
      if (tag == "<span class=\"comment\">" || tag == "<span class=\"stringliteral\">") in_comment = true;
      if (tag == "</span>") in_comment = false;
      result += tag;
      i = end;
    } else if (word_character(line[i])) {
      const std::size_t start = i;
      while (i < line.size() && word_character(line[i])) ++i;
      const std::string_view word = line.substr(start, i - start);
      const bool known = !in_comment && kWords.contains(word);
      result.append(known ? "<span class=\"cuda\">" : "").append(word).append(known ? "</span>" : "");
    } else {
      result += line[i++];
    }
  }
  return result;
}

bool snippet_marker(std::string_view text) {
  if (text.substr(0, 4) != "// [" || text.back() != ']') return false;
  text.remove_prefix(4);
  text.remove_suffix(1);
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return word_character(c) || c == '-'; });
}

// How far a line of code is indented, and the same line without so many blanks; tags may come before them.
std::size_t indentation(const std::string& html) {
  std::size_t blanks = 0;
  for (std::size_t i = 0; i < html.size();) {
    if (html[i] == '<') {
      i = std::min(html.find('>', i), html.size() - 1) + 1;
    } else if (html[i++] == ' ') {
      ++blanks;
    } else {
      break;
    }
  }
  return blanks;
}
std::string without_indentation(std::string html, std::size_t blanks) {
  for (std::size_t i = 0; i < html.size() && blanks > 0;) {
    if (html[i] == '<') {
      i = std::min(html.find('>', i), html.size() - 1) + 1;
    } else {
      html.erase(i, 1);
      --blanks;
    }
  }
  return html;
}

// The class of a line of a diff: added, removed, or where a hunk begins.
const char* diff_kind(std::string_view line) {
  if (line.starts_with("--- ") || line.starts_with("+++ ")) return "";  // names of files
  if (line.starts_with("+")) return " add";
  if (line.starts_with("-")) return " del";
  return line.starts_with("@@") ? " hunk" : "";
}

// A block of code: the lines of a Doxygen fragment.
std::string fragment(std::string_view html, bool listing) {
  static constexpr std::string_view kLine = "<div class=\"line\">", kEnd = "</div>";
  std::vector<std::string> lines;
  for (const std::string& line : split_lines(html)) {
    if (std::string_view(line).substr(0, kLine.size()) != kLine ||
        line.substr(line.size() - kEnd.size()) != kEnd) {
      throw std::runtime_error(fmt::format("a line of code that is not '{}...': {}", kLine, line));
    }
    lines.push_back(line.substr(kLine.size(), line.size() - kLine.size() - kEnd.size()));
  }
  // A diff may have remarks above the names of its first file.
  std::size_t first_file = 0;
  while (first_file < lines.size() && !lines[first_file].starts_with("--- ")) ++first_file;
  const bool diff = first_file + 1 < lines.size() && lines[first_file + 1].starts_with("+++ ");
  // What was cut out of a function starts in the first column; directives are there already.
  std::size_t common = listing || diff ? 0 : std::string::npos;
  for (const std::string& line : lines) {
    const std::string text = plain_text(line);
    if (!text.empty() && text[0] != '#') common = std::min(common, indentation(line));
  }
  for (std::string& line : lines) {
    if (indentation(line) >= common) line = without_indentation(line, common);
  }
  std::string code;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const bool in_diff = diff && i >= first_file;
    const std::string text = plain_text(in_diff && !lines[i].empty() ? lines[i].substr(1) : lines[i]);
    if (!listing && snippet_marker(text)) continue;
    const char* kind = in_diff ? diff_kind(lines[i]) : "";
    code += fmt::format("<div class=\"line{}\">{}</div>\n", kind, coloured(lines[i]));
  }
  return fmt::format(
      "<div class=\"fragment{}\"><div class=\"lines\" tabindex=\"0\">\n{}</div></div><!-- fragment -->",
      diff ? " diff" : "", code);
}

// <h1><a class="anchor" id="x"></a>Text</h1>, whatever the level, becomes a heading with an id; the highest
// level on a page is 2, since 1 is its title.
void finish_headings(Page& page) {
  const auto find = [&](std::size_t from) {
    for (std::size_t at = from; (at = page.html.find("<h", at)) != page.html.npos; ++at) {
      if (!std::isdigit(static_cast<unsigned char>(page.html[at + 2]))) continue;
      const std::size_t open = page.html.find('>', at) + 1;
      const std::size_t text = page.html.find_first_not_of("\n ", open);
      if (page.html.compare(text, 18, "<a class=\"anchor\" ") == 0) return at;
    }
    return page.html.npos;
  };
  int highest = 9;
  for (std::size_t at = find(0); at != page.html.npos; at = find(at + 1))
    highest = std::min(highest, page.html[at + 2] - '0');

  std::string result;
  std::size_t done = 0;
  for (std::size_t at = find(0); at != page.html.npos; at = find(done)) {
    const std::size_t id = page.html.find("id=\"", at) + 4;
    const std::size_t text = page.html.find("</a>", id) + 4;
    const std::size_t end = page.html.find(fmt::format("</h{}>", page.html[at + 2]), text);
    Heading heading = {page.html[at + 2] - '0' - highest + 2,
                       page.html.substr(id, page.html.find('"', id) - id), ""};
    const std::string inner(trimmed(std::string_view(page.html).substr(text, end - text)));
    heading.text = plain_text(inner);
    result.append(page.html, done, at - done);
    result += fmt::format(
        "<h{0} id=\"{1}\">{2}<a class=\"self\" href=\"#{1}\" aria-label=\"Link to this "
        "section\">#</a></h{0}>",
        std::min(heading.level, 4), heading.id, inner);
    done = end + 5;
    page.headings.push_back(heading);
  }
  page.html = result.append(page.html, done);
}

// Cells of a few characters stay on one line, cells of words get room for some: wide tables scroll.
std::string with_cell_sizes(std::string_view table) {
  constexpr std::string_view kCell = "<td class=\"", kEnd = "</td>";
  std::string result;
  while (true) {
    const std::size_t at = table.find(kCell);
    if (at == table.npos) return result.append(table);
    const std::size_t open = table.find('>', at), end = table.find(kEnd, open);
    const std::size_t length = plain_text(table.substr(open + 1, end - open - 1)).size();
    result.append(table.substr(0, at + kCell.size()));
    result.append(length <= 18 ? "short " : length > 34 ? "words " : "");
    result.append(table.substr(at + kCell.size(), end - at - kCell.size()));
    table.remove_prefix(end);
  }
}

void finish_code_and_tables(Page& page) {
  const bool listing = page.file.find("_source.html") != page.file.npos;
  page.html = rewritten(page.html, "<div class=\"fragment\">", "</div><!-- fragment -->",
                        [&](std::string_view code) { return fragment(code, listing); });
  for (const std::string kind : {"markdownTable", "doxtable", "results"}) {
    page.html = rewritten(
        page.html, fmt::format("<table class=\"{}\">", kind), "</table>", [&](std::string_view table) {
          return fmt::format("<div class=\"scroll\" tabindex=\"0\"><table class=\"{}\">{}</table></div>",
                             kind, with_cell_sizes(table));
        });
  }
}

Page read_page(const fs::path& path) {
  Page page = {path.filename().string(), {}, read_file(path), {}};
  // Chapters name pictures as they lie in the repository; here they lie beside the pages.
  page.html = replaced(page.html, "src=\"../docs/", "src=\"");
  if (!fs::exists(path.parent_path() / "charts")) {
    page.html = rewritten(page.html, "<div class=\"charts\">", "</div>", [](std::string_view) {
      return "<p class=\"none-yet\">Nothing was recorded to make charts of when this book was built, or "
             "Chart.js is missing.</p>";
    });
  }
  const std::size_t title = page.html.find("<div class=\"title\">");
  if (title == page.html.npos) return page;
  const std::size_t end = page.html.find("</div>", title);
  page.title = plain_text(page.html.substr(title, end - title));
  finish_headings(page);
  finish_code_and_tables(page);
  return page;
}

std::string link(const std::string& url, const std::string& text, const std::string& attributes = "") {
  return fmt::format("<a href=\"{}\"{}>{}</a>", url, attributes, escaped(text));
}

// Sections of `page` that are of `level`, as a list; none where there are none.
std::string section_list(const Page& page, int deepest) {
  std::string html;
  int level = 2;
  for (const Heading& heading : page.headings) {
    if (heading.level > deepest) continue;
    for (; level < heading.level; ++level) html += "<li><ul>";
    for (; level > heading.level; --level) html += "</ul></li>";
    html += fmt::format("<li>{}</li>\n", link("#" + heading.id, heading.text));
  }
  for (; level > 2; --level) html += "</ul></li>";
  return html.empty() ? "" : fmt::format("<ul>{}</ul>", html);
}

std::string js_string(std::string_view text) {
  std::string js = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') js += '\\';
    if (c == '<') {
      js += "\\u003c";
    } else {
      js += c;
    }
  }
  return js + "\"";
}

class Site {
 public:
  Site(const fs::path& folder, const fs::path& contents) : folder_(folder), groups_(read_contents(contents)) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      if (entry.path().extension() != ".html") continue;
      try {
        Page page = read_page(entry.path());
        pages_.emplace(page.file, std::move(page));
      } catch (const std::exception& error) {
        throw std::runtime_error(fmt::format("{}: {}", entry.path().filename().string(), error.what()));
      }
    }
    for (std::size_t group = 0; group < groups_.size(); ++group) {
      for (auto& [id, title] : groups_[group].pages) {
        const auto page = pages_.find(id + ".html");
        if (page == pages_.end())
          throw std::runtime_error(fmt::format("{}: there is no page '{}'", contents.string(), id));
        if (title.empty()) title = page->second.title;
        if (group + 1 < groups_.size())
          reading_order_.push_back({id + ".html", title});  // the last is the reference
      }
    }
  }

  void write() {
    for (auto& [file, page] : pages_) {
      std::string html = replaced(page.html, "<!-- tree -->", tree(page));
      html = replaced(html, "<!-- toc -->",
                      page.headings.empty() ? "" : "<h2>On this page</h2>" + section_list(page, 3));
      write_file(folder_ / file, replaced(html, "<!-- previous and next -->", turn(page)));
    }
    write_file(folder_ / "search-index.js", search_index());
    remove_unused();
  }

 private:
  struct Entry {
    std::string file, title;
  };

  std::string tree(const Page& here) const {
    std::string html;
    for (const Group& group : groups_) {
      html += fmt::format("<h2>{}</h2>\n<ul>\n", escaped(group.title));
      for (const auto& [id, title] : group.pages) {
        const bool current = id + ".html" == here.file;
        html +=
            fmt::format("<li>{}{}</li>\n", link(id + ".html", title, current ? " aria-current=\"page\"" : ""),
                        current ? section_list(here, 2) : "");
      }
      html += "</ul>\n";
    }
    return html;
  }

  std::string turn(const Page& here) const {
    for (std::size_t i = 0; i < reading_order_.size(); ++i) {
      if (reading_order_[i].file != here.file) continue;
      std::string html = "<nav class=\"turn\" aria-label=\"Previous and next\">";
      const auto to = [&](const Entry& entry, const char* kind, const char* word) {
        html += fmt::format("<a class=\"{}\" href=\"{}\"><small>{}</small>{}</a>", kind, entry.file, word,
                            escaped(entry.title));
      };
      if (i > 0) to(reading_order_[i - 1], "previous", "\u2190 Previous");
      if (i + 1 < reading_order_.size()) to(reading_order_[i + 1], "next", "Next \u2192");
      return html + "</nav>";
    }
    return "";
  }

  // One entry a section of a chapter, and one a page or member of the reference.
  std::string search_index() const {
    std::string js = "window.searchIndex = [\n";
    std::set<std::string> chapters;
    for (const Entry& entry : reading_order_) chapters.insert(entry.file);
    for (const auto& [file, page] : pages_) {
      const auto has = [&](const char* part) { return file.find(part) != file.npos; };
      if (page.title.empty() || has("_source.html") || has("-members.html") || has("dir_") ||
          has("functions"))
        continue;
      const std::size_t begin = page.html.find("<div class=\"contents\">");
      const std::size_t end = page.html.find("</div><!-- contents -->");
      if (begin == page.html.npos || end == page.html.npos) continue;
      std::string heading = page.title, url = file;
      std::size_t from = begin;
      const auto put = [&](std::size_t to) {
        const std::string text = plain_text(page.html.substr(from, to - from));
        if (text.size() < 3) return;
        js += fmt::format("{{page:{},heading:{},url:{},text:{},chapter:{}}},\n", js_string(page.title),
                          js_string(heading), js_string(url), js_string(text), chapters.contains(file));
      };
      for (const Heading& next : page.headings) {
        const std::size_t at = page.html.find(" id=\"" + next.id + "\">", from);
        const std::size_t start = page.html.rfind('<', at);
        put(start);
        heading = next.text;
        url = file + "#" + next.id;
        from = page.html.find("<a class=\"self\"", at);
        from = page.html.find("</a>", from) + 4;
      }
      put(end);
    }
    return js + "];\n";
  }

  // Doxygen copies scripts and pictures for parts of its pages that ours do not have.
  void remove_unused() const {
    for (const auto& entry : fs::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string(),
                        extension = entry.path().extension().string();
      if (extension != ".png" && extension != ".svg" && extension != ".css" && extension != ".js") continue;
      if (name == "search-index.js") continue;
      const bool used = std::any_of(pages_.begin(), pages_.end(), [&](const auto& page) {
        return page.second.html.find("\"" + name + "\"") != std::string::npos;
      });
      if (!used) fs::remove(entry.path());
    }
  }

  fs::path folder_;
  std::vector<Group> groups_;
  std::map<std::string, Page> pages_;
  std::vector<Entry> reading_order_;
};

}  // namespace
}  // namespace book

int main(int argc, char** argv) {
  return book::run("book_pages", [&] {
    if (argc != 3) throw std::runtime_error("usage: book_pages HTML_FOLDER CONTENTS");
    book::Site(argv[1], argv[2]).write();
  });
}
