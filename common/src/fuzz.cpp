// fuzz: every variant of every stage on random problems, each held against float64, until one is wrong or the time
// is up. Prints the smallest problem of the same kind that is still wrong, and the command that repeats it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iostream>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "attention/error.hpp"
#include "attention/inputs.hpp"
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/text.hpp"
#include "attention/timing.hpp"
#include "device_control.hpp"
#include "reference.hpp"

namespace attention {
namespace {

struct Options {
  double seconds = 60;
  std::uint64_t problems = 0;  // 0: as many as fit in the time
  std::uint64_t seed = 0;
  unsigned threads = 0;  // 0: one on the emulated device, as many as there are cores on a GPU
  std::vector<std::string> stages;
  std::optional<std::string> json;
};

// One random problem.
struct Case {
  Shape shape;
  Distribution distribution;
  std::uint64_t seed;           // of the inputs
  std::uint64_t schedule_seed;  // of the emulated device
};

// Why a variant is wrong.
struct Failure {
  const Stage* stage;
  const Variant* variant;
  std::string why;
};

// What was run, and how near to wrong it came.
struct Count {
  std::uint64_t problems = 0, runs = 0;
  double nearest = 0;  // largest error over what it was allowed

  void add(const Count& other) {
    problems += other.problems;
    runs += other.runs;
    nearest = std::max(nearest, other.nearest);
  }
};

// By the name of a stage: the problems that at least one of its variants supports, and the runs of them all.
using Tally = std::map<std::string_view, Count>;

class Draw {
 public:
  Draw(std::uint64_t seed, std::uint64_t index) {
    std::seed_seq sequence = {unsigned(seed), unsigned(seed >> 32), unsigned(index), unsigned(index >> 32)};
    generator_.seed(sequence);
  }
  // A whole number from `low` to `high`. Not std::uniform_int_distribution, which differs between libraries.
  int whole(int low, int high) { return low + int(generator_() % std::uint64_t(high - low + 1)); }
  bool chance(double probability) { return double(generator_() >> 11) * 0x1p-53 < probability; }
  template <typename T>
  T one_of(std::span<const T> values) {
    return values[generator_() % values.size()];
  }
  std::uint64_t bits() { return generator_(); }

