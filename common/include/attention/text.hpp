#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attention {

/// A size for people: "512 B", "1.5 KiB", "80.0 GiB".
std::string bytes_in_words(std::size_t bytes);

/// Names as a sentence lists them: "a", "a or b", "a, b or c".
std::string alternatives(const std::vector<std::string>& names);

/// Text from a file, or a path, made fit for a message of one
/// line: '?' for control characters, cut after 200 bytes.
std::string printable(std::string_view text);

/// Writes a whole file or nothing: writes a temporary file in
/// the same folder, then renames it. Follows symbolic links.
/// @throws InvalidInput, one line that names the file, where it cannot be written: the folder does not exist,
///   it is not a regular file, or the disk is full.
void write_whole_file(const std::filesystem::path& path, std::string_view contents);

/// The same for contents in several pieces.
void write_whole_file(const std::filesystem::path& path, std::span<const std::string_view> pieces);

}  // namespace attention
