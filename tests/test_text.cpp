#include <filesystem>
#include <fstream>

#include "attention/error.hpp"
#include "attention/text.hpp"
#include "catch.hpp"

using namespace attention;

TEST_CASE("bytes in words") {
  CHECK(bytes_in_words(0) == "0 B");
  CHECK(bytes_in_words(1023) == "1023 B");
  CHECK(bytes_in_words(1536) == "1.5 KiB");
  CHECK(bytes_in_words(std::size_t(80) << 30) == "80.0 GiB");
}

TEST_CASE("alternatives read as a sentence does") {
  CHECK(alternatives({"a"}) == "a");
  CHECK(alternatives({"a", "b"}) == "a or b");
  CHECK(alternatives({"a", "b", "c"}) == "a, b or c");
}

TEST_CASE("a file is written whole or not at all") {
  const auto folder = std::filesystem::temp_directory_path() / "attention_test_text";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directory(folder);
  write_whole_file(folder / "file", "old");
  write_whole_file(folder / "file", "new contents");
  std::string contents;
  std::getline(std::ifstream(folder / "file"), contents);
  CHECK(contents == "new contents");

  CHECK_THROWS_AS(write_whole_file(folder / "missing" / "file", "x"), InvalidInput);
  CHECK_THROWS_AS(write_whole_file(folder, "a folder stands there"), InvalidInput);
  CHECK_THROWS_AS(write_whole_file("/dev/null", "a device stands there"), InvalidInput);
  const auto entries = std::filesystem::directory_iterator(folder);
  CHECK(std::distance(begin(entries), end(entries)) == 1);  // nothing half-written beside it
  std::filesystem::remove_all(folder);
}
