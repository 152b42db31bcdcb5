#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attention {

/// The table of a run on standard output, a row at a time as results come in. The idea column takes what
/// width the terminal leaves.
class Table {
 public:
  struct Columns {
    bool timed;  ///< adds the median time and how many times faster than the row before
  };
  struct Row {
    std::string_view stage, variant, idea;
    std::optional<double> error, allowed;
    std::string_view verdict;
    std::optional<double> time_us;
  };

  explicit Table(Columns columns);
  void print_row(const Row& row);  ///< with the heading before the first

 private:
  Columns columns_;
  bool headed_ = false;
  int idea_width_;
  std::optional<double> previous_us_;
};

}  // namespace attention
