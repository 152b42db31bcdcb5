// The main of every stage's program: runs the variants, checks each against the reference, prints a table.

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "attention/error.hpp"
#include "attention/inputs.hpp"
#include "attention/npy.hpp"
#include "attention/session.hpp"
#include "attention/stage.hpp"
#include "attention/text.hpp"
#include "attention/timing.hpp"
#include "device_control.hpp"
#include "host_memory.hpp"
#include "options.hpp"
#include "reference.hpp"
#include "table.hpp"

namespace attention {
namespace {

struct Selected {
  const Stage* stage;
  const Variant* variant;
};

// The outcome of one variant: a row of the table.
struct Row {
  Selected what;
  enum class Verdict { right, nothing_compared, wrong, failed, unsupported, not_checked } verdict;
  std::optional<Comparison> comparison;
  std::optional<Timing> timing;
  std::vector<std::string> complaints;  // why it is not right, one line each
};

const char* in_words(Row::Verdict verdict) {
  switch (verdict) {
    case Row::Verdict::right:
      return "right";
    case Row::Verdict::nothing_compared:
      return "nothing to compare";  // neither the reference nor the output has a number
    case Row::Verdict::wrong:
      return "WRONG";
    case Row::Verdict::failed:
      return "FAILED";
    case Row::Verdict::unsupported:
      return "unsupported";
    case Row::Verdict::not_checked:
      return "not checked";
  }
  return "";
}

std::vector<Selected> select(const Options& options) {
  std::vector<std::string> stage_names, variant_names;
  for (const Stage* stage : registry()) stage_names.emplace_back(stage->name);
  for (const std::string& name : options.stages) {
    if (std::find(stage_names.begin(), stage_names.end(), name) == stage_names.end()) {
      throw InvalidInput(fmt::format("no stage is named '{}'; there is {}", name, alternatives(stage_names)));
    }
  }

  std::vector<Selected> selected;
  for (const Stage* stage : registry()) {
    const bool wanted = options.stages.empty() || std::find(options.stages.begin(), options.stages.end(),
                                                            stage->name) != options.stages.end();
    if (!wanted) continue;
    for (const Variant& variant : stage->variants) {
      variant_names.emplace_back(variant.name);
      const bool named = options.variant ? *options.variant == variant.name || *options.variant == "all"
                                         : !options.out || &variant == &stage->default_variant();
      if (named) selected.push_back({stage, &variant});
    }
  }
  if (selected.empty()) {
    variant_names.push_back("all");
    throw InvalidInput(
        fmt::format("no variant is named '{}'; there is {}", *options.variant, alternatives(variant_names)));
  }
  if (options.out && selected.size() > 1) {
    throw InvalidInput(fmt::format(
        "--out takes the output of one variant and {} are chosen: name one with --variant", selected.size()));
  }
  return selected;
}

void print_list() {
  for (const Stage* stage : registry()) {
    fmt::print("{}: {}\n", stage->name, stage->title);
    for (const Variant& variant : stage->variants) fmt::print("  {:<17} {}\n", variant.name, variant.idea);
  }
}

struct FileInputs {
  Problem problem;
  Inputs inputs;
};

// Q, K and V from the files of --q, --k and --v, where those are given.
std::optional<FileInputs> read_files(const Options& options) {
  if (!options.q) return std::nullopt;
  NpyArray q = read_npy(*options.q), k = read_npy(*options.k), v = read_npy(*options.v);
  const auto words = [](const NpyArray& array) { return fmt::format("[{}]", fmt::join(array.shape, ", ")); };
  if (k.shape != v.shape) {
    throw InvalidInput(fmt::format("K and V must have one shape, got K {} and V {}", words(k), words(v)));
  }
  if (q.shape[0] != k.shape[0] || q.shape[3] != k.shape[3]) {
    throw InvalidInput(
        fmt::format("Q and K must agree in batch and head_dim, got Q {} and K {}", words(q), words(k)));
  }
  Shape shape = options.shape;
  shape.batch = q.shape[0];
  shape.heads = q.shape[1];
  shape.kv_heads = k.shape[1];
  shape.seq_q = q.shape[2];
  shape.seq_kv = k.shape[2];
  shape.head_dim = q.shape[3];
  return FileInputs{Problem(shape), {std::move(q.values), std::move(k.values), std::move(v.values)}};
}

// Throws where no chosen variant supports the shape, before the reference is computed for nothing.
void check_any_support(const std::vector<Selected>& selected, const Problem& problem, const Device& device) {
  std::string reason;
  for (const Selected& what : selected) {
    const Support support = check_support(*what.variant, problem, device);
    if (support.ok) return;
    reason = fmt::format("{}/{}: {}", what.stage->name, what.variant->name, support.reason);
  }
  throw InvalidInput(reason);
}

Row run_variant(const Selected& what, Session& session, const Device& device, const Options& options,
                const std::optional<Expected>& expected, std::vector<half>* output) {
  Row row{what, Row::Verdict::not_checked, {}, {}, {}};
  const Variant& variant = *what.variant;
  if (const Support support = check_support(variant, session.problem(), device); !support.ok) {
    row.verdict = Row::Verdict::unsupported;
    row.complaints.push_back(support.reason);
    return row;
  }
  try {
    Outcome outcome = session.run(variant);
    if (expected) {
      row.comparison = compare(outcome.o, *expected, extra_roundings(variant, session.problem()));
      if (!row.comparison->ok) row.complaints.push_back(row.comparison->message);
      row.verdict = row.comparison->compared > 0 ? Row::Verdict::right : Row::Verdict::nothing_compared;
    }
    for (const std::string& damage : outcome.damage) row.complaints.push_back(damage);
    if (const std::size_t faults = device_faults()) {
      row.complaints.push_back(fmt::format("the emulated device reported {} fault(s)", faults));
    }
    if (!row.complaints.empty()) row.verdict = Row::Verdict::wrong;

    if (options.time && !device.emulated && row.verdict != Row::Verdict::wrong) {
      session.poison_output();
      CUDA_CHECK(cudaDeviceSynchronize());  // the poison is written before another stream writes
      row.timing = time_chain([&](cudaStream_t stream) { CUDA_CHECK(session.enqueue(variant, stream)); });
      // Calls that overlap can give wrong results where one call alone does not.
      const std::vector<half> last = session.output().to_host();
      if (std::memcmp(last.data(), outcome.o.data(), last.size() * sizeof(half)) != 0) {
        row.complaints.push_back("a chain of calls gives another output than one call");
        row.verdict = Row::Verdict::wrong;
      }
    }
    if (output) *output = std::move(outcome.o);
  } catch (const CudaError& error) {
    row.verdict = Row::Verdict::failed;
    row.complaints.push_back(error.what());
  }
  return row;
}

nlohmann::json to_json(const Row& row) {
  nlohmann::json json = {{"stage", row.what.stage->name},
                         {"variant", row.what.variant->name},
                         {"idea", row.what.variant->idea},
                         {"verdict", in_words(row.verdict)}};
  if (row.comparison) {
    json["error"] = row.comparison->error;
    json["allowed"] = row.comparison->allowed;
    json["row_error"] = row.comparison->row_error;
    json["row_allowed"] = row.comparison->row_allowed;
  }
  if (row.timing) {
    json["median_us"] = row.timing->median_us;
    json["p10_us"] = row.timing->p10_us;
    json["p90_us"] = row.timing->p90_us;
    json["launches"] = row.timing->launches;
    json["replays"] = row.timing->replays;
  }
  if (!row.complaints.empty()) json["complaints"] = row.complaints;
  return json;
}

nlohmann::json to_json(const Problem& problem, const Device& device) {
  return {{"device", {{"name", device.name}, {"emulated", device.emulated}}},
          {"problem",
           {{"batch", problem.batch},
            {"heads", problem.heads},
            {"kv_heads", problem.kv_heads},
            {"seq_q", problem.seq_q},
            {"seq_kv", problem.seq_kv},
            {"head_dim", problem.head_dim},
            {"causal", problem.causal},
            {"scale", problem.scale}}}};
}

// A line on the terminal that the next one overwrites; nothing where standard error is no terminal.
void show_progress(const std::string& text) {
  if (isatty(STDERR_FILENO)) fmt::print(stderr, "\r\x1b[K{}", text);
}

ExitCode run(int argc, char** argv) {
  const std::string description = registry().size() == 1
                                      ? fmt::format("{}: {}", registry()[0]->name, registry()[0]->title)
                                      : "Attention, staged: runs every stage on one problem and checks each "
                                        "variant against the reference";
  const auto [options, exit_code] = parse_options(argc, argv, description, registry().size() > 1);
  if (exit_code) return ExitCode(*exit_code);
  if (options.list) {
    print_list();
    return ExitCode::right;
  }
  configure_device(options.emulator);
  const std::vector<Selected> selected = select(options);
  const Device device = current_device();
  std::optional<FileInputs> files = read_files(options);
  const Problem problem = files ? files->problem : Problem(options.shape);
  check_any_support(selected, problem, device);
  check_host_memory(problem);
  const Inputs inputs = files ? std::move(files->inputs) : make_inputs(problem, options.inputs, options.seed);

  fmt::print("{} on {}\n", describe(problem), device.name);
  if (device.emulated)
    fmt::print("The emulated device checks results and counts events; it does not time.\n");
  fmt::print("\n");
  std::optional<Expected> expected;
  if (options.check) {
    show_progress("computing the reference ...");
    expected = reference::expect(problem, inputs);
  }
  Session session(problem, inputs);
  std::vector<half> output;
  std::vector<Row> rows;
  nlohmann::json json = to_json(problem, device);
  Table table({.timed = options.time && !device.emulated});
  for (const Selected& what : selected) {
    show_progress(fmt::format("{}/{} ... ({} of {})", what.stage->name, what.variant->name, rows.size() + 1,
                              selected.size()));
    reset_device_findings();
    const Row row = run_variant(what, session, device, options, expected, options.out ? &output : nullptr);
    show_progress("");
    table.print_row({.stage = what.stage->name,
                     .variant = what.variant->name,
                     .idea = what.variant->idea,
                     .error = row.comparison ? std::optional(row.comparison->error) : std::nullopt,
                     .allowed = row.comparison ? std::optional(row.comparison->allowed) : std::nullopt,
                     .verdict = in_words(row.verdict),
                     .time_us = row.timing ? std::optional(row.timing->median_us) : std::nullopt});
    for (const std::string& complaint : row.complaints) fmt::print("    {}\n", complaint);
    print_device_profile(std::cout);
    json["results"].push_back(to_json(row));
    if (options.emulator.profile) {
      json["results"].back()["profile"] = nlohmann::json::parse(device_profile_json());
    }
    rows.push_back(row);
    std::fflush(stdout);  // whoever reads a pipe sees each row as it is done
  }

  const bool any_wrong = std::any_of(rows.begin(), rows.end(), [](const Row& row) {
    return row.verdict == Row::Verdict::wrong || row.verdict == Row::Verdict::failed;
  });
  if (options.json) write_whole_file(*options.json, json.dump(2) + "\n");
  if (options.out && !any_wrong) {
    const int shape[] = {problem.batch, problem.heads, problem.seq_q, problem.head_dim};
    write_npy(*options.out, shape, output);
  }
  return any_wrong ? ExitCode::wrong_result : ExitCode::right;
}

}  // namespace
}  // namespace attention

int main(int argc, char** argv) {
  return attention::run_program([&] { return attention::run(argc, argv); });
}
