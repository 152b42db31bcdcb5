#include "attention/text.hpp"

#include <unistd.h>

#include <cstdio>
#include <fstream>

#include "attention/error.hpp"

namespace attention {

std::string bytes_in_words(std::size_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = double(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) value /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %s", value, units[unit]);
  return text;
}

std::string alternatives(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

void write_whole_file(const std::filesystem::path& path, std::string_view contents) {
  // The process's number keeps two programs that write the same file apart until each renames its own.
  const std::filesystem::path partial = path.string() + ".partial-" + std::to_string(getpid());
  const auto fail = [&](const std::string& reason) {
    std::error_code ignored;
    std::filesystem::remove(partial, ignored);
    throw InvalidInput("cannot write " + path.string() + ": " + reason);
  };
  {
    std::ofstream file(partial, std::ios::binary | std::ios::trunc);
    if (!file) fail("its folder is missing or not writable");
    file.write(contents.data(), std::streamsize(contents.size()));
    file.close();
    if (!file) fail("the disk is full or failed");
  }
  std::error_code error;
  std::filesystem::rename(partial, path, error);
  if (error) fail(error.message());
}

}  // namespace attention
