#!/usr/bin/env python3
"""Holds the emulated device's counters against Nsight Compute's, variant by variant.

Two machines may take part, since the one with the GPU need not have the emulated build. Each step writes a file:

  fidelity.py emulated BUILD --out emulated.json     counts every variant of every stage on the emulated device
  fidelity.py gpu BUILD --out gpu.json               runs the same variants under ncu
  fidelity.py compare emulated.json gpu.json [--known known.json] [--out comparison.json]
                                                     prints both side by side, records them, and fails where a
                                                     counter is off by more than 1 % with no cause given

--known names causes: {"stage/variant": {"counter": "why"}}; "*" stands for every variant, or every counter.
Options after `--` go to the stages' programs: a shape, say. Needs nothing but Python 3 (and ncu for `gpu`).
"""

import argparse
import csv
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

# ncu's metrics, "a - b" -> the emulated counters that must add up to as much.
METRICS = {
    "l1tex__t_requests_pipe_lsu_mem_global_op_ld.sum": ["global_load_requests"],
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": ["global_load_sectors"],
    "l1tex__t_requests_pipe_lsu_mem_global_op_st.sum": ["global_store_requests"],
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": ["global_store_sectors"],
    "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": ["shared_load_wavefronts"],
    "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum": ["shared_store_wavefronts"],
    "smsp__sass_inst_executed_op_ldgsts.sum": ["cp_async"],
    "smsp__sass_inst_executed_op_ldsm.sum": ["ldmatrix"],
    # On Hopper HMMA's counter includes wgmma.
    "sm__inst_executed_pipe_tensor_op_hmma.sum - sm__inst_executed_pipe_tensor_op_gmma.sum": ["mma"],
    "sm__inst_executed_pipe_tensor_op_gmma.sum": ["wgmma"],
}
ALLOWED = 0.01  # of the GPU's count


def programs(build):
    return sorted(p for p in (build / "bin").iterdir() if re.fullmatch(r"\d\d_\w+", p.name) and os.access(p, os.X_OK))


def variants(program):
    """Names as `--list` prints them: a line for the stage, then one indented line a variant."""
    listing = subprocess.run([program, "--list"], check=True, text=True, stdout=subprocess.PIPE).stdout
    return [line.split()[0] for line in listing.splitlines() if line.startswith("  ") and line.strip()]


def commit():
    """The checkout's commit; where the sources are not one, ATTENTION_COMMIT says which commit they are."""
    if "ATTENTION_COMMIT" in os.environ:
        return os.environ["ATTENTION_COMMIT"]
    result = subprocess.run(["git", "rev-parse", "HEAD"], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                            cwd=pathlib.Path(__file__).parent)
    return result.stdout.strip()


def gpu_name():
    """"NVIDIA H200, 580.159.04": the first GPU and its driver."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, text=True, stdout=subprocess.PIPE).stdout.strip().splitlines()[0]


def count_emulated(build, options):
    counts = {}
    for program in programs(build):
        for variant in variants(program):
            with tempfile.TemporaryDirectory() as folder:
                out = pathlib.Path(folder) / "profile.json"
                subprocess.run([program, "--variant", variant, "--no-check", "--profile", "--json", out, *options],
                               check=True, stdout=subprocess.DEVNULL)
                result = json.loads(out.read_text())["results"][0]
            if result["verdict"] == "unsupported":
                continue
            counts[f"{program.name}/{variant}"] = {
                metric: sum(result["profile"]["total"].get(name, 0) for name in names)
                for metric, names in METRICS.items()}
            print(f"{program.name}/{variant}", file=sys.stderr)
    return {"device": "emulated device", "commit": commit(), "options": options, "counts": counts}


def terms(metric):
    """The metrics of a sum, each with its sign."""
    signs = re.findall(r"(?:^|[+-] )", metric)
    return [(-1 if sign.startswith("-") else 1, name) for sign, name in zip(signs, re.split(r" [+-] ", metric))]


def read_ncu_csv(text):
    """Sums each metric over the kernels of one run. ncu's own chatter precedes the table."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise SystemExit("ncu printed no table:\n" + text[-2000:])
    totals = {name: 0 for metric in METRICS for _, name in terms(metric)}
    for row in csv.DictReader(io.StringIO("\n".join(lines[start:]))):
        if row.get("Metric Name") in totals:
            totals[row["Metric Name"]] += int(float(row["Metric Value"].replace(",", "")))
    return totals


