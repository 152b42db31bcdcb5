#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "attention/inputs.hpp"
#include "attention/stage.hpp"
#include "emulator/emulator.hpp"

// What an exercise is: a kernel with a hole (exercise.cu), the same without (solution.cu), and what is asked
// of it (check.cpp). checker.cpp, linked to all of them, runs it on the emulated device and says what is
// still wrong.
namespace attention::exercise {

/// The kernel's launch function: what the reader works on. head_dim is 64 in every exercise.
LaunchFunction attend;

/// One problem to solve, and what to think of where the result is wrong.
struct Case {
  Shape shape;
  Distribution distribution = Distribution::normal;
  std::string hint = {};
};

/// A question about counters, asked of the first case alone. Returns what is wrong, or nothing.
using Question = std::string(const emulator::Profile& profile);

struct Task {
  std::string number;  ///< "02.1"
  std::string title;
  std::vector<Case> cases;
  std::string fault_hint = {};  ///< what to think of where the emulated device reports a fault
  std::vector<Question*> questions = {};
  WorkspaceFunction* workspace_bytes = nullptr;
};

/// Defined by check.cpp.
extern const Task task;

/// The kernel's file, from the root of the repository; CMake writes its definition.
extern const char* const kernel_file;

/// The counters of the kernel whose name contains `part`; all zero where none does.
emulator::Counters counters_of(const emulator::Profile& profile, const std::string& part);

/// One float for each pair of query and key, for exercises that keep scores in memory.
std::size_t score_bytes(const Problem& problem);

}  // namespace attention::exercise
