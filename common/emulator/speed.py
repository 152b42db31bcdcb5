#!/usr/bin/env python3
"""How long the emulated device takes for each variant of each stage: plain, checked, counted.

  speed.py measure BUILD --out cost.json [-- options of the stages' programs, such as a shape]
  speed.py table cost.json --out table.md

Seconds of wall time and of CPU time of the whole program, start included, on this machine, which should do nothing
else meanwhile; and what a switch from one thread of a block to the next costs. They say nothing about how long a kernel
takes on a GPU.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time

from fidelity import commit, programs, variants

MODES = {"plain": [], "checked": ["--check-memory"], "counted": ["--profile"]}


def processor():
    """As the system names it: "AMD EPYC", "x86_64"."""
    try:
        return re.search(r"^model name\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)[1].strip()
    except (OSError, TypeError):
        return platform.machine()


def measure(command):
    begin, cpu_begin = time.monotonic(), os.times()
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu_end = os.times()
    cpu = cpu_end.children_user - cpu_begin.children_user + cpu_end.children_system - cpu_begin.children_system
    return result.returncode, time.monotonic() - begin, cpu


def switch_ns(build):
    printed = subprocess.run([build / "bin" / "test_emulator", "[switch]"], text=True, stdout=subprocess.PIPE).stdout
    return float(re.search(r"switches, ([\d.]+) ns of CPU time each", printed)[1])


def measure_all(build, options):
    rows = []
    print(f"{'variant':28}" + "".join(f"{mode + ', s':>12}{'CPU s':>8}" for mode in MODES))
    for program in programs(build):
        for variant in variants(program):
            row = {"variant": f"{program.name}/{variant}"}
            for mode, flags in MODES.items():
                status, wall, cpu = measure([program, "--variant", variant, "--no-check", *flags, *options])
                if status != 0:
                    raise SystemExit(f"{row['variant']} {' '.join(flags)}: exit {status}")
                row[mode] = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
            rows.append(row)
            print(f"{row['variant']:28}" + "".join(f"{row[mode]['wall_s']:12.2f}{row[mode]['cpu_s']:8.2f}"
                                                   for mode in MODES), flush=True)
    return {"processor": processor(), "cores": os.cpu_count(), "commit": commit(), "options": options,
            "switch_ns": switch_ns(build), "rows": rows}


def document(cost):
    shape = f"`{' '.join(cost['options'])}`" if cost["options"] else "the headline shape"
    lines = ["# What emulation costs", "",
             "Made by `common/emulator/speed.py table` from the record beside this file; not edited by hand. Seconds of "
             f"whole programs on the CPU, at {shape}; no time of a GPU. Checked: `--check-memory`. Counted: `--profile`.",
             "", "| variant | " + " | ".join(f"{mode}, wall | CPU" for mode in MODES) + " |",
             "| --- |" + " --- |" * 2 * len(MODES)]
    for row in cost["rows"]:
        cells = (f"{row[mode][kind]:.2f}" for mode in MODES for kind in ("wall_s", "cpu_s"))
        lines.append(f"| `{row['variant']}` | " + " | ".join(cells) + " |")
    most = (f"{max(row[mode][kind] for row in cost['rows']):.2f}" for mode in MODES for kind in ("wall_s", "cpu_s"))
    lines += ["| **the most** | " + " | ".join(most) + " |", "",
              f"A switch from one thread of a block to the next: {cost['switch_ns']:.0f} ns. {cost['cores']} cores of "
              f"{cost['processor']}, commit `{cost['commit'][:12]}`, `speed.py measure`.", ""]
    return "\n".join(lines)


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, options = arguments[:split], arguments[split + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for step, argument in (("measure", "build"), ("table", "cost")):
        steps.add_parser(step).add_argument(argument, type=pathlib.Path)
        steps.choices[step].add_argument("--out", type=pathlib.Path, required=True)
    chosen = parser.parse_args(arguments)

    if chosen.step == "measure":
        chosen.out.write_text(json.dumps(measure_all(chosen.build.resolve(), options), indent=1) + "\n")
    else:
        chosen.out.write_text(document(json.loads(chosen.cost.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
