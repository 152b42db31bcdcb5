#include "attention/npy.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

#include "attention/error.hpp"
#include "attention/text.hpp"

namespace attention {
namespace {

static_assert(std::endian::native == std::endian::little, "element bytes are copied as they are in the file");
static_assert(sizeof(half) == 2 && sizeof(float) == 4);

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxHeaderBytes = 64 * 1024;  // NumPy's own reader stops at 10000 characters
constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 40;

[[noreturn]] void refuse(const fs::path& path, const std::string& why) {
  throw InvalidInput(fmt::format("{}: {}", printable(path.string()), why));
}

std::string words(int error_number) {
  return std::generic_category().message(error_number);
}

/// Parses the Python dictionary in front of the data, of which the format allows this much:
/// {'descr': '<f2', 'fortran_order': False, 'shape': (1, 8, 512, 64), }
class HeaderParser {
 public:
  struct Header {
    std::string descr;
    bool fortran_order;
    std::vector<std::uint64_t> shape;
  };

  HeaderParser(const fs::path& path, std::string_view text) : path_(path), text_(text) {}

  Header parse() {
    std::optional<std::string> descr;
    std::optional<bool> fortran_order;
    std::optional<std::vector<std::uint64_t>> shape;
    expect('{', "a dictionary");
    while (!accept('}')) {
      const std::string key = string();
      expect(':', "':' after a key");
      bool first = false;
      if (key == "descr") {
        first = !descr;
        descr = type();
      } else if (key == "fortran_order") {
        first = !fortran_order;
        fortran_order = boolean();
      } else if (key == "shape") {
        first = !shape;
        shape = tuple();
      } else {
        refuse(path_, fmt::format("header has the key '{}', expected descr, fortran_order and shape only",
                                  printable(key)));
      }
      if (!first) refuse(path_, fmt::format("header has the key '{}' twice", key));
      if (!accept(',')) {
        expect('}', "',' or '}' after a value");
        break;
      }
    }
    skip_space();
    if (position_ != text_.size()) malformed("nothing after the dictionary");
    for (const auto& [key, present] : {std::pair{"descr", descr.has_value()},
                                       {"fortran_order", fortran_order.has_value()},
                                       {"shape", shape.has_value()}}) {
      if (!present) refuse(path_, fmt::format("header has no '{}'", key));
    }
    return {*descr, *fortran_order, *shape};
  }

 private:
  [[noreturn]] void malformed(const std::string& expected) {
    const std::string_view rest = text_.substr(std::min(position_, text_.size()));
    const std::string got = rest.empty() ? "its end" : fmt::format("'{}'", printable(rest.substr(0, 40)));
    refuse(path_, fmt::format("damaged header: expected {}, got {}", expected, got));
  }

  void skip_space() { position_ = std::min(text_.find_first_not_of(" \t\n\r", position_), text_.size()); }

  bool accept(char c) {
    skip_space();
    if (position_ >= text_.size() || text_[position_] != c) return false;
    ++position_;
    return true;
  }

  void expect(char c, const std::string& expected) {
    if (!accept(c)) malformed(expected);
  }

  bool accept_word(std::string_view word) {
    skip_space();
    if (!text_.substr(position_).starts_with(word)) return false;
    position_ += word.size();
    return true;
  }

  std::string string() {
    skip_space();
    const char quote = position_ < text_.size() ? text_[position_] : '\0';
    if (quote != '\'' && quote != '"') malformed("a string in quotes");
    const std::size_t end = text_.find(quote, position_ + 1);
    if (end == text_.npos) malformed("a closing quote");
    std::string value(text_.substr(position_ + 1, end - position_ - 1));
    position_ = end + 1;
    return value;
  }

  std::string type() {
    skip_space();
    if (position_ < text_.size() && text_[position_] == '[') {
      refuse(path_, "elements are records, allowed are float16 ('<f2') and float32 ('<f4')");
    }
    return string();
  }

  bool boolean() {
    if (accept_word("True")) return true;
    if (accept_word("False")) return false;
    malformed("True or False");
  }

