#include "table.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <string>

namespace attention {
namespace {

// Widths of the columns in print_line(), with the gaps between them.
constexpr int kOtherColumns = 14 + 18 + 9 + 10 + 13;  // stage, variant, error, tolerance, verdict
constexpr int kTimeColumns = 11 + 10;                 // time, speed-up

int terminal_width() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 150;  // a file or a pipe
}

std::string scientific(std::optional<double> value) {
  return value ? fmt::format("{:.1e}", *value) : "-";
}

}  // namespace

Table::Table(Columns columns) : columns_(columns) {
  idea_width_ = std::clamp(terminal_width() - kOtherColumns - (columns_.timed ? kTimeColumns : 0), 20, 66);
}

void Table::print_row(const Row& row) {
  if (!headed_) {
    print_line("stage", "variant", "idea", "error", "allowed", "verdict", "median us", "speed-up");
    headed_ = true;
  }
  std::string idea(row.idea);
  if (int(idea.size()) >= idea_width_) idea = idea.substr(0, std::size_t(idea_width_) - 4) + "...";
  std::string time = "-", speed_up = "-";
  if (row.time_us) {
    time = fmt::format("{:.2f}", *row.time_us);
    if (previous_us_) speed_up = fmt::format("{:.2f}x", *previous_us_ / *row.time_us);
    previous_us_ = row.time_us;
  }
  print_line(row.stage, row.variant, idea, scientific(row.error), scientific(row.allowed), row.verdict, time,
             speed_up);
  std::fflush(stdout);
}

void Table::print_line(std::string_view stage, std::string_view variant, std::string_view idea,
                       std::string_view error, std::string_view tolerance, std::string_view verdict,
                       std::string_view time, std::string_view speed_up) const {
  fmt::print("{:<14}{:<18}{:<{}}{:>9}{:>10}  {:<11}", stage, variant, idea, idea_width_, error, tolerance,
             verdict);
  if (columns_.timed) fmt::print("{:>11}{:>10}", time, speed_up);
  fmt::print("\n");
}

}  // namespace attention
