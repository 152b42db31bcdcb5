"""Compares the emulated device's counters with Nsight Compute's, variant by variant.

Two machines may take part, since the one with the GPU need not have the emulated build. Each step writes a
file:

  fidelity emulated BUILD --out emulated.json    counts every variant of every stage on the emulated device
  fidelity gpu BUILD --out gpu.json              runs the same variants under ncu
  fidelity compare emulated.json gpu.json [--known known.json] [--out comparison.json]
                                                 prints both side by side, records them, and fails where a
                                                 counter is off by more than 1 % with no cause given
  fidelity passes PROGRAM --out passes.json      runs bin/repeated_passes of a GPU build under ncu
  fidelity table comparison.json passes.json --out table.md
                                                 both as Markdown

--known names causes: {"stage/variant": {"counter": "why"}}; "*" stands for every variant, or every counter.
Options after `--` go to the stages' programs: a shape, say.
"""

import csv
import pathlib
import re
import sys

from . import cli, machine, programs, records
from .errors import BadInput, Failed
from .records import NULL, NUMBER, OR

INSTRUCTIONS_PASSES = "smsp__sass_l1tex_data_pipe_lsu_wavefronts_mem_shared_op_"
UNITS_PASSES = "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_"

# ncu's metrics, "a - b" -> the emulated counters that must add up to as much.
METRICS = {
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": ["global_load_requests"],
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": ["global_load_sectors"],
    "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum": ["global_store_requests"],
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": ["global_store_sectors"],
    f"{INSTRUCTIONS_PASSES}ld.sum + {INSTRUCTIONS_PASSES}ldsm.sum": ["shared_load_wavefronts"],
    f"{INSTRUCTIONS_PASSES}st.sum": ["shared_store_wavefronts"],
    "smsp__sass_inst_executed_op_ldgsts.sum": ["cp_async"],
    "smsp__sass_inst_executed_op_ldsm.sum": ["ldmatrix"],
    # The counter of HMMA includes wgmma, and HFMA2.MMA, with which nvcc sets registers.
    "sm__inst_executed_pipe_tensor_op_hmma.sum - sm__inst_executed_pipe_tensor_op_hmma_type_hfma2.sum"
    " - sm__inst_executed_pipe_tensor_op_gmma.sum": ["mma"],
    "sm__inst_executed_pipe_tensor_op_gmma.sum": ["wgmma"],
    f"{UNITS_PASSES}gmma.sum": ["wgmma_wavefronts"],
    "smsp__sass_inst_executed_op_tma_ld.sum": ["bulk_loads"],
    "l1tex__m_xbar2l1tex_read_bytes_mem_global_op_tma_ld.sum": ["bulk_load_bytes"],
    "smsp__sass_inst_executed_op_tma_st.sum": ["bulk_stores"],
    "l1tex__m_l1tex2xbar_write_bytes_mem_global_op_tma_st.sum": ["bulk_store_bytes"],
    "smsp__sass_inst_executed_op_dshared_stas.sum": ["remote_stores"],
}
# The memory unit counts a pass again that something else in the SM kept from its turn (
# repeated_passes.cu). Recorded beside what the instructions account for, and not compared.
BY_UNIT = {"shared_load_wavefronts": f"{UNITS_PASSES}ld.sum",
           "shared_store_wavefronts": f"{UNITS_PASSES}st.sum"}
ALLOWED = 0.01  # of the GPU's count


def terms(metric):
    """The metrics of a sum, each with its sign."""
    signs = re.findall(r"(?:^|[+-] )", metric)
    names = re.split(r" [+-] ", metric)
    return [(-1 if sign.startswith("-") else 1, name) for sign, name in zip(signs, names)]


# ---- Files ----

COUNTED = {"device": str, "commit": str, "options": [str]}
NAMES = [name for metric in METRICS for _, name in terms(metric)] + list(BY_UNIT.values())
EMULATED = records.Kind("record of `fidelity emulated`",
                        {**COUNTED, "counts": {str: {metric: int for metric in METRICS}}}, "counts")
