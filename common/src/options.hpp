#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "attention/device.hpp"
#include "attention/inputs.hpp"
#include "attention/problem.hpp"

namespace attention {

/// The command line of a stage's program, parsed.
struct Options {
  bool list = false;
  std::vector<std::string> stages;     ///< of those linked in; all where empty
  std::optional<std::string> variant;  ///< a name, or "all"
  Shape shape;
  Distribution inputs = Distribution::normal;
  std::uint64_t seed = 1;
  std::optional<std::filesystem::path> q, k, v;  ///< all three or none
  std::optional<std::filesystem::path> out, json;
  bool check = true;
  bool time = true;
  EmulatorOptions emulator;
};

/// Parses the command line. Where it is --help or wrong, prints what there is to say and gives the exit code.
/// `several_stages` adds --stage.
struct ParsedOptions {
  Options options;
  std::optional<int> exit_code;
};
ParsedOptions parse_options(int argc, char** argv, const std::string& description, bool several_stages);

}  // namespace attention
