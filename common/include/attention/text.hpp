#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attention {

/// "512 B", "1.5 KiB", "80.0 GiB".
std::string bytes_in_words(std::size_t bytes);

/// "a", "a or b", "a, b or c".
std::string alternatives(const std::vector<std::string>& names);

/// Text from a file, or a path, so that it fits in a message of one line: no control characters, not too
/// long.
std::string printable(std::string_view text);

/// Writes a whole file or nothing: beside its place first, then renamed over it. Follows a symbolic link.
/// @throws InvalidInput in one line where it cannot be written: no such folder, not a regular file, a full
/// disk.
void write_whole_file(const std::filesystem::path& path, std::string_view contents);

/// The same for contents in several pieces.
void write_whole_file(const std::filesystem::path& path, std::span<const std::string_view> pieces);

}  // namespace attention