def count_on_gpu(build, options):
    counts = {}
    for program in programs(build):
        for variant in variants(program):
            # --no-time: each kernel of the variant runs once. The harness has no kernels of its own.
            command = ["ncu", "--csv", "--print-units", "base", "--clock-control", "none",
                       "--metrics", ",".join(dict.fromkeys(name for metric in METRICS for _, name in terms(metric))),
                       program, "--variant", variant, "--no-check", "--no-time", *options]
            result = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if "unsupported" in result.stdout:
                continue
            if result.returncode != 0:
                raise SystemExit(f"{program.name}/{variant} under ncu: exit {result.returncode}\n"
                                 + result.stdout[-2000:])
            counts[f"{program.name}/{variant}"] = read_ncu_csv(result.stdout)
            print(f"{program.name}/{variant}", file=sys.stderr)
    return {"device": gpu_name(), "commit": commit(), "options": options, "counts": counts}


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
    return {"gpu": gpu["device"], "gpu_commit": gpu["commit"], "emulated_commit": emulated["commit"],
            "options": gpu["options"], "allowed": ALLOWED, "unexplained": unexplained, "rows": rows}


def print_table(comparison):
    print(f"{'variant':28} {'counter':26} {'emulated':>14} {comparison['gpu'].split(',')[0]:>14}  ratio")
    last = None
    for row in comparison["rows"]:
        shown = row["variant"] if row["variant"] != last else ""
        last = row["variant"]
        ratio = f"{row['ratio']:.3f}" if row["ratio"] is not None else "inf"
        off = row["ratio"] is None or abs(row["ratio"] - 1) > comparison["allowed"]
        note = f"  {row['cause'] or 'UNEXPLAINED'}" if off else ""
        print(f"{shown:28} {row['counter']:26} {row['emulated']:14,} {row['gpu']:14,}  {ratio}{note}")
    print(f"{len(comparison['rows'])} counters, {comparison['unexplained']} off by more than "
          f"{comparison['allowed']:.0%} with no cause given")


def main():
    arguments = sys.argv[1:]
    options = []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, options = arguments[:split], arguments[split + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("emulated", "gpu"):
        sub = steps.add_parser(step)
        sub.add_argument("build", type=pathlib.Path)
        sub.add_argument("--out", type=pathlib.Path, required=True)
    sub = steps.add_parser("compare")
    sub.add_argument("emulated", type=pathlib.Path)
    sub.add_argument("gpu", type=pathlib.Path)
    sub.add_argument("--known", type=pathlib.Path)
    sub.add_argument("--out", type=pathlib.Path)
    chosen = parser.parse_args(arguments)

    if chosen.step != "compare":
        count = count_emulated if chosen.step == "emulated" else count_on_gpu
        chosen.out.write_text(json.dumps(count(chosen.build.resolve(), options), indent=1) + "\n")
        return 0
    emulated, gpu = (json.loads(path.read_text()) for path in (chosen.emulated, chosen.gpu))
    if emulated["options"] != gpu["options"]:
        raise SystemExit(f"not the same problem: {emulated['options']} and {gpu['options']}")
    known = json.loads(chosen.known.read_text()) if chosen.known else {}
    comparison = compare(emulated, gpu, known)
    print_table(comparison)
    if chosen.out:
        chosen.out.write_text(json.dumps(comparison, indent=1) + "\n")
    return 1 if comparison["unexplained"] or not comparison["rows"] else 0


if __name__ == "__main__":
    sys.exit(main())
