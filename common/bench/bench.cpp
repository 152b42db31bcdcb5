// Times every variant of every stage, and the libraries that are linked in. Google Benchmark runs the
// measurements and reports them; this file says what is timed, how, and what must be right before it is.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "attention/error.hpp"
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/text.hpp"
#include "attention/timing.hpp"
#include "floor.hpp"
#include "gpu_facts.hpp"
#include "libraries.hpp"
#include "names.hpp"
#include "verify.hpp"

namespace attention::bench {
namespace {

constexpr int kInputSets = 3;  // copies of the tensors that mode `cold` takes in turn
constexpr int kStreams = 4;    // concurrent streams of mode `streams`

struct Options {
  bool quick = false;
  bool survey = false;
  std::vector<std::string> shapes;
  std::string commit = "unknown";
  bool dirty = false;
  double largest_call_ms = 50;
  std::string out;  // Google Benchmark's option; complete_context() rewrites the file
};

// A problem, its inputs and their verifier. Benchmarks of one problem follow
// one another, so only one is kept. Problems with as many elements have the
// same inputs: the generator fills tensors in order, whatever their shape.
struct Bed {
  Problem problem;
  std::shared_ptr<const Inputs> inputs;
  Verifier verifier;
  Bed(const Problem& problem, std::shared_ptr<const Inputs> inputs)
      : problem(problem), inputs(std::move(inputs)), verifier(problem, *this->inputs) {}
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    if (options.quick) timing_ = {.graph_us = 2'000, .replays = 20, .total_us = 50'000};
    if (options.survey) timing_ = {.graph_us = 200, .replays = 11, .min_replays = 5, .total_us = 5'000};
  }

  void register_all();
  bool any_wrong() const { return any_wrong_; }

 private:
  using Body = std::function<void(benchmark::State&)>;

  void add(const std::string& name, Body body);
  void run_floor(benchmark::State& state, Mode mode);
  void run_copy(benchmark::State& state);
  void run_matrix_product(benchmark::State& state);
  void run_library(benchmark::State& state, const libraries::Library& library, const Problem& problem,
                   Mode mode);
  void run_variant(benchmark::State& state, const Variant& variant, const Problem& problem, Mode mode);

  Bed& bed(const Problem& problem);
  Timing time(Mode mode, const std::vector<Enqueue>& calls) const;
  double floor_us(const Enqueue& call, Mode mode);
  bool too_long(benchmark::State& state, const Enqueue& call) const;
  void report(benchmark::State& state, const Timing& timing) const;
  void report_attention(benchmark::State& state, const Problem& problem, const Timing& timing) const;
  void wrong(benchmark::State& state, const std::string& what);

