#include "names.hpp"

#include <cuda_fp16.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "attention/error.hpp"

namespace attention::bench {
namespace {

constexpr std::array<std::string_view, 4> kModes = {"chain", "single", "cold", "streams"};

// Takes "H8" or "H8-2" off the front of `text`: a letter,
// then one number or two. False where it begins otherwise.
bool read_sizes(std::string_view& text, char letter, char separator, int& first, std::optional<int>& second) {
  const auto read_number = [&](int& number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return false;
    text.remove_prefix(std::size_t(end - text.data()));
    return true;
  };
  if (text.empty() || text.front() != letter) return false;
  text.remove_prefix(1);
  if (!read_number(first)) return false;
  if (separator == '\0' || text.empty() || text.front() != separator) return true;
  text.remove_prefix(1);
  return read_number(second.emplace());
}

bool read_underscore(std::string_view& text) {
  if (text.empty() || text.front() != '_') return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::string_view name(Mode mode) {
  return kModes[std::size_t(mode)];
}

std::string shape_name(const Problem& problem) {
  std::string text = fmt::format("B{}_H{}", problem.batch, problem.heads);
  if (problem.kv_heads != problem.heads) text += fmt::format("-{}", problem.kv_heads);
  text += fmt::format("_S{}", problem.seq_q);
  if (problem.seq_kv != problem.seq_q) text += fmt::format("x{}", problem.seq_kv);
  text += fmt::format("_D{}", problem.head_dim);
  if (problem.causal) text += "_causal";
  return text;
}

Problem parse_shape(std::string_view shape) {
  std::string_view rest = shape;
  Shape sizes;
  std::optional<int> none;
  const bool read = read_sizes(rest, 'B', '\0', sizes.batch, none) && read_underscore(rest) &&
                    read_sizes(rest, 'H', '-', sizes.heads, sizes.kv_heads) && read_underscore(rest) &&
                    read_sizes(rest, 'S', 'x', sizes.seq_q, sizes.seq_kv) && read_underscore(rest) &&
                    read_sizes(rest, 'D', '\0', sizes.head_dim, none);
  sizes.causal = rest == "_causal";
  if (!read || !(rest.empty() || sizes.causal)) {
    throw InvalidInput(fmt::format(
        "a shape looks like B1_H8_S512_D64, B1_H8-2_S17x257_D64 or B1_H8_S512_D64_causal, got '{}'", shape));
  }
  return Problem(sizes);
}

std::size_t compulsory_bytes(const Problem& problem) {
  return 2 * sizeof(half) * (problem.q_elements() + problem.kv_elements());
}

std::string join(const Name& name) {
  return fmt::format("{}/{}/{}/{}", name.who, name.variant, name.shape, name.mode);
}

std::optional<Name> split(std::string_view name) {
  std::array<std::string, 4> parts;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const std::size_t end = std::min(name.find('/'), name.size());
    if (end == 0) return {};
    parts[i] = name.substr(0, end);
    name.remove_prefix(std::min(end + 1, name.size()));
  }
  return Name{parts[0], parts[1], parts[2], parts[3]};
}

std::vector<Case> plan(bool quick) {
  std::vector<Case> cases;
  if (quick) return {{Problem(), {Mode::chain}, Who::all}};
  for (const bool causal : {false, true}) {
    cases.push_back(
        {Problem({.causal = causal}), {Mode::chain, Mode::single, Mode::cold, Mode::streams}, Who::all});
  }
  for (int seq = 128; seq <= 16384; seq *= 2) {
    if (seq != Problem().seq_q) cases.push_back({Problem({.seq_q = seq}), {Mode::chain}, Who::defaults});
  }
  constexpr int kTokens = 16384, kChannels = 2048;
  for (const int head_dim : {64, 128}) {
    for (const int seq : {2048, 8192, kTokens}) {
      for (const bool causal : {false, true}) {
        cases.push_back({Problem({.batch = kTokens / seq,
                                  .heads = kChannels / head_dim,
                                  .seq_q = seq,
                                  .head_dim = head_dim,
                                  .causal = causal}),
                         {Mode::chain},
                         seq == 8192 ? Who::defaults_and_long : Who::defaults});
      }
    }
  }
  return cases;
}

std::vector<Case> survey() {
  std::vector<Case> cases;
  const auto add = [&](const Shape& shape) {
    cases.push_back({Problem(shape), {Mode::chain}, Who::candidates});
  };
  for (const int head_dim : {64, 128}) {
    for (const int seq : {128, 256, 512, 1024, 2048, 4096}) {
      for (const int heads : {1, 4, 16, 64}) {
        if (heads * seq > 64 * 2048) continue;  // like S = 2048, but slow to prepare and check
        for (const bool causal : {false, true}) {
          add({.heads = heads, .seq_q = seq, .head_dim = head_dim, .causal = causal});
        }
      }
    }
    for (const int batch : {8, 32}) {
      for (const int seq : {128, 197, 384, 1500})
        add({.batch = batch, .heads = 12, .seq_q = seq, .head_dim = head_dim});
    }
    add({.batch = 4, .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 8192, .head_dim = head_dim});
    add({.batch = 16, .heads = 32, .kv_heads = 8, .seq_q = 1, .seq_kv = 2048, .head_dim = head_dim});
    for (const int seq_q : {1, 128}) {
      for (const int seq_kv : {2048, 8192, 32768}) {
        add({.seq_q = seq_q, .seq_kv = seq_kv, .head_dim = head_dim});
      }
    }
  }
  return cases;
}

}  // namespace attention::bench