GPU = records.Kind("record of `fidelity gpu`", {**COUNTED, "counts": {str: {name: int for name in NAMES}}},
                   "counts")
KNOWN = records.Kind("list of known causes", {str: {str: str}})
COMPARISON = records.Kind("record of `fidelity compare`", {
    "gpu": str, "gpu_commit": str, "emulated_commit": str, "options": [str], "allowed": NUMBER,
    "unexplained": int,
    "rows": [{"variant": str, "counter": str, "emulated": int, "gpu": int, "ratio": OR(NUMBER, NULL),
              "cause": OR(str, NULL), "by_unit?": int}]}, "rows")
# What repeated_passes is looked at for. Banks written: of ordinary stores and bulk copies one for each 4
# bytes; of st.async twice as many, of cp.async fewer, and not the same each time.
PASSES = {"loads": f"{INSTRUCTIONS_PASSES}ld.sum", "loads_by_unit": f"{UNITS_PASSES}ld.sum",
          "stores": f"{INSTRUCTIONS_PASSES}st.sum", "stores_by_unit": f"{UNITS_PASSES}st.sum",
          "lost_arbitrations": "l1tex__data_bank_conflicts_type_arbitration.sum",
          "banks_written": "l1tex__data_bank_writes.sum"}
PASSES_RECORD = records.Kind("record of `fidelity passes`", {
    "device": str, "commit": str,
    "rows": [{"access": str, "beside": str, **{name: int for name in PASSES}}]}, "rows")


# ---- Counting ----

def count_emulated(build, options):
    stages = programs.chosen_stages([])
    programs.make_counting(build, stages)
    counts = {}
    for program in programs.programs(build):
        for variant in programs.variants(program):
            run = programs.results(program, "--variant", variant, "--no-check", "--profile", *options)
            result, = run["results"]
            if result["verdict"] == "unsupported":
                continue
            counts[f"{program.name}/{variant}"] = {
                metric: sum(result["profile"]["total"].get(name, 0) for name in names)
                for metric, names in METRICS.items()}
            print(f"{program.name}/{variant}", file=sys.stderr)
    return {"device": "emulated device", "commit": machine.commit(), "options": options, "counts": counts}


def read_ncu_csv(text):
    """By kernel, in order of launches, what ncu counted. What else was printed is passed over."""
    lines = [line for line in text.splitlines() if line.startswith('"')]
    if not lines or not lines[0].startswith('"ID"'):
        raise Failed(f"ncu printed no table:\n{machine.tail(text)}")
    kernels = {}
    for row in csv.DictReader(lines):
        value = int(float(row["Metric Value"].replace(",", "")))
        kernels.setdefault(int(row["ID"]), {})[row["Metric Name"]] = value
    return [kernels[i] for i in sorted(kernels)]


def count_on_gpu(build, options):
    machine.gpu()
    counts = {}
    for program in programs.programs(build):
        for variant in programs.variants(program):
            # --no-time: each kernel of the variant runs once. The harness has no kernels of its own.
            printed, succeeded = machine.under_ncu(
                [program, "--variant", variant, "--no-check", "--no-time", *options], NAMES)
            if "unsupported" in printed:
                continue
            if not succeeded:
                raise Failed(f"{program.name}/{variant} under ncu:\n{machine.tail(printed)}")
            kernels = read_ncu_csv(printed)
            counts[f"{program.name}/{variant}"] = {name: sum(kernel.get(name, 0) for kernel in kernels)
                                                   for name in NAMES}
            print(f"{program.name}/{variant}", file=sys.stderr)
    return {"device": machine.gpu(), "commit": machine.commit(), "options": options, "counts": counts}


