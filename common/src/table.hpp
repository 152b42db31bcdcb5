#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace attention {

/// The table of a run on standard output, printed row by row as results come in. The column of ideas takes
/// the width that the terminal leaves for it.
class Table {
 public:
  struct Columns {
    bool timed;  ///< adds two columns: the median time, and the speed-up over the row before
  };
  struct Row {
    std::string_view stage, variant, idea;
    std::optional<double> error, allowed;
    std::string_view verdict;
    std::optional<double> time_us;  ///< microseconds per call
  };

  explicit Table(Columns columns);
  void print_row(const Row& row);  ///< prints the heading first where this is the first row

 private:
  void print_line(std::string_view stage, std::string_view variant, std::string_view idea,
                  std::string_view error, std::string_view tolerance, std::string_view verdict,
                  std::string_view time, std::string_view speed_up) const;

  Columns columns_;
  bool headed_ = false;
  int idea_width_;
  std::optional<double> previous_us_;
};

}  // namespace attention