 private:
  std::mt19937_64 generator_;
};

// A length: half of them at or beside a multiple of a tile's edge.
int draw_length(Draw& draw, int longest) {
  constexpr int kEdges[] = {16, 32, 64, 80, 96, 128, 192, 256, 512, 1024, 2048};
  if (draw.chance(0.1)) return draw.whole(1, 4);
  if (draw.chance(0.5)) return draw.whole(1, longest);
  const int edge = draw.one_of<int>(kEdges) * draw.whole(1, 3) + draw.whole(-1, 1);
  return std::min(edge, longest);
}

Case draw_case(const Options& options, std::uint64_t index, const Device& device) {
  Draw draw(options.seed, index);
  // Products of Q K^T, and so seconds: on the emulated device kernels are slow, elsewhere the reference is.
  const double most_products = device.emulated ? 2e6 : 4e6;
  constexpr int kHeadDims[] = {32, 64, 64, 64, 96, 128, 128};
  constexpr int kGroups[] = {1, 1, 1, 2, 3, 4, 8};
  Case drawn;
  Shape& shape = drawn.shape;
  shape.head_dim = draw.one_of<int>(kHeadDims);
  shape.batch = draw.whole(1, 2);
  shape.kv_heads = draw.whole(1, 3);
  shape.heads = *shape.kv_heads * draw.one_of<int>(kGroups);
  const int longest = device.emulated ? 700 : 2500;
  shape.seq_q = draw_length(draw, longest);
  shape.seq_kv = draw.chance(0.2) ? shape.seq_q : draw_length(draw, longest);
  shape.causal = draw.chance(0.4);
  if (draw.chance(0.3)) {
    const double size = std::exp2(draw.whole(-6, 3)) / std::sqrt(double(shape.head_dim));
    shape.scale = draw.chance(0.05) ? 0.f : float(draw.chance(0.5) ? size : -size);
  }
  while (double(shape.batch) * shape.heads * shape.seq_q * *shape.seq_kv * shape.head_dim > most_products) {
    if (shape.batch > 1)
      shape.batch = 1;
    else if (shape.heads > *shape.kv_heads)
      shape.heads = *shape.kv_heads;
    else if (*shape.kv_heads > 1)
      shape.heads = *(shape.kv_heads = 1);
    else if (shape.seq_q > *shape.seq_kv)
      shape.seq_q = (shape.seq_q + 1) / 2;
    else
      shape.seq_kv = (*shape.seq_kv + 1) / 2;
  }
  drawn.distribution = draw.one_of<Distribution>(all_distributions());
  drawn.seed = draw.bits() % 1'000'000;
  drawn.schedule_seed = draw.bits() % 1'000'000;
  return drawn;
}

bool same_bits(const std::vector<half>& a, const std::vector<half>& b) {
  return std::memcmp(a.data(), b.data(), a.size() * sizeof(half)) == 0;
}

// Runs one variant: alone on poisoned memory, then twice in a graph on what the first call left in its workspace.
// Returns why it is wrong.
std::optional<std::string> run_variant(const Variant& variant, Session& session, const Expected& expected,
                                       Count& count) {
  const Outcome outcome = session.run(variant);
  const Comparison comparison = compare(outcome.o, expected, extra_roundings(variant, session.problem()));
  if (!comparison.ok) return comparison.message;
  if (!outcome.damage.empty()) return outcome.damage.front();
  if (comparison.allowed > 0) count.nearest = std::max(count.nearest, comparison.error / comparison.allowed);

  session.poison_output();
  CUDA_CHECK(cudaStreamSynchronize(nullptr));  // the poison is in place before another stream writes
  const Graph graph([&](cudaStream_t stream) {
    for (int call = 0; call < 2; ++call) CUDA_CHECK(session.enqueue(variant, stream));
  });
  const Stream stream;
  graph.replay(stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
  if (!same_bits(session.output().to_host(), outcome.o)) {
    return "two calls in a graph left another output than one alone";
  }
  if (const std::size_t faults = device_faults()) {
    return fmt::format("the emulated device reported {} fault(s)", faults);
  }
  ++count.runs;
  return {};
}

// The first variant (or `only`) that is wrong on this problem.
std::optional<Failure> run_case(const Case& drawn, const std::vector<std::string>& stages,
                                const Variant* only, const Device& device, Tally& tally) {
  const Problem problem(drawn.shape);
  if (device.emulated) {
    configure_device({.schedule_seed = drawn.schedule_seed});
    reset_device_findings();
  }
  const Inputs inputs = make_inputs(problem, drawn.distribution, drawn.seed);
  const Expected expected = reference::expect(problem, inputs, device.emulated ? reference::all_cores() : 1);
  Session session(problem, inputs);
  for (const Stage* stage : registry()) {
    if (!stages.empty() && std::find(stages.begin(), stages.end(), stage->name) == stages.end()) continue;
    Count count;
    for (const Variant& variant : stage->variants) {
      if (only && &variant != only) continue;
      if (!check_support(variant, problem, device).ok) continue;
      std::optional<std::string> why;
      try {
        why = run_variant(variant, session, expected, count);
      } catch (const CudaError& error) {
        why = error.what();
      }
      if (why) return Failure{stage, &variant, *why};
    }
    count.problems = count.runs > 0 ? 1 : 0;
    tally[stage->name].add(count);
  }
  return {};
}

// Halves one size after the other as long as the variant stays wrong.
Case smallest(Case wrong, const Failure& failure, const Options& options, const Device& device) {
  Tally unused;
  const auto still_wrong = [&](const Case& smaller) {
    try {
      return run_case(smaller, options.stages, failure.variant, device, unused).has_value();
    } catch (const InvalidInput&) {
      return false;
    }
  };
  for (bool smaller_found = true; smaller_found;) {
    smaller_found = false;
    const auto attempt = [&](auto change) {
      Case smaller = wrong;
      change(smaller.shape);
      const Shape &a = smaller.shape, &b = wrong.shape;
      if (a.batch == b.batch && a.heads == b.heads && a.seq_q == b.seq_q && a.seq_kv == b.seq_kv &&
          a.kv_heads == b.kv_heads && a.causal == b.causal && a.scale == b.scale) {
        return;
      }
      if (!still_wrong(smaller)) return;
      wrong = smaller;
      smaller_found = true;
    };
    attempt([](Shape& shape) { shape.batch = 1; });
    attempt([](Shape& shape) { shape.heads = *(shape.kv_heads = 1); });
    attempt([](Shape& shape) { shape.heads = *shape.kv_heads; });
    attempt([](Shape& shape) { shape.causal = false; });
    attempt([](Shape& shape) { shape.scale.reset(); });
    attempt([](Shape& shape) { shape.seq_q = (shape.seq_q + 1) / 2; });
    attempt([](Shape& shape) { shape.seq_kv = (*shape.seq_kv + 1) / 2; });
    attempt([](Shape& shape) { shape.seq_q = std::max(1, shape.seq_q - 1); });
    attempt([](Shape& shape) { shape.seq_kv = std::max(1, *shape.seq_kv - 1); });
  }
  return wrong;
}

std::string command_for(const Case& c, const Failure& failure, const Device& device) {
  const Shape& shape = c.shape;
  std::string command = fmt::format(
      "./run {} --variant {} --batch {} --heads {} --kv-heads {} --seq-q {} --seq-kv {} --head-dim {}{}",
      failure.stage->name, failure.variant->name, shape.batch, shape.heads, *shape.kv_heads, shape.seq_q,
      *shape.seq_kv, shape.head_dim, shape.causal ? " --causal" : "");
  if (shape.scale) command += fmt::format(" --scale {}", *shape.scale);
  command += fmt::format(" --inputs {} --seed {}", name(c.distribution), c.seed);
  if (device.emulated) command += fmt::format(" --device emulated --schedule-seed {}", c.schedule_seed);
  return command;
}

// The first problem of the seed that went wrong, of those that were run.
struct Wrong {
  std::uint64_t index;
  Case drawn;
  Failure failure;
};

struct Result {
  std::uint64_t problems;
  Tally tally;
  std::optional<Wrong> wrong;
  double seconds;
};

// Draws and runs problems until the time or their number is up, or one is wrong. Problems of several threads run at
// the same time, on streams of their own.
Result run_problems(const Options& options, const Device& device) {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  Result result = {};
  std::atomic<std::uint64_t> next = 0;
  std::atomic<bool> stop = false;
  std::exception_ptr exception;
  std::mutex mutex;
  const auto worker = [&] {
    try {
      while (!stop && (options.problems ? next < options.problems : seconds() < options.seconds)) {
        const std::uint64_t index = next++;
        if (options.problems && index >= options.problems) return;
        const Case drawn = draw_case(options, index, device);
        Tally tally;
        const std::optional<Failure> failure = run_case(drawn, options.stages, nullptr, device, tally);
        const std::scoped_lock lock(mutex);
        ++result.problems;
        for (const auto& [stage, count] : tally) result.tally[stage].add(count);
        if (failure && (!result.wrong || index < result.wrong->index))
          result.wrong = {index, drawn, *failure};
        if (failure) stop = true;
      }
    } catch (...) {
      const std::scoped_lock lock(mutex);
      if (!exception) exception = std::current_exception();
      stop = true;
    }
  };
  {
    std::vector<std::jthread> others;  // joined at the end of this block
    for (unsigned i = 1; i < options.threads; ++i) others.emplace_back(worker);
    worker();
  }
  if (exception) std::rethrow_exception(exception);
  result.seconds = seconds();
  return result;
}

ExitCode fuzz(int argc, char** argv) {
  Options options;
  options.seed = std::random_device()();
  CLI::App app(
      "Every variant on random problems: shapes around the edges of tiles, grouped heads, causal masks, "
      "scales of both signs, and every kind of inputs");
  app.footer("Exit codes: 0 nothing wrong, 1 a variant is wrong, 2 bad input, 3 no such device.");
  app.add_option("--seconds", options.seconds, "How long [60]")->check(CLI::PositiveNumber);
  app.add_option("--problems", options.problems, "How many instead, however long they take");
  app.add_option("--seed", options.seed, "Of the problems [a fresh one, printed]");
  app.add_option("--threads", options.threads, "Problems at a time, each on a stream of its own [all cores]");
  app.add_option("--stage", options.stages, "Only this stage; may be given again");
  app.add_option("--json", options.json, "Write the counts as JSON");
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return ExitCode(app.exit(help));
  } catch (const CLI::ParseError& error) {
    throw InvalidInput(error.what());
  }
  std::set<std::string> known;
  for (const Stage* stage : registry()) known.emplace(stage->name);
  for (const std::string& stage : options.stages) {
    if (!known.count(stage)) throw InvalidInput("no stage is named '" + stage + "'");
  }

  const Device device = current_device();
  if (device.emulated && options.threads > 1) {
    throw InvalidInput("--threads needs a GPU: the emulated device uses all cores for one problem");
  }
  if (options.threads == 0) options.threads = device.emulated ? 1 : reference::all_cores();
  fmt::print("fuzz --seed {} on {}\n", options.seed, device.name);
  std::fflush(stdout);  // the seed is known even where the run is cut short
  const Result result = run_problems(options, device);
  if (const auto& wrong = result.wrong) {
    const Case minimal = smallest(wrong->drawn, wrong->failure, options, device);
    fmt::print("WRONG: {}/{} on {}, {} inputs (problem {} of this seed): {}\n", wrong->failure.stage->name,
               wrong->failure.variant->name, describe(Problem(wrong->drawn.shape)),
               name(wrong->drawn.distribution), wrong->index, wrong->failure.why);
    fmt::print("repeat the smallest like it with: {}\n", command_for(minimal, wrong->failure, device));
  }
  nlohmann::json stages = nlohmann::json::object();
  for (const auto& [stage, count] : result.tally) {
    fmt::print("{:<14} {:>7} problems, {:>8} runs of variants; largest error {:.2f} of what is allowed\n",
               stage, count.problems, count.runs, count.nearest);
    stages[std::string(stage)] = {
        {"problems", count.problems}, {"runs", count.runs}, {"largest_share_of_allowed", count.nearest}};
  }
  fmt::print("{} problems, each variant alone and twice in a graph: {}; {:.0f} s\n", result.problems,
             result.wrong ? "one wrong" : "none wrong", result.seconds);
  if (options.json) {
    const nlohmann::json json = {{"seed", options.seed},          {"device", device.name},
                                 {"threads", options.threads},    {"problems", result.problems},
                                 {"wrong", result.wrong ? 1 : 0}, {"stages", stages},
                                 {"seconds", result.seconds}};
    write_whole_file(*options.json, json.dump(2) + "\n");
  }
  return result.wrong ? ExitCode::wrong_result : ExitCode::right;
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  return attention::run_program([&] { return attention::fuzz(argc, argv); });
}
