#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace attention {

/// "512 B", "1.5 KiB", "80.0 GiB".
std::string bytes_in_words(std::size_t bytes);

/// "a", "a or b", "a, b or c".
std::string alternatives(const std::vector<std::string>& names);

/// Writes a whole file or nothing: beside its place first, then renamed over it.
/// @throws InvalidInput naming the path where it cannot be written.
void write_whole_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace attention
