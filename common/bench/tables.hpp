#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "results.hpp"

// What `report` writes into the repository from recorded results: the blocks between `<!-- results: NAME -->`
// and `<!-- /results -->` of Markdown files, and the picture of the ladder. NAME is a stage, `ladder` (every
// variant on the headline shape), `shapes` (the other shapes, with libraries) or `large` (the largest shapes,
// one column per length).
namespace attention::bench {

/// The Markdown of one block, or one line saying that nothing is recorded. `to_root` is the path from the
/// document's folder to the repository's ("../../").
std::string block(const std::string& name, const std::vector<Results>& all, const std::string& to_root);

/// `markdown` with every block replaced; nothing else changes. `file` is its path in the repository.
/// @throws InvalidInput naming `file`, for a block that is not closed or whose name is unknown.
std::string with_blocks(const std::string& markdown, const std::string& file,
                        const std::vector<Results>& all);

/// Commands for gnuplot that draw the ladder of one results file as SVG on standard output.
std::string ladder_plot(const Results& results);

/// A comment for the SVG with a hash of ladder_plot(): it shows
/// that a picture is of older results without drawing it.
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
