#include "options.hpp"

#include <CLI/CLI.hpp>

#include "attention/error.hpp"

namespace attention {

ParsedOptions parse_options(int argc, char** argv, const std::string& description, bool several_stages) {
  ParsedOptions parsed;
  Options& options = parsed.options;
  Shape& shape = options.shape;

  CLI::App app(description);
  app.footer("Exit codes: 0 right, 1 wrong result, 2 bad input or unsupported shape, 3 no such device.");
  app.add_flag("--list", options.list, "List the variants and the idea of each");
  if (several_stages)
    app.add_option("--stage", options.stages, "Run this stage only; may be given several times");
  app.add_option("--variant", options.variant, "Run one variant, or all [all; with --out the last]")
      ->type_name("NAME|all");

  const std::string shape_group = "Shape (the defaults are the headline shape)";
  std::vector<CLI::Option*> sizes = {
      app.add_option("--batch", shape.batch, "Batch size [1]"),
      app.add_option("--heads", shape.heads, "Query heads [8]"),
      app.add_option("--kv-heads", shape.kv_heads,
                     "Key/value heads, which must divide --heads [as many as --heads]"),
      app.add_option("--seq-q", shape.seq_q, "Query rows per head [512]"),
      app.add_option("--seq-kv", shape.seq_kv, "Keys per head [as many as --seq-q]"),
      app.add_option("--head-dim", shape.head_dim, "Elements per row of Q, K and V [64]")};
  for (CLI::Option* size : sizes) size->group(shape_group)->type_name("N");
  app.add_flag("--causal", shape.causal, "Causal mask: query i sees key j when j <= i + seq_kv - seq_q")
      ->group(shape_group);
  app.add_option("--scale", shape.scale, "Factor on Q K^T [1/sqrt(head_dim)]")
      ->group(shape_group)
      ->type_name("X");

  const std::string data_group = "Data";
  std::string inputs = "normal";
  std::vector<std::string> kinds;
  for (const Distribution distribution : all_distributions()) kinds.emplace_back(name(distribution));
  CLI::Option* kind =
      app.add_option("--inputs", inputs, "Kind of inputs: normal, large_logits, ... [normal]");
  kind->group(data_group)->type_name("KIND")->check(CLI::IsMember(kinds));
  CLI::Option* seed = app.add_option("--seed", options.seed, "Seed of the inputs [1]");
  seed->group(data_group)->type_name("N");
  const char* const npy_help =
      "Read from a .npy file: float16 or float32, [batch, heads, rows, head_dim], C order";
  CLI::Option* q = app.add_option("--q", options.q, npy_help);
  CLI::Option* k = app.add_option("--k", options.k, npy_help);
  CLI::Option* v = app.add_option("--v", options.v, npy_help);
  for (CLI::Option* file : {q, k, v}) {
    file->group(data_group)->type_name("FILE")->excludes(seed)->excludes(kind);
    for (CLI::Option* other : {q, k, v}) {
      if (other != file) file->needs(other);
    }
    for (CLI::Option* size : sizes) file->excludes(size);  // shapes come from the files
  }
  app.add_option("--out", options.out, "Write O to a .npy file, in float16")
      ->group(data_group)
      ->type_name("FILE");

  const std::string check_group = "What to do";
  app.add_flag("!--no-check", options.check, "Do not compare with the float64 reference")->group(check_group);
  app.add_flag("!--no-time", options.time, "Do not time (the emulated device is never timed)")
      ->group(check_group);
  app.add_option("--json", options.json, "Write the results to a JSON file")
      ->group(check_group)
      ->type_name("FILE");

  const std::string emulated_group = "Emulated device only";
  app.add_option("--schedule-seed", options.emulator.schedule_seed,
                 "Run lanes, warps and blocks in the order of this seed")
      ->group(emulated_group)
      ->type_name("N");
  app.add_flag("--check-memory", options.emulator.check_memory,
               "Report data races, uninitialised reads and out-of-bounds accesses")
      ->group(emulated_group);
  app.add_flag("--profile", options.emulator.profile,
               "Count sectors, bank conflicts and instructions per source line")
      ->group(emulated_group);
  app.add_option("--profile-blocks", options.emulator.profile_blocks,
                 "Profile only N blocks of each launch [all]")
      ->group(emulated_group)
      ->check(CLI::NonNegativeNumber)
      ->type_name("N");

  try {
    app.parse(argc, argv);
    options.inputs = *distribution_named(inputs);
  } catch (const CLI::CallForHelp& help) {
    parsed.exit_code = app.exit(help);
  } catch (const CLI::ParseError& error) {
    throw InvalidInput(error.what());
  }
  return parsed;
}

}  // namespace attention