  const Options options_;
  TimingOptions timing_;
  std::optional<Device> device_;
  std::unique_ptr<Bed> bed_;
  std::map<std::string, double> floors_us_;
  std::map<std::string, double> best_libraries_us_;
  bool any_wrong_ = false;
};

void skip(benchmark::State& state, const std::string& why) {
  state.SkipWithError(why.c_str());
}

std::size_t calls_in(Mode mode) {
  return mode == Mode::cold ? kInputSets : mode == Mode::streams ? kStreams : 1;
}

std::string shape_and_mode(const Problem& problem, Mode mode) {
  return fmt::format("{}/{}", shape_name(problem), name(mode));
}

// The first call loads modules and picks plans, which is not allowed while a stream is captured.
void warm_up(libraries::Call& call) {
  const Stream stream;
  call.enqueue(stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
}

// One iteration of Google Benchmark is a whole measurement; the time it reports is our median.
void Bench::add(const std::string& name, Body body) {
  const auto guarded = [this, body = std::move(body)](benchmark::State& state) {
    try {
      body(state);
    } catch (const InvalidInput& error) {
      skip(state, fmt::format("unsupported: {}", error.what()));
    } catch (const std::exception& error) {
      wrong(state, fmt::format("failed: {}", error.what()));
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), guarded)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

bool is_timed(Who who, const Stage& stage, const Variant& variant) {
  const bool stands_for_it = &variant == &stage.default_variant();
  switch (who) {
    case Who::defaults:
      return stands_for_it;
    case Who::defaults_and_long:
      return stands_for_it || stage.name == "06_long";
    case Who::all:
      return true;
    case Who::candidates:
      return stage.name >= "04";
  }
  throw std::logic_error("no such choice of variants");
}

void Bench::register_all() {
  std::vector<Case> cases;
  for (const std::string& shape : options_.shapes) {
    cases.push_back({parse_shape(shape), {Mode::chain, Mode::single, Mode::cold, Mode::streams}, Who::all});
  }
  if (options_.survey) cases = survey();
  if (cases.empty()) cases = plan(options_.quick);

  if (!options_.quick && !options_.survey) {
    for (const Mode mode : {Mode::chain, Mode::single, Mode::cold, Mode::streams}) {
      add(fmt::format("floor/empty_kernel/G128_T256/{}", name(mode)),
          [=, this](benchmark::State& state) { run_floor(state, mode); });
    }
    add("ceiling/copy/1GiB/chain", [this](benchmark::State& state) { run_copy(state); });
    if (!libraries::all().empty()) {
      add("ceiling/matrix_product/N8192/chain",
          [this](benchmark::State& state) { run_matrix_product(state); });
    }
  }
  for (const Case& c : cases) {
    // Libraries first: our times are reported as a ratio to the best of them.
    for (const Mode mode : c.modes) {
      for (const libraries::Library& library : libraries::all()) {
        if (c.who == Who::candidates) continue;
        add(fmt::format("pytorch/{}/{}", library.name, shape_and_mode(c.problem, mode)),
            [=, this](benchmark::State& state) { run_library(state, library, c.problem, mode); });
      }
    }
    for (const Mode mode : c.modes) {
      for (const Stage* stage : registry()) {
        for (const Variant& variant : stage->variants) {
          if (!is_timed(c.who, *stage, variant)) continue;
          add(fmt::format("{}/{}/{}", stage->name, variant.name, shape_and_mode(c.problem, mode)),
              [=, this](benchmark::State& state) { run_variant(state, variant, c.problem, mode); });
        }
      }
    }
  }
}

Bed& Bench::bed(const Problem& problem) {
  if (bed_ && shape_name(bed_->problem) == shape_name(problem)) return *bed_;
  const auto elements = [](const Problem& any) { return std::pair(any.q_elements(), any.kv_elements()); };
  std::shared_ptr<const Inputs> inputs;
  if (bed_ && elements(bed_->problem) == elements(problem)) inputs = bed_->inputs;
  bed_.reset();
  if (!inputs) inputs = std::make_shared<Inputs>(make_inputs(problem, Distribution::normal, 1));
  bed_ = std::make_unique<Bed>(problem, std::move(inputs));
  return *bed_;
}

Timing Bench::time(Mode mode, const std::vector<Enqueue>& calls) const {
  switch (mode) {
    case Mode::chain:
      return time_chain(calls.front(), timing_);
    case Mode::single:
      return time_single(calls.front(), timing_);
    case Mode::cold:
      return time_cold(calls, 2 * device_->l2_bytes, timing_);
    case Mode::streams:
      return time_streams(calls, timing_);
  }
  throw std::logic_error("no such mode");
}

// The time of a call whose launches have the same grids and whose kernels do nothing.
double Bench::floor_us(const Enqueue& call, Mode mode) {
  const std::vector<LaunchGrid> launches = launch_grids(call);
  std::string key(name(mode));
  for (const auto& [grid, block] : launches) {
    key += fmt::format(" {} {} {} {} {} {}", grid.x, grid.y, grid.z, block.x, block.y, block.z);
  }
  const auto [entry, is_new] = floors_us_.try_emplace(key);
  if (is_new) {
    const Enqueue empty = [&](cudaStream_t stream) {
      for (const auto& [grid, block] : launches) CUDA_CHECK(empty_launch(grid, block, stream));
    };
    entry->second = time(mode, std::vector<Enqueue>(calls_in(mode), empty)).median_us;
  }
  return entry->second;
}

bool Bench::too_long(benchmark::State& state, const Enqueue& call) const {
  const double call_ms =
      time_single(call, {.replays = 1, .min_replays = 1, .warmup_replays = 1}).median_us / 1000;
  if (call_ms <= options_.largest_call_ms) return false;
  skip(state, fmt::format("not timed: a call takes {:.0f} ms, more than the {:.0f} of --largest-call-ms",
                          call_ms, options_.largest_call_ms));
  return true;
}

void Bench::wrong(benchmark::State& state, const std::string& what) {
  any_wrong_ = true;
  skip(state, what);
}

void Bench::report(benchmark::State& state, const Timing& timing) const {
  for ([[maybe_unused]] auto _ : state) state.SetIterationTime(timing.median_us * 1e-6);
  state.counters["p10_us"] = timing.p10_us;
  state.counters["p90_us"] = timing.p90_us;
  state.counters["launches"] = timing.launches;
  state.counters["replays"] = timing.replays;
}

// FLOP are counted by Problem::flop(); traffic is Q, K and V read once and O written once.
void Bench::report_attention(benchmark::State& state, const Problem& problem, const Timing& timing) const {
  report(state, timing);
  state.counters["TFLOP/s"] = problem.flop() / timing.median_us * 1e-6;
  state.counters["GB/s"] = double(compulsory_bytes(problem)) / timing.median_us * 1e-3;
}

void Bench::run_floor(benchmark::State& state, Mode mode) {
  device_ = current_device();
  const Enqueue empty = [](cudaStream_t stream) { CUDA_CHECK(empty_launch(dim3(128), dim3(256), stream)); };
  report(state, time(mode, std::vector<Enqueue>(calls_in(mode), empty)));
  state.SetLabel("a kernel of 128 blocks of 256 threads that does nothing");
}

// Short, because a long burst may make the chip lower its clocks to stay within its power limit, and a
// ceiling is the best that it can do.
Timing time_ceiling(const Enqueue& enqueue) {
  return time_chain(enqueue, {.replays = 10, .warmup_replays = 1});
}

void Bench::run_copy(benchmark::State& state) {
  constexpr std::size_t kBytes = std::size_t(1) << 30;
  const RawDeviceBuffer from(kBytes, RawDeviceBuffer::Guards::none),
      to(kBytes, RawDeviceBuffer::Guards::none);
  const Timing timing = time_chain(
      [&](cudaStream_t stream) { CUDA_CHECK(copy_launch(from.data(), to.data(), kBytes, stream)); });
  report(state, timing);
  state.counters["GB/s"] = 2.0 * kBytes / timing.median_us * 1e-3;
  state.SetLabel("device memory to device memory, bytes read plus bytes written");
}

void Bench::run_matrix_product(benchmark::State& state) {
  constexpr int kSize = 8192;
  const std::unique_ptr<libraries::Call> product = libraries::make_matrix_product(kSize);
  warm_up(*product);
  const Timing timing = time_ceiling([&](cudaStream_t stream) { product->enqueue(stream); });
  report(state, timing);
  state.counters["TFLOP/s"] = 2.0 * kSize * kSize * kSize / timing.median_us * 1e-6;
  state.SetLabel("half matrices, by cuBLAS through PyTorch");
}

void Bench::run_library(benchmark::State& state, const libraries::Library& library, const Problem& problem,
                        Mode mode) {
  device_ = current_device();
  Bed& bed = this->bed(problem);
  std::deque<std::unique_ptr<libraries::Call>> runs;
  std::vector<Enqueue> calls;
  for (std::size_t i = 0; i < calls_in(mode); ++i) {
    libraries::Call* call = runs.emplace_back(libraries::make_call(library, problem, *bed.inputs)).get();
    calls.push_back([call](cudaStream_t stream) { call->enqueue(stream); });
    warm_up(*call);
  }
  const auto all_right = [&] {
    for (const auto& call : runs) {
      if (const auto complaint = bed.verifier.complaint(call->output(), 0)) {
        wrong(state, fmt::format("wrong result: {}", *complaint));
        return false;
      }
    }
    return true;
  };
  if (too_long(state, calls.front()) || !all_right()) return;
  const Timing timing = time(mode, calls);
  if (!all_right()) return;
  report_attention(state, problem, timing);
  state.SetLabel(std::string(library.idea));
  const auto [best, is_first] =
      best_libraries_us_.try_emplace(shape_and_mode(problem, mode), timing.median_us);
  best->second = std::min(best->second, timing.median_us);
}

void Bench::run_variant(benchmark::State& state, const Variant& variant, const Problem& problem, Mode mode) {
  device_ = current_device();
  if (const Support support = check_support(variant, problem, *device_); !support.ok) {
    skip(state, fmt::format("unsupported: {}", support.reason));
    return;
  }
  Bed& bed = this->bed(problem);
  std::deque<Session> sessions;
  std::vector<Enqueue> calls;
  for (std::size_t i = 0; i < calls_in(mode); ++i) {
    Session& session = sessions.emplace_back(problem, *bed.inputs);
    calls.push_back([&](cudaStream_t stream) { CUDA_CHECK(session.enqueue(variant, stream)); });
  }
  const auto right = [&](const std::vector<half>& o, const std::vector<std::string>& damage) {
    const auto complaint = bed.verifier.complaint(o, extra_roundings(variant, problem));
    if (!complaint && damage.empty()) return true;
    wrong(state, fmt::format("wrong result: {}", complaint ? *complaint : damage.front()));
    return false;
  };

  sessions.front().prepare(variant);
  if (too_long(state, calls.front())) return;
  for (Session& session : sessions) {
    const Outcome outcome = session.run(variant);
    if (!right(outcome.o, outcome.damage)) return;
    session.poison_output();
  }
  CUDA_CHECK(cudaDeviceSynchronize());
  const Timing timing = time(mode, calls);
  for (Session& session : sessions) {
    if (!right(session.output().to_host(), {})) return;  // what the timed calls left behind
  }

  report_attention(state, problem, timing);
  state.SetLabel(std::string(variant.idea));
  state.counters["floor_us"] = floor_us(calls.front(), mode);
  if (const auto best = best_libraries_us_.find(shape_and_mode(problem, mode));
      best != best_libraries_us_.end()) {
    state.counters["of_best_library"] = best->second / timing.median_us;
  }
}

Options parse_options(int argc, char** argv) {
  // Google Benchmark removes its own options from argv, so we read the one that we need first.
  constexpr std::string_view kOut = "--benchmark_out=";
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kOut)) options.out = argument.substr(kOut.size());
  }
  benchmark::Initialize(&argc, argv, [] {
    benchmark::PrintDefaultHelp();
    fmt::print(
        "\nThis program's own options, besides those of Google Benchmark above. Without any, it measures all "
        "that is\n"
        "recorded: every variant on the headline shape in every mode, and default variants on other shapes.\n"
        "  --quick               every variant on the headline shape, mode chain, in less time\n"
        "  --survey              the last stage's variants on many shapes, in less time\n"
        "  --shape=SHAPE         every variant on this shape, such as B1_H8_S512_D64; may be repeated\n"
        "  --largest-call-ms=50  do not time a variant whose call takes longer\n"
        "  --commit=ID --dirty   the sources' commit, and that they have changes: noted in the results\n");
  });

