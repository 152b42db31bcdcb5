// The main of every exercise: runs the kernel on the cases of its task, with every check of the emulated
// device on, and says in words what is still wrong. Exit code 0 when it is solved, 1 when it is not.
#include <iostream>

#include "attention/compare.hpp"
#include "attention/error.hpp"
#include "attention/session.hpp"
#include "exercise.hpp"
#include "reference.hpp"

namespace attention::exercise {

emulator::Counters counters_of(const emulator::Profile& profile, const std::string& part) {
  emulator::Counters sum;
  for (const emulator::KernelProfile& kernel : profile.kernels) {
    if (kernel.kernel.find(part) != std::string::npos) sum += kernel.total;
  }
  return sum;
}

std::size_t score_bytes(const Problem& problem) {
  return problem.score_elements() * sizeof(float);
}

namespace {

// Runs one case; prints its verdict and returns whether it is right.
bool run_case(const Variant& variant, const Case& c) {
  const Problem problem(c.shape);
  const std::string what = describe(problem) + ", " + std::string(name(c.distribution)) + " inputs";
  const auto wrong = [&](const std::string& why) {
    std::cout << "  wrong    " << what << "\n           " << why << '\n';
    if (!c.hint.empty()) std::cout << "           hint: " << c.hint << '\n';
    return false;
  };
  const Inputs inputs = make_inputs(problem, c.distribution, 7);
  const Expected expected = reference::expect(problem, inputs);
  try {
    Session session(problem, inputs);
    const Outcome outcome = session.run(variant);
    const Comparison comparison = compare(outcome.o, expected);
    if (!comparison.ok) return wrong(comparison.message);
    for (const std::string& damage : outcome.damage) return wrong(damage);
  } catch (const CudaError& error) {
    emulator::clear_error();
    return wrong(error.what());
  }
  std::cout << "  right    " << what << '\n';
  return true;
}

int check(const std::string& file) {
  emulator::configure({.check = true, .profile = true});
  std::cout << "Exercise " << task.number << ": " << task.title << "\n\n" << std::flush;
  const Variant variant = {.name = "exercise",
                           .idea = "",
                           .launch = attend,
                           .supports = supports_usual_shapes,
                           .workspace_bytes = task.workspace_bytes};
  std::size_t checks = 0, failed = 0;
  emulator::Profile profile;
  for (const Case& c : task.cases) {
    if (++checks == 1) emulator::clear_profile();
    failed += !run_case(variant, c);
    if (checks == 1) profile = emulator::profile();
  }

  ++checks;
  const std::size_t faults = emulator::report_count();
  if (faults > 0) {
    ++failed;
    std::cout << "  faults   the emulated device reports " << faults << ", the first at line "
              << emulator::reports()[0].line << ": " << emulator::reports()[0].message << '\n';
    if (!task.fault_hint.empty()) std::cout << "           hint: " << task.fault_hint << '\n';
  }
  for (Question* question : task.questions) {
    ++checks;
    const std::string complaint = question(profile);
    if (complaint.empty()) continue;
    ++failed;
    std::cout << "  counted  " << complaint << '\n';
  }

  if (failed > 0) {
    std::cout << "\nNot solved yet: " << failed << " of " << checks
              << (failed == 1 ? " checks fails" : " checks fail") << ". The kernel is " << file << "\n";
    return 1;
  }
  std::cout << "\nSolved: all " << checks << " checks pass.\n";
  return 0;
}

}  // namespace
}  // namespace attention::exercise

int main() {
  try {
    return attention::exercise::check(attention::exercise::kernel_file);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << '\n';
    return 1;
  }
}
