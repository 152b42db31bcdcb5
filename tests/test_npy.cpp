// .npy files: we read what NumPy writes, write what NumPy
// writes, and refuse every damaged file with a message.

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "attention/error.hpp"
#include "attention/npy.hpp"
#include "catch.hpp"

using namespace attention;
namespace fs = std::filesystem;

namespace {

/// A temporary folder, deleted with this object.
class Folder {
 public:
  Folder() {
    std::string pattern = (fs::temp_directory_path() / "attention-npy-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = pattern;
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  fs::path operator/(const std::string& name) const { return path_ / name; }
  std::size_t entries() const { return std::size_t(std::distance(fs::directory_iterator(path_), {})); }

 private:
  fs::path path_;
};

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const fs::path& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  REQUIRE(file.good());
}

/// The bytes of a .npy file with this header text, padded as NumPy does unless `pad` is false.
std::string npy(std::string header, const std::string& data, int version = 1, bool pad = true) {
  const std::size_t prefix_bytes = version == 1 ? 10 : 12;
  if (pad) header += std::string(63 - (prefix_bytes + header.size()) % 64, ' ') + '\n';
  std::string bytes = "\x93NUMPY";
  bytes += {char(version), '\0', char(header.size()), char(header.size() >> 8)};
  if (version > 1) bytes += {char(header.size() >> 16), char(header.size() >> 24)};
  return bytes + header + data;
}

std::string dict(const std::string& shape, const std::string& descr = "'<f2'",
                 const std::string& order = "False") {
  return fmt::format("{{'descr': {}, 'fortran_order': {}, 'shape': {}, }}", descr, order, shape);
}

/// `count` halves 0, 1, 2, ...
std::string half_data(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) {
    const std::uint16_t bits = __half_as_ushort(__float2half(float(i)));
    bytes += {char(bits), char(bits >> 8)};
  }
  return bytes;
}

std::string float_data(const std::vector<float>& values) {
  std::string bytes(values.size() * sizeof(float), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

/// What read_npy() says of a file, or "accepted".
std::string refusal(const fs::path& path) {
  try {
    read_npy(path);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "accepted";
}

std::string write_refusal(const fs::path& path) {
  const std::vector<half> values(4);
  try {
    write_npy(path, std::vector{1, 1, 1, 4}, values);
  } catch (const InvalidInput& error) {
    return error.what();
  }
  return "accepted";
}

std::vector<float> floats(const std::vector<half>& values) {
  std::vector<float> result;
  for (const half value : values) result.push_back(__half2float(value));
  return result;
}

}  // namespace

TEST_CASE("float16 files as NumPy writes them are read") {
  const Folder folder;
  for (const int version : {1, 2, 3}) {
    INFO("format " << version);
    put(folder / "a.npy", npy(dict("(1, 2, 3, 4)"), half_data(24), version));
    const NpyArray array = read_npy(folder / "a.npy");
    CHECK(array.shape == std::array{1, 2, 3, 4});
    REQUIRE(array.values.size() == 24);
    for (int i = 0; i < 24; ++i) CHECK(__half2float(array.values[i]) == float(i));
  }
}

TEST_CASE("float32 files are rounded to half, beyond its range to Inf") {
  const Folder folder;
  put(folder / "a.npy",
      npy(dict("(1, 1, 2, 3)", "'<f4'"), float_data({1, -2.5f, 1.0f / 3, 1e6f, 1e-9f, NAN})));
  const std::vector<float> values = floats(read_npy(folder / "a.npy").values);
  REQUIRE(values.size() == 6);
  CHECK(values[0] == 1);
  CHECK(values[1] == -2.5f);
  CHECK(values[2] == 0.333251953125f);
  CHECK(values[3] == INFINITY);
  CHECK(values[4] == 0);
  CHECK(std::isnan(values[5]));
}

TEST_CASE("A float32 file larger than one block is read whole") {
  const Folder folder;
  std::vector<float> values(3 * 16384 + 7);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = float(i % 2048);
  put(folder / "a.npy", npy(dict(fmt::format("(1, 1, 1, {})", values.size()), "'<f4'"), float_data(values)));
  CHECK(floats(read_npy(folder / "a.npy").values) == values);
}

TEST_CASE("A header may be written in any way that Python reads the same") {
  const Folder folder;
  const std::vector<std::string> headers = {
      "{'shape': (1, 1, 1, 2), 'descr': '<f2', 'fortran_order': False}",
      "{\"descr\": \"<f2\", \"fortran_order\": False, \"shape\": (1, 1, 1, 2)}",
      "  {'descr':'<f2','fortran_order':False,'shape':(1,1,1,2,),}  \n",
      "{ 'descr' : '<f2' ,\n'fortran_order' : False , 'shape' : ( 1 , 1 , 1 , 2 ) , }\t",
  };
  for (const std::string& header : headers) {
    INFO(header);
    put(folder / "a.npy", npy(header, half_data(2), 1, false));
    CHECK(refusal(folder / "a.npy") == "accepted");
  }
}

TEST_CASE("What write_npy() writes is what NumPy writes, and read_npy() reads") {
  const Folder folder;
  std::vector<half> values;
  for (int i = 0; i < 30; ++i) values.push_back(__float2half(float(i)));
  write_npy(folder / "a.npy", std::vector{1, 2, 3, 5}, values);
  // numpy.save of numpy.arange(30, dtype='<f2').reshape(1, 2, 3, 5).
  CHECK(contents(folder / "a.npy") == npy(dict("(1, 2, 3, 5)"), half_data(30)));
  CHECK(contents(folder / "a.npy").size() % 64 == (128 + 60) % 64);
  CHECK(folder.entries() == 1);
  const NpyArray array = read_npy(folder / "a.npy");
  CHECK(array.shape == std::array{1, 2, 3, 5});
  CHECK(floats(array.values) == floats(values));

  write_npy(folder / "b.npy", std::vector{30}, values);
  CHECK(contents(folder / "b.npy") == npy(dict("(30,)"), half_data(30)));
}

TEST_CASE("NaN, Inf, -0 and subnormals keep their bits") {
  const Folder folder;
  std::vector<half> values;
  for (const unsigned short bits : {0x7e00, 0xffff, 0x7c00, 0xfc00, 0x8000, 0x0001}) {
    values.push_back(__ushort_as_half(bits));
  }
  write_npy(folder / "a.npy", std::vector{1, 1, 2, 3}, values);
  const NpyArray array = read_npy(folder / "a.npy");
  for (std::size_t i = 0; i < values.size(); ++i) {
    CHECK(__half_as_ushort(array.values[i]) == __half_as_ushort(values[i]));
  }
}

TEST_CASE("Every damaged file is refused, in one line that names it and what is wrong") {
  const Folder folder;
  const std::string good = npy(dict("(1, 1, 2, 3)"), half_data(6));
  const std::string huge = "18446744073709551616";  // 2^64
  std::string many_ones = "(";
  for (int i = 0; i < 5000; ++i) many_ones += "1, ";
  many_ones += ")";
  struct Row {
    const char* what;
    std::string bytes;
    std::vector<std::string> words;
  };
  const auto with_shape = [](const std::string& shape) { return npy(dict(shape), half_data(6)); };
  const auto with_type = [](const std::string& descr) {
    return npy(dict("(1, 1, 2, 3)", descr), half_data(6));
  };
  const auto with_header = [](const std::string& header) { return npy(header, half_data(6)); };
  const std::vector<Row> rows = {
      {"empty", "", {"empty"}},
      {"text", "hello, world\n", {"not a .npy file"}},
      {"a zip, as numpy.savez writes", "PK\x03\x04 and so on", {"not a .npy file"}},
      {"half a magic", good.substr(0, 3), {"cut off after 3 bytes"}},
      {"another magic", std::string("\x93NUMPZ") + good.substr(6), {"not a .npy file"}},
      {"no version", good.substr(0, 6), {"cut off after 6 bytes"}},
      {"no header length", good.substr(0, 9), {"cut off after 9 bytes"}},
      {"format 0.0", good.substr(0, 6) + '\0' + good.substr(7), {"format 0.0", "1.0, 2.0 and 3.0"}},
      {"format 4.0", good.substr(0, 6) + '\4' + good.substr(7), {"format 4.0", "1.0, 2.0 and 3.0"}},
      {"format 1.1", good.substr(0, 7) + '\1' + good.substr(8), {"format 1.1", "1.0, 2.0 and 3.0"}},
      {"header cut off", good.substr(0, 40), {"cut off inside its header", "118 bytes", "30 left"}},
      {"a header of 4 GiB", std::string("\x93NUMPY\x02\0\xff\xff\xff\xff{", 13), {"4294967295 bytes"}},
      {"a header of 100 KB",
       npy(dict("(1, 1, 2, 3)") + std::string(100'000, ' '), half_data(6), 2),
       {"65536"}},
      {"no header", npy("", half_data(6), 1, false), {"expected a dictionary, got its end"}},
      {"header not a dictionary", with_header("['<f2', False]"), {"expected a dictionary, got '['<f2'"}},
      {"header of binary noise", with_header("\x01\x02\xff\n\x1b[2J"), {"expected a dictionary"}},
      {"empty dictionary", with_header("{}"), {"no 'descr'"}},
      {"no descr", with_header("{'fortran_order': False, 'shape': (1, 1, 2, 3)}"), {"no 'descr'"}},
      {"no fortran_order", with_header("{'descr': '<f2', 'shape': (1, 1, 2, 3)}"), {"no 'fortran_order'"}},
      {"no shape", with_header("{'descr': '<f2', 'fortran_order': False}"), {"no 'shape'"}},
      {"a key twice", with_header("{'shape': (1, 1, 2, 3), 'shape': (1, 1, 2, 3)}"), {"'shape' twice"}},
      {"another key", with_header("{'descr': '<f2', 'colour': 'red'}"), {"'colour'", "expected descr"}},
      {"dictionary left open", with_header("{'descr': '<f2', "), {"a string in quotes"}},
      {"string left open", with_header("{'descr': '<f2"), {"a closing quote"}},
      {"no colon", with_header("{'descr' '<f2'}"), {"':'"}},
      {"no comma", with_header("{'descr': '<f2' 'fortran_order': False}"), {"',' or '}'"}},
      {"bytes after the dictionary", with_header(dict("(1, 1, 2, 3)") + " x"), {"nothing after", "'x"}},
      {"fortran_order 0", npy(dict("(1, 1, 2, 3)", "'<f2'", "0"), half_data(6)), {"True or False"}},
      {"Fortran order",
       npy(dict("(1, 1, 2, 3)", "'<f2'", "True"), half_data(6)),
       {"Fortran order", "C order"}},
      {"big-endian", with_type("'>f2'"), {"'>f2' (big-endian)", "'<f2'", "'<f4'"}},
      {"float64", with_type("'<f8'"), {"'<f8'", "'<f2'", "'<f4'"}},
      {"integers", with_type("'<i2'"), {"'<i2'", "'<f2'"}},
      {"objects", with_type("'|O'"), {"'|O'", "'<f2'"}},
      {"records", with_type("[('x', '<f2')]"), {"records", "'<f2'"}},
      {"descr a number", with_type("2"), {"a string in quotes"}},
      {"a line break in a string", with_type("'<f2\nok'"), {"'<f2?ok'"}},
      {"an endless type", with_type(std::string("'") + std::string(5000, 'f') + "'"), {"fff...", "'<f2'"}},
      {"no dimensions", with_shape("()"), {"0 dimensions", "expected 4"}},
      {"three dimensions", with_shape("(1, 2, 3)"), {"3 dimensions (1, 2, 3)", "expected 4"}},
      {"five dimensions", with_shape("(1, 1, 1, 2, 3)"), {"5 dimensions", "expected 4"}},
      {"very many dimensions", with_shape(many_ones), {"5000 dimensions (1, 1, 1, 1, 1, 1, 1, 1, ...)"}},
      {"shape a number", with_shape("6"), {"a shape in parentheses"}},
      {"shape of strings", with_shape("('1', 1, 2, 3)"), {"a dimension"}},
      {"shape of fractions", with_shape("(1.5, 1, 2, 3)"), {"',' or ')'"}},
      {"shape left open", with_header("{'shape': (1, 1"), {"',' or ')'"}},
      {"a zero dimension", with_shape("(1, 0, 2, 3)"), {"dimension of 0", "(1, 0, 2, 3)", "1 and above"}},
      {"a negative dimension", with_shape("(1, -1, 2, 3)"), {"negative", "1 and above"}},
      {"a dimension of 2^31", with_shape("(1, 1, 2147483648, 3)"), {"2147483648", "2^31 - 1"}},
      {"a dimension of 2^64", with_shape("(1, 1, " + huge + ", 3)"), {"2^40"}},
      {"a product of 2^64", with_shape("(65536, 65536, 65536, 65536)"), {"2^40"}},
      {"a product of 2^64 + 6", with_shape("(2, 3, 1431655766, 2147483647)"), {"2^40"}},
      {"2^40 elements that are not there", with_shape("(1024, 1024, 1024, 1024)"), {"cut off", "got 12"}},
      {"no data", npy(dict("(1, 1, 2, 3)"), ""), {"cut off", "takes 12 bytes", "got 0"}},
      {"data cut off", good.substr(0, good.size() - 1), {"cut off", "takes 12 bytes", "got 11"}},
      {"bytes left over", good + '\0', {"left over", "takes 12 bytes", "got 13"}},
      {"float32 said, float16 there", with_type("'<f4'"), {"cut off", "takes 24 bytes", "got 12"}},
  };
  REQUIRE((put(folder / "good.npy", good), refusal(folder / "good.npy")) == "accepted");
  const fs::path path = folder / "damaged.npy";
  for (const Row& row : rows) {
    put(path, row.bytes);
    const std::string message = refusal(path);
    INFO(row.what << ": " << message);
    CHECK(message.starts_with(path.string() + ": "));
    CHECK(message.size() < path.string().size() + 400);
    CHECK(std::none_of(message.begin(), message.end(), [](char c) { return (unsigned char)c < 0x20; }));
    for (const std::string& word : row.words) CHECK_THAT(message, Catch::Contains(word));
  }
}

TEST_CASE("What is no file is refused") {
  const Folder folder;
  CHECK_THAT(refusal(folder / "missing.npy"), Catch::Contains("missing.npy: cannot be read: No such file"));
  CHECK_THAT(refusal(folder / ""), Catch::Contains("folder"));
  CHECK_THAT(refusal(""), Catch::Contains("No such file"));
  CHECK_THAT(refusal("/dev/null"), Catch::Contains("not a regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK_THAT(refusal(folder / "pipe"), Catch::Contains("not a regular file"));  // and not waited for
  CHECK_THAT(refusal(folder / std::string(300, 'x')), Catch::Contains("File name too long"));
  CHECK_THAT(refusal(folder / "two\nlines"), Catch::Contains("two?lines: cannot be read"));
  put(folder / "file", "");
  CHECK_THAT(refusal(folder / "file/a.npy"), Catch::Contains("cannot be read"));
}

TEST_CASE("Random damage never crashes: a file is loaded as it says, or refused") {
  const Folder folder;
  const fs::path path = folder / "a.npy";
  const std::string good = npy(dict("(1, 2, 3, 4)"), half_data(24));
  const std::string alphabet = "{}()[]'\",: 0123456789<>f248TrueFalse-\n\xff";
  std::mt19937 random(1);
  const auto below = [&](std::size_t limit) { return std::size_t(random()) % limit; };
  int accepted = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string bytes = good;
    for (std::size_t mutation = 1 + below(3); mutation > 0; --mutation) {
      const std::size_t place = below(std::min<std::size_t>(bytes.size(), below(2) == 0 ? 80 : 1000));
      switch (below(5)) {
        case 0:
          bytes[place] = char(random());
          break;
        case 1:
          bytes[place] = alphabet[below(alphabet.size())];
          break;
        case 2:
          bytes.insert(place, 1, alphabet[below(alphabet.size())]);
          break;
        case 3:
          bytes.erase(place, 1 + below(4));
          break;
        case 4:
          bytes.resize(1 + below(bytes.size()));
          break;
      }
      if (bytes.empty()) bytes.push_back('?');
    }
    put(path, bytes);
    try {
      const NpyArray array = read_npy(path);
      std::size_t elements = 1;
      for (const int size : array.shape) elements *= std::size_t(size);
      CHECK(elements == array.values.size());
      CHECK(elements * 2 <= bytes.size());
      ++accepted;
    } catch (const InvalidInput& error) {
      const std::string message = error.what();
      if (!message.starts_with(path.string()) || message.find('\n') != message.npos) FAIL(message);
    }
  }
  CHECK(accepted > 30);  // damage to data alone cannot be seen
  CHECK(accepted < 2000);
}

TEST_CASE("A file is replaced whole, through links too") {
  const Folder folder;
  put(folder / "a.npy", "what was there before");
  fs::create_symlink("a.npy", folder / "link.npy");
  CHECK(write_refusal(folder / "link.npy") == "accepted");
  CHECK(fs::is_symlink(folder / "link.npy"));
  CHECK(read_npy(folder / "a.npy").shape == std::array{1, 1, 1, 4});
  CHECK(folder.entries() == 2);
}

TEST_CASE("What cannot be written is refused in words, and leaves nothing behind") {
  const Folder folder;
  fs::create_directory(folder / "folder.npy");
  CHECK_THAT(write_refusal(folder / "folder.npy"),
             Catch::Contains("folder.npy: cannot be written: it is a folder"));
  CHECK_THAT(write_refusal(folder / "none/a.npy"), Catch::Contains("there is no folder"));
  CHECK_THAT(write_refusal("/dev/null"), Catch::Contains("not a regular file"));
  CHECK_THAT(write_refusal(""), Catch::Contains("cannot be written"));
  CHECK_THAT(write_refusal(folder / std::string(300, 'x')), Catch::Contains("File name too long"));
  CHECK(folder.entries() == 1);
  if (::geteuid() != 0) {  // root may write anywhere
    REQUIRE(::chmod((folder / "folder.npy").c_str(), 0500) == 0);
    CHECK_THAT(write_refusal(folder / "folder.npy/a.npy"), Catch::Contains("Permission denied"));
    CHECK(fs::is_empty(folder / "folder.npy"));
  }
}

TEST_CASE("Values that do not fill the shape are a bug of the caller") {
  const Folder folder;
  const std::vector<half> values(5);
  CHECK_THROWS_AS(write_npy(folder / "a.npy", std::vector{1, 1, 2, 3}, values), std::logic_error);
  CHECK_THROWS_AS(write_npy(folder / "a.npy", std::vector{-5, -1}, values), std::logic_error);
  CHECK(folder.entries() == 0);
}
