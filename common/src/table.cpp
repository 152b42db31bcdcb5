#include "table.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace attention {
namespace {

constexpr int kOtherColumns =
    10 + 18 + 9 + 10 + 13;  // stage, variant, error, tolerance, verdict with their gaps
constexpr int kTimeColumns = 11 + 10;

int terminal_width() {
  winsize size = {};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 150;  // a file or a pipe
}

}  // namespace

Table::Table(Columns columns) : columns_(columns) {
  idea_width_ = std::clamp(terminal_width() - kOtherColumns - (columns_.timed ? kTimeColumns : 0), 20, 66);
}

void Table::print_row(const Row& row) {
  if (!headed_) {
    std::printf("%-10s%-18s%-*s%9s%10s  %-11s", "stage", "variant", idea_width_, "idea", "error", "allowed",
                "verdict");
    if (columns_.timed) std::printf("%11s%10s", "median us", "speed-up");
    std::printf("\n");
    headed_ = true;
  }
  const auto scientific = [](std::optional<double> value) {
    char text[16] = "-";
    if (value) std::snprintf(text, sizeof text, "%.1e", *value);
    return std::string(text);
  };
  std::string idea(row.idea);
  if (int(idea.size()) >= idea_width_) idea = idea.substr(0, std::size_t(idea_width_) - 4) + "...";
  std::printf("%-10.*s%-18.*s%-*s%9s%10s  %-11.*s", int(row.stage.size()), row.stage.data(),
              int(row.variant.size()), row.variant.data(), idea_width_, idea.c_str(),
              scientific(row.error).c_str(), scientific(row.allowed).c_str(), int(row.verdict.size()),
              row.verdict.data());
  if (columns_.timed) {
    char time[16] = "-", ratio[16] = "-";
    if (row.time_us) std::snprintf(time, sizeof time, "%.2f", *row.time_us);
    if (row.time_us && previous_us_)
      std::snprintf(ratio, sizeof ratio, "%.2fx", *previous_us_ / *row.time_us);
    std::printf("%11s%10s", time, ratio);
    if (row.time_us) previous_us_ = row.time_us;
  }
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace attention