def count_passes(program):
    device = machine.gpu()
    printed, succeeded = machine.under_ncu([program], PASSES.values())
    if not succeeded:
        raise Failed(f"{program} under ncu:\n{machine.tail(printed)}")
    cases, kernels = re.findall(r"^case: (\w+) beside (.*)$", printed, re.M), read_ncu_csv(printed)
    if len(cases) != len(kernels):
        raise Failed(f"{program} under ncu: {len(cases)} cases and {len(kernels)} kernels")
    rows = [{"access": access, "beside": beside, **{name: kernel[metric] for name, metric in PASSES.items()}}
            for (access, beside), kernel in zip(cases, kernels)]
    return {"device": device, "commit": machine.commit(), "rows": rows}


# ---- Side by side ----

def cause(known, variant, counter):
    for key in (variant, variant.split("/")[0] + "/*", "*"):
        causes = known.get(key, {})
        if counter in causes or "*" in causes:
            return causes.get(counter, causes.get("*"))
    return None


def compare(emulated, gpu, known):
    rows, unexplained = [], 0
    for variant in sorted(set(emulated["counts"]) & set(gpu["counts"])):
        for metric, names in METRICS.items():
            counter = "+".join(names)
            ours = emulated["counts"][variant][metric]
            theirs = sum(sign * gpu["counts"][variant][name] for sign, name in terms(metric))
            if ours == theirs == 0:
                continue
            off = abs(ours - theirs) / theirs if theirs else float("inf")
            why = cause(known, variant, counter) if off > ALLOWED else None
            unexplained += off > ALLOWED and why is None
            rows.append({"variant": variant, "counter": counter, "emulated": ours, "gpu": theirs,
                         "ratio": ours / theirs if theirs else None, "cause": why})
            if counter in BY_UNIT:
                rows[-1]["by_unit"] = gpu["counts"][variant][BY_UNIT[counter]]
    return {"gpu": gpu["device"], "gpu_commit": gpu["commit"], "emulated_commit": emulated["commit"],
            "options": gpu["options"], "allowed": ALLOWED, "unexplained": unexplained, "rows": rows}


def is_off(row, allowed):
    return row["ratio"] is None or abs(row["ratio"] - 1) > allowed


def print_table(comparison):
    print(f"{'variant':28} {'counter':26} {'emulated':>14} {comparison['gpu'].split(',')[0]:>14}  ratio")
    last = None
    for row in comparison["rows"]:
        shown = row["variant"] if row["variant"] != last else ""
        last = row["variant"]
        ratio = f"{row['ratio']:.3f}" if row["ratio"] is not None else "inf"
        note = f"  {row['cause'] or 'UNEXPLAINED'}" if is_off(row, comparison["allowed"]) else ""
        print(f"{shown:28} {row['counter']:26} {row['emulated']:14,} {row['gpu']:14,}  {ratio}{note}")
    print(f"{len(comparison['rows'])} counters, {comparison['unexplained']} off by more than "
          f"{comparison['allowed']:.0%} with no cause given")


