#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "results.hpp"

// What is written into the repository from recorded results: the blocks between `<!-- results: NAME -->` and
// `<!-- /results -->` of Markdown files, and the picture of the ladder. NAME is a stage, `ladder` (every
// variant on the headline shape), `shapes` (other shapes beside the rivals) or `large` (the largest, by
// length).
namespace attention::bench {

/// The Markdown of one block. Says in one line that nothing is recorded where that is so. `to_root` leads
/// from the document's folder to the repository's ("../../").
std::string block(const std::string& name, const std::vector<Results>& all, const std::string& to_root);

/// `markdown` with every block replaced; nothing else changes. @throws InvalidInput naming `file`, for a
/// block that is not closed.
std::string with_blocks(const std::string& markdown, const std::string& file,
                        const std::vector<Results>& all);

/// Input of gnuplot that draws the ladder of one file as SVG on standard output.
std::string ladder_plot(const Results& results);

/// A mark for the SVG made from this plot: it tells a picture of older results without drawing it again.
std::string ladder_mark(const Results& results);

/// A file of the repository and what it should contain. A picture is compared by its mark alone, because
/// versions of gnuplot draw differently.
struct Generated {
  std::filesystem::path path;
  std::string contents;
  bool picture = false;
};

/// Every Markdown file with blocks under `root` (README.md, stages/*/README.md, book/*.md), as it should be.
/// @throws InvalidInput also for a stage's README.md without a block of its own.
std::vector<Generated> generate_documents(const std::filesystem::path& root);

/// The picture docs/ladder.svg, drawn by gnuplot where `draw`; nothing where no results are recorded.
/// @throws InvalidInput where gnuplot is missing or fails.
std::optional<Generated> generate_picture(const std::filesystem::path& root, bool draw);

}  // namespace attention::bench