  std::vector<std::uint64_t> tuple() {
    std::vector<std::uint64_t> values;
    expect('(', "a shape in parentheses");
    while (!accept(')')) {
      skip_space();
      const char* const begin = text_.data() + position_;
      const char* const end = text_.data() + text_.size();
      if (begin != end && *begin == '-') {
        refuse(path_, "header has a negative dimension, allowed are 1 and above");
      }
      std::uint64_t value = 0;
      const auto [stop, error] = std::from_chars(begin, end, value);
      if (error == std::errc::invalid_argument) malformed("a dimension");
      // A dimension of more than 64 bits is huge, whatever its digits say.
      values.push_back(error == std::errc{} ? value : std::numeric_limits<std::uint64_t>::max());
      position_ += std::size_t(stop - begin);
      if (!accept(',')) {
        expect(')', "',' or ')' after a dimension");
        break;
      }
    }
    return values;
  }

  const fs::path& path_;
  std::string_view text_;
  std::size_t position_ = 0;
};

std::string shape_text(std::span<const std::uint64_t> shape) {
  constexpr std::size_t kLongest = 8;
  return fmt::format("({}{})", fmt::join(shape.first(std::min(shape.size(), kLongest)), ", "),
                     shape.size() > kLongest ? ", ..." : "");
}

/// A file that is being read. Its size is known, so we never read or allocate more than it has.
class File {
 public:
  explicit File(const fs::path& path) : path_(path) {
    std::error_code error;
    const fs::file_status status = fs::status(path, error);
    if (!fs::exists(status)) {
      refuse(path, fmt::format("cannot be read: {}", error ? error.message() : words(ENOENT)));
    }
    if (fs::is_directory(status)) refuse(path, "is a folder, expected a .npy file");
    if (!fs::is_regular_file(status)) refuse(path, "is not a regular file, expected a .npy file");
    stream_.open(path, std::ios::binary);
    if (!stream_) refuse(path, fmt::format("cannot be read: {}", words(errno)));
    size_ = fs::file_size(path, error);
    if (error) refuse(path, fmt::format("cannot be read: {}", error.message()));
  }

  std::uint64_t size() const { return size_; }
  std::uint64_t left() const { return size_ - position_; }

  void read(void* bytes, std::size_t count) {
    if (count > left()) refuse(path_, fmt::format("is cut off after {} bytes, inside its header", size_));
    stream_.read(static_cast<char*>(bytes), std::streamsize(count));
    if (std::size_t(stream_.gcount()) != count) refuse(path_, "cannot be read to its end");
    position_ += count;
  }

 private:
  const fs::path& path_;
  std::ifstream stream_;
  std::uint64_t size_ = 0;
  std::uint64_t position_ = 0;
};

std::string read_header_text(const fs::path& path, File& file) {
  if (file.size() == 0) refuse(path, "is empty, expected a .npy file");
  unsigned char prefix[8] = {};  // magic, major and minor version
  const std::size_t prefix_bytes = std::min<std::uint64_t>(sizeof prefix, file.size());
  file.read(prefix, prefix_bytes);
  if (std::memcmp(prefix, kMagic.data(), std::min(kMagic.size(), prefix_bytes)) != 0) {
    refuse(path, "is not a .npy file: it does not begin with \\x93NUMPY");
  }
  if (prefix_bytes < sizeof prefix) {
    refuse(path, fmt::format("is cut off after {} bytes, inside its header", prefix_bytes));
  }
  const int major = prefix[6];
  const int minor = prefix[7];
  if (major < 1 || major > 3 || minor != 0) {
    refuse(path, fmt::format("is of .npy format {}.{}, allowed are 1.0, 2.0 and 3.0", major, minor));
  }

  std::uint32_t header_bytes = 0;  // little-endian: 2 bytes in format 1.0, 4 bytes in later ones
  file.read(&header_bytes, major == 1 ? 2 : 4);
  if (header_bytes > file.left()) {
    refuse(path, fmt::format("is cut off inside its header: {} bytes announced, {} left", header_bytes,
                             file.left()));
  }
  if (header_bytes > kMaxHeaderBytes) {
    refuse(path, fmt::format("has a header of {} bytes, allowed are {}", header_bytes, kMaxHeaderBytes));
  }
  std::string text(header_bytes, '\0');
  file.read(text.data(), text.size());
  return text;
}

std::array<int, 4> checked_shape(const fs::path& path, const std::vector<std::uint64_t>& shape) {
  if (shape.size() != 4) {
    refuse(path, fmt::format("has {} dimensions {}, expected 4: batch, heads, rows, head_dim", shape.size(),
                             shape_text(shape)));
  }
  std::array<int, 4> result = {};
  std::uint64_t elements = 1;
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0) {
      refuse(path, fmt::format("has a dimension of 0 in {}, allowed are 1 and above", shape_text(shape)));
    }
    if (shape[i] > std::uint64_t(std::numeric_limits<int>::max()) || elements > kMaxElements / shape[i]) {
      refuse(path, fmt::format("has the shape {}, allowed are up to 2^40 elements, 2^31 - 1 per dimension",
                               shape_text(shape)));
    }
    elements *= shape[i];
    result[i] = int(shape[i]);
  }
  return result;
}