  CLI::App app;
  app.set_help_flag();
  CLI::Option* quick = app.add_flag("--quick", options.quick);
  CLI::Option* survey = app.add_flag("--survey", options.survey)->excludes(quick);
  app.add_option("--shape", options.shapes)->excludes(survey);
  app.add_option("--commit", options.commit);
  app.add_flag("--dirty", options.dirty);
  app.add_option("--largest-call-ms", options.largest_call_ms)->check(CLI::PositiveNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    throw InvalidInput(fmt::format("{}; see --help", error.what()));
  }
  return options;
}

void add_context(const Options& options, const std::string& command) {
  for (const auto& [key, value] : gpu_context()) benchmark::AddCustomContext(key, value);
  benchmark::AddCustomContext("flop",
                              "4 * head_dim for each pair of query and key that the mask lets through");
  benchmark::AddCustomContext("traffic", "Q, K and V read once, O written once");
  benchmark::AddCustomContext("libraries", libraries::versions().empty() ? "none" : libraries::versions());
  benchmark::AddCustomContext("commit", options.commit);
  benchmark::AddCustomContext("dirty", options.dirty ? "true" : "false");
  benchmark::AddCustomContext("command", command);
  benchmark::AddCustomContext("state_before", gpu_state());
}

// Google Benchmark writes the context before the first measurement. We add the GPU's state after the last
// one, and remove what tells more about the machine's owner than about the measurement.
void complete_context(const std::string& file) {
  nlohmann::ordered_json json = nlohmann::ordered_json::parse(std::ifstream(file));
  auto& context = json["context"];
  context["state_after"] = gpu_state();
  context["executable"] = std::filesystem::path(std::string(context.value("executable", ""))).filename();
  context.erase("host_name");
  write_whole_file(file, json.dump(1) + "\n");
}

ExitCode run(int argc, char** argv) {
  std::string command = std::filesystem::path(argv[0]).filename();
  bool only_lists = false;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    only_lists |= argument == "--benchmark_list_tests" || argument == "--benchmark_list_tests=true";
    if (!argument.starts_with("--benchmark_out")) command.append(" ").append(argument);
  }
  const Options options = parse_options(argc, argv);
  Bench bench(options);
  bench.register_all();
  if (!only_lists) {
    if (current_device().emulated) {
      throw NoDevice("the emulated device has no times; build the preset gpu to measure");
    }
    add_context(options, command);
  }
  if (benchmark::RunSpecifiedBenchmarks() == 0) return ExitCode::bad_input;  // and says that nothing matches
  if (!only_lists && !options.out.empty()) complete_context(options.out);
  return bench.any_wrong() ? ExitCode::wrong_result : ExitCode::right;
}

}  // namespace
}  // namespace attention::bench

int main(int argc, char** argv) {
  return attention::run_program([&] { return attention::bench::run(argc, argv); });
}
