#include "attention/text.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <system_error>

#include "attention/error.hpp"

namespace attention {
namespace {

namespace fs = std::filesystem;

/// Deletes a file unless told to keep it.
struct TemporaryFile {
  fs::path path;
  bool keep = false;
  ~TemporaryFile() {
    if (!keep) ::unlink(path.c_str());
  }
};

/// Writes all pieces and closes the file; gives an error number, or 0. A full disk may show at close() only.
int write_all(int descriptor, std::span<const std::string_view> pieces) {
  int error = 0;
  for (std::string_view piece : pieces) {
    while (!piece.empty() && error == 0) {
      const ssize_t written = ::write(descriptor, piece.data(), piece.size());
      if (written >= 0) {
        piece.remove_prefix(std::size_t(written));
      } else if (errno != EINTR) {
        error = errno;
      }
    }
  }
  if (::close(descriptor) != 0 && error == 0) error = errno;
  return error;
}

std::string words(int error_number) {
  return std::generic_category().message(error_number);
}

[[noreturn]] void cannot_write(const fs::path& path, const std::string& why) {
  throw InvalidInput(fmt::format("{}: cannot be written: {}", printable(path.string()), why));
}

}  // namespace

std::string bytes_in_words(std::size_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  const char* const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = double(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(units)) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, units[unit]);
}

std::string alternatives(const std::vector<std::string>& names) {
  std::string text;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) text += i + 1 == names.size() ? " or " : ", ";
    text += names[i];
  }
  return text;
}

std::string printable(std::string_view text) {
  constexpr std::size_t kLongest = 200;
  std::string result;
  for (const unsigned char c : text.substr(0, kLongest)) result += c < 0x20 || c == 0x7f ? '?' : char(c);
  if (text.size() > kLongest) result += "...";
  return result;
}

void write_whole_file(const fs::path& path, std::span<const std::string_view> pieces) {
  std::error_code ignored;  // open() or rename() below fail again, and say why
  const fs::path target = fs::is_symlink(path, ignored) ? fs::weakly_canonical(path, ignored) : path;
  const fs::file_status status = fs::status(target, ignored);
  if (fs::is_directory(status)) cannot_write(path, "it is a folder");
  if (fs::exists(status) && !fs::is_regular_file(status)) cannot_write(path, "it is not a regular file");
  const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
  if (!fs::is_directory(folder, ignored)) {
    cannot_write(path, fmt::format("there is no folder {}", printable(folder.string())));
  }

  static std::atomic<unsigned> counter = 0;
  TemporaryFile temporary{folder / fmt::format(".partial-{}-{}", ::getpid(), counter++)};
  const int descriptor = ::open(temporary.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0) {
    const int number = errno;
    temporary.keep = true;  // nothing of ours to delete
    cannot_write(path, words(number));
  }
  if (const int number = write_all(descriptor, pieces)) cannot_write(path, words(number));
  std::error_code error;
  fs::rename(temporary.path, target, error);
  if (error) cannot_write(path, error.message());
  temporary.keep = true;
}

void write_whole_file(const fs::path& path, std::string_view contents) {
  write_whole_file(path, {&contents, 1});
}

}  // namespace attention