std::string dtype_refusal(const std::string& descr) {
  return fmt::format(
      "has elements of type '{}'{}, allowed are float16 ('<f2') and float32 ('<f4'), little-endian",
      printable(descr), descr.starts_with('>') ? " (big-endian)" : "");
}

}  // namespace

NpyArray read_npy(const fs::path& path) {
  File file(path);
  const std::string header_text = read_header_text(path, file);
  const auto header = HeaderParser(path, header_text).parse();
  const bool is_half = header.descr == "<f2";
  if (!is_half && header.descr != "<f4") refuse(path, dtype_refusal(header.descr));
  if (header.fortran_order) refuse(path, "is in Fortran order, expected C order (numpy.ascontiguousarray)");

  NpyArray array;
  array.shape = checked_shape(path, header.shape);
  std::uint64_t elements = 1;
  for (const int size : array.shape) elements *= std::uint64_t(size);
  const std::uint64_t data_bytes = elements * (is_half ? sizeof(half) : sizeof(float));
  if (data_bytes != file.left()) {
    refuse(path, fmt::format("{}: {} of '{}' takes {} bytes of data, got {}",
                             data_bytes > file.left() ? "is cut off" : "has bytes left over",
                             shape_text(header.shape), header.descr, data_bytes, file.left()));
  }

  array.values.resize(elements);
  if (is_half) {
    file.read(array.values.data(), data_bytes);
    return array;
  }
  constexpr std::size_t kBlock = 16 * 1024;
  std::vector<float> block(std::min<std::uint64_t>(kBlock, elements));
  for (std::size_t done = 0; done < elements;) {
    const std::size_t count = std::min(block.size(), std::size_t(elements - done));
    file.read(block.data(), count * sizeof(float));
    std::transform(block.begin(), block.begin() + count, array.values.begin() + done,
                   [](float value) { return __float2half(value); });
    done += count;
  }
  return array;
}

void write_npy(const fs::path& path, std::span<const int> shape, std::span<const half> values) {
  std::uint64_t elements = 1;
  for (const int size : shape) {
    if (size < 0) throw std::logic_error(fmt::format("write_npy: negative dimension {}", size));
    elements *= std::uint64_t(size);
  }
  if (elements != values.size()) {
    throw std::logic_error(
        fmt::format("write_npy: {} values for a shape of {} elements", values.size(), elements));
  }
  std::string header = fmt::format("{{'descr': '<f2', 'fortran_order': False, 'shape': ({}{}), }}",
                                   fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  // Format 1.0: magic, version, header length; spaces and a newline fill up to a multiple of 64 bytes.
  constexpr std::size_t kPrefixBytes = 10;
  header.append(63 - (kPrefixBytes + header.size()) % 64, ' ');
  header += '\n';
  std::string prefix(kMagic);
  prefix += {'\x01', '\x00', char(header.size() & 0xff), char(header.size() >> 8)};

  const std::string_view data(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  const std::string_view pieces[] = {prefix, header, data};
  write_whole_file(path, pieces);
}

}  // namespace attention