def document(comparison, passes):
    """Markdown of both records."""
    rows, allowed = comparison["rows"], comparison["allowed"]
    off = [row for row in rows if is_off(row, allowed)]
    equal = sum(row["emulated"] == row["gpu"] for row in rows)
    shape = f"`{' '.join(comparison['options'])}`" if comparison["options"] else "the headline shape"
    lines = ["# The emulated device's counters, and a GPU's", "",
             "Made by `python3 common/tools fidelity table` from the records beside this file; not edited by "
             "hand.", "",
             f"{len(rows)} counters of {len({row['variant'] for row in rows})} variants at {shape}: {equal} "
             f"equal, {len(rows) - len(off) - equal} more within {allowed:.0%}, {len(off)} off, each with "
             "its cause:",
             "",
             "| variant | counter | emulated | GPU | cause |", "| --- | --- | --- | --- | --- |"]
    lines += [f"| `{row['variant']}` | `{row['counter']}` | {row['emulated']:,} | {row['gpu']:,} | "
              f"{row['cause'] or '**not explained**'} |"
              for row in off]
    lines += ["",
              f"GPU: {comparison['gpu']} (driver), commit `{comparison['gpu_commit'][:12]}`, `fidelity gpu`. "
              f"Emulated device: commit `{comparison['emulated_commit'][:12]}`, `fidelity emulated`. All "
              "rows are "
              "in `comparison.json`.", "",
              "## Passes that no instruction makes", "",
              "Of shared memory, the counts above are those of the instructions. The memory unit has a "
              "counter of its own, which is what Nsight Compute shows first, and which counts more in these "
              "variants, and not the "
              "same each time:", "",
              "| variant | counter | by instruction | by the unit |", "| --- | --- | --- | --- |"]
    lines += [f"| `{row['variant']}` | `{row['counter']}` | {row['gpu']:,} | {row['by_unit']:,} |"
              for row in rows if row.get("by_unit", row["gpu"]) != row["gpu"]]
    lines += ["", "## One thing at a time", "",
              "In two blocks a warp stores, or loads, 1024 times without bank conflicts, and something else "
              "uses shared memory meanwhile (`common/tools/repeated_passes.cu`):",
              "", "| a warp | beside | by instruction | by the unit | lost arbitrations | banks written |",
              "| --- | --- | --- | --- | --- | --- |"]
    for row in passes["rows"]:
        kind = "loads" if row["access"] == "loads" else "stores"
        lines.append(f"| {row['access']} | {row['beside']} | {row[kind]:,} | {row[kind + '_by_unit']:,} | "
                     f"{row['lost_arbitrations']:,} | {row['banks_written']:,} |")
    lines += ["", f"GPU: {passes['device']} (driver), commit `{passes['commit'][:12]}`, `fidelity passes`.",
              ""]
    return "\n".join(lines)


def parse(arguments):
    parser = cli.parser_of("fidelity", __doc__)
    steps = cli.steps_of(parser, emulated="counts on the emulated device", gpu="counts on a GPU, under ncu",
                         compare="holds the two records against each other",
                         passes="runs repeated_passes under ncu",
                         table="writes records as Markdown")
    for name in ("emulated", "gpu"):
        steps[name].add_argument("build", type=pathlib.Path, metavar="BUILD")
    steps["passes"].add_argument("program", type=pathlib.Path, metavar="PROGRAM")
    for name, files in (("compare", ("emulated", "gpu")), ("table", ("comparison", "passes"))):
        for file in files:
            steps[name].add_argument(file, type=pathlib.Path, metavar=file.upper())
    steps["compare"].add_argument("--known", type=pathlib.Path, metavar="FILE", help="causes of differences")
    steps["compare"].add_argument("--out", type=cli.out_file, metavar="FILE")
    for name in ("emulated", "gpu", "passes", "table"):
        cli.add_out(steps[name])
    return parser.parse_args(arguments)


def main(arguments):
    arguments, options = cli.split_options(arguments)
    chosen = parse(arguments)
    if chosen.step == "passes":
        records.write(chosen.out, count_passes(chosen.program))
        return 0
    if chosen.step == "table":
        comparison = records.read(chosen.comparison, COMPARISON)
        records.write_text(chosen.out, document(comparison, records.read(chosen.passes, PASSES_RECORD)))
        return 0
    if chosen.step != "compare":
        count = count_emulated if chosen.step == "emulated" else count_on_gpu
        records.write(chosen.out, count(programs.check_build(chosen.build), options))
        return 0
    emulated, gpu = records.read(chosen.emulated, EMULATED), records.read(chosen.gpu, GPU)
    if emulated["options"] != gpu["options"]:
        raise BadInput(f"{chosen.emulated} and {chosen.gpu} are not of the same problem: "
                       f"{emulated['options']} and {gpu['options']}")
    comparison = compare(emulated, gpu, records.read(chosen.known, KNOWN) if chosen.known else {})
    if not comparison["rows"]:
        raise BadInput(f"{chosen.emulated} and {chosen.gpu} have no counter in common")
    print_table(comparison)
    if chosen.out:
        records.write(chosen.out, comparison)
    return 1 if comparison["unexplained"] else 0
