// Times every variant of every stage, and the rivals where they are linked in. Google Benchmark runs and
// reports it; what is timed, how, and what must be right about it first is here.

#include <benchmark/benchmark.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iostream>
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
#include "names.hpp"
#include "peers.hpp"
#include "verify.hpp"

namespace attention::bench {
namespace {

constexpr int kInputSets = 3;  // that mode `cold` goes round
constexpr int kStreams = 4;    // of mode `streams`

struct Options {
  bool quick = false;
  bool survey = false;
  std::vector<std::string> shapes;
  std::string commit = "unknown";
  bool dirty = false;
  double largest_call_ms = 50;
  std::string out;  // Google Benchmark's own option, read here to complete the file
};

// A problem with its inputs and what is right for it. Benchmarks of one problem follow one another, so one is
// kept. Inputs are the same numbers in the same order for every problem with as many elements.
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
  void run_rival(benchmark::State& state, const peers::Rival& rival, const Problem& problem, Mode mode);
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
  std::map<std::string, double> best_rivals_us_;
  bool any_wrong_ = false;
};

std::size_t calls_in(Mode mode) {
  return mode == Mode::cold ? kInputSets : mode == Mode::streams ? kStreams : 1;
}

std::string shape_and_mode(const Problem& problem, Mode mode) {
  return shape_name(problem) + "/" + std::string(name(mode));
}

// The first call loads modules and picks plans, which capture would refuse.
void warm_up(peers::Call& call) {
  const Stream stream;
  call.enqueue(stream);
  CUDA_CHECK(cudaStreamSynchronize(stream));
}

// One iteration of Google Benchmark is one whole measurement, whose median is its time.
void Bench::add(const std::string& name, Body body) {
  const auto guarded = [this, body = std::move(body)](benchmark::State& state) {
    try {
      body(state);
    } catch (const InvalidInput& error) {
      state.SkipWithError(("unsupported: " + std::string(error.what())).c_str());
    } catch (const std::exception& error) {
      wrong(state, "failed: " + std::string(error.what()));
    }
  };
  benchmark::RegisterBenchmark(name.c_str(), guarded)
      ->UseManualTime()
      ->Iterations(1)
      ->Unit(benchmark::kMicrosecond);
}

bool is_timed(Who who, const Stage& stage, const Variant& variant) {
  const bool last = &stage == registry().back(), stands_for_it = &variant == &stage.default_variant();
  switch (who) {
    case Who::defaults:
      return stands_for_it;
    case Who::defaults_and_last:
      return stands_for_it || last;
    case Who::all:
      return true;
    case Who::only_last:
      return last;
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
      add(join({"floor", "empty_kernel", "G128_T256", std::string(name(mode))}),
          [=, this](benchmark::State& state) { run_floor(state, mode); });
    }
    add("ceiling/copy/1GiB/chain", [this](benchmark::State& state) { run_copy(state); });
    if (!peers::rivals().empty()) {
      add("ceiling/matrix_product/N8192/chain",
          [this](benchmark::State& state) { run_matrix_product(state); });
    }
  }
  for (const Case& c : cases) {
    // Rivals first: ours are reported as a ratio to the best of them.
    for (const Mode mode : c.modes) {
      for (const peers::Rival& rival : peers::rivals()) {
        if (c.who == Who::only_last) continue;
        add("pytorch/" + std::string(rival.name) + "/" + shape_and_mode(c.problem, mode),
            [=, this](benchmark::State& state) { run_rival(state, rival, c.problem, mode); });
      }
    }
    for (const Mode mode : c.modes) {
      for (const Stage* stage : registry()) {
        for (const Variant& variant : stage->variants) {
          if (!is_timed(c.who, *stage, variant)) continue;
          add(std::string(stage->name) + "/" + std::string(variant.name) + "/" +
                  shape_and_mode(c.problem, mode),
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

// What the launches of a call cost when their kernels do nothing.
double Bench::floor_us(const Enqueue& call, Mode mode) {
  const std::vector<LaunchGrid> launches = launch_grids(call);
  std::string key(name(mode));
  for (const auto& [grid, block] : launches) {
    for (const unsigned size : {grid.x, grid.y, grid.z, block.x, block.y, block.z}) {
      key.append(" ").append(std::to_string(size));
    }
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
  char text[128];
  std::snprintf(text, sizeof text, "not timed: a call takes %.0f ms, more than the %.0f of --largest-call-ms",
                call_ms, options_.largest_call_ms);
  state.SkipWithError(text);
  return true;
}

void Bench::wrong(benchmark::State& state, const std::string& what) {
  any_wrong_ = true;
  state.SkipWithError(what.c_str());
}

void Bench::report(benchmark::State& state, const Timing& timing) const {
  for ([[maybe_unused]] auto _ : state) state.SetIterationTime(timing.median_us * 1e-6);
  state.counters["p10_us"] = timing.p10_us;
  state.counters["p90_us"] = timing.p90_us;
  state.counters["launches"] = timing.launches;
  state.counters["replays"] = timing.replays;
}

// FLOP as Problem::flop() counts them; traffic is Q, K and V read once and O written once.
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

// A short burst: after it the chip may have to slow down for its power, and a ceiling is what it can do at
// best.
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
  state.SetLabel("device memory to device memory, bytes read and bytes written");
}

void Bench::run_matrix_product(benchmark::State& state) {
  constexpr int kSize = 8192;
  const std::unique_ptr<peers::Call> product = peers::make_matrix_product(kSize);
  warm_up(*product);
  const Timing timing = time_ceiling([&](cudaStream_t stream) { product->enqueue(stream); });
  report(state, timing);
  state.counters["TFLOP/s"] = 2.0 * kSize * kSize * kSize / timing.median_us * 1e-6;
  state.SetLabel("half matrices from the library that PyTorch calls");
}

void Bench::run_rival(benchmark::State& state, const peers::Rival& rival, const Problem& problem, Mode mode) {
  device_ = current_device();
  Bed& bed = this->bed(problem);
  std::deque<std::unique_ptr<peers::Call>> rivals;
  std::vector<Enqueue> calls;
  for (std::size_t i = 0; i < calls_in(mode); ++i) {
    peers::Call* call = rivals.emplace_back(peers::make_call(rival, problem, *bed.inputs)).get();
    calls.push_back([call](cudaStream_t stream) { call->enqueue(stream); });
    warm_up(*call);
  }
  const auto all_right = [&] {
    for (const auto& call : rivals) {
      if (const auto complaint = bed.verifier.complaint(call->output(), 1.0)) {
        wrong(state, "wrong result: " + *complaint);
        return false;
      }
    }
    return true;
  };
  if (too_long(state, calls.front()) || !all_right()) return;
  const Timing timing = time(mode, calls);
  if (!all_right()) return;
  report_attention(state, problem, timing);
  state.SetLabel(std::string(rival.idea));
  const auto [best, is_first] = best_rivals_us_.try_emplace(shape_and_mode(problem, mode), timing.median_us);
  best->second = std::min(best->second, timing.median_us);
}

void Bench::run_variant(benchmark::State& state, const Variant& variant, const Problem& problem, Mode mode) {
  device_ = current_device();
  if (const Support support = check_support(variant, problem, *device_); !support.ok) {
    state.SkipWithError(("unsupported: " + support.reason).c_str());
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
    wrong(state, "wrong result: " + (complaint ? *complaint : damage.front()));
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
  if (const auto best = best_rivals_us_.find(shape_and_mode(problem, mode)); best != best_rivals_us_.end()) {
    state.counters["of_best_rival"] = best->second / timing.median_us;
  }
}

Options parse_options(int argc, char** argv) {
  // Google Benchmark takes its own options out of argv, so what it needs to be asked afterwards is read
  // before.
  constexpr std::string_view kOut = "--benchmark_out=";
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument.starts_with(kOut)) options.out = argument.substr(kOut.size());
  }
  benchmark::Initialize(&argc, argv, [] {
    benchmark::PrintDefaultHelp();
    std::cout
        << "\nand bench's own: [--quick | --survey] [--shape=B1_H8_S512_D64]... [--commit=ID] [--dirty]\n"
           "  [--largest-call-ms=50]; no option of either measures everything that is recorded.\n";
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
    throw InvalidInput(std::string(error.what()) + "; see --help");
  }
  return options;
}

void add_context(const Options& options, const std::string& command) {
  for (const auto& [key, value] : gpu_context()) benchmark::AddCustomContext(key, value);
  benchmark::AddCustomContext("flop",
                              "4 * head_dim for each pair of query and key that the mask lets through");
  benchmark::AddCustomContext("traffic", "Q, K and V read once, O written once");
  benchmark::AddCustomContext("rivals", peers::versions().empty() ? "none" : peers::versions());
  benchmark::AddCustomContext("commit", options.commit);
  benchmark::AddCustomContext("dirty", options.dirty ? "true" : "false");
  benchmark::AddCustomContext("command", command);
  benchmark::AddCustomContext("state_before", gpu_state());
}

// The context ends up in the file before the first time is known; what belongs to the end is added here, and
// what says more about whose machine it was than about the measurement is taken out.
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
    if (!argument.starts_with("--benchmark_out")) command += " " + argument;
  }
  const Options options = parse_options(argc, argv);
  Bench bench(options);
  bench.register_all();
  if (!only_lists) {
    if (current_device().emulated) {
      throw NoDevice(
          "the emulated device checks and counts; it has no times. Build the preset gpu to measure");
    }
    add_context(options, command);
  }
  if (benchmark::RunSpecifiedBenchmarks() == 0)
    return ExitCode::bad_input;  // it has said that nothing matches
  if (!only_lists && !options.out.empty()) complete_context(options.out);
  return bench.any_wrong() ? ExitCode::wrong_result : ExitCode::right;
}

}  // namespace
}  // namespace attention::bench

int main(int argc, char** argv) {
  return attention::run_program([&] { return attention::bench::run(argc, argv); });
}
