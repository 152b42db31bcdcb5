"""How long the emulated device takes for each variant of each stage: plain, checked, counted.

  cost measure BUILD --out cost.json [-- options of the stages' programs, such as a shape]
  cost table cost.json --out table.md

Seconds of wall time and of CPU time of the whole program, start included, on this machine, which should do
nothing else meanwhile; and what a switch from one thread of a block to the next costs. They say nothing about
how long a kernel takes on a GPU.
"""

import os
import pathlib
import re
import subprocess
import time

from . import cli, machine, programs, records
from .errors import Failed
from .records import NUMBER

MODES = {"plain": [], "checked": ["--check-memory"], "counted": ["--profile"]}
COST = records.Kind("record of `cost measure`", {
    "processor": str, "cores": int, "commit": str, "options": [str], "switch_ns": NUMBER,
    "rows": [{"variant": str, **{mode: {"wall_s": NUMBER, "cpu_s": NUMBER} for mode in MODES}}]}, "rows")


def measure(command):
    begin, cpu_begin = time.monotonic(), os.times()
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu_end = os.times()
    cpu = sum(cpu_end[i] - cpu_begin[i] for i in (2, 3))  # of children: user, system
    return result.returncode, time.monotonic() - begin, cpu


def switch_ns(build):
    printed = machine.printed([build / "bin" / "test_emulator", "[switch]"])
    found = re.search(r"switches, ([\d.]+) ns of CPU time each", printed)
    if not found:
        raise Failed("test_emulator does not say what a switch costs")
    return float(found[1])


def measure_all(build, options):
    programs.make_counting(build, programs.chosen_stages([]))
    programs.make(build, "test_emulator")
    rows = []
    print(f"{'variant':28}" + "".join(f"{mode + ', s':>12}{'CPU s':>8}" for mode in MODES))
    for program in programs.programs(build):
        for variant in programs.variants(program):
            row = {"variant": f"{program.name}/{variant}"}
            for mode, flags in MODES.items():
                status, wall, cpu = measure([program, "--variant", variant, "--no-check", *flags, *options])
                if status != 0:
                    raise Failed(f"{row['variant']} {' '.join(flags)}: exit {status}")
                row[mode] = {"wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
            rows.append(row)
            print(f"{row['variant']:28}" + "".join(f"{row[mode]['wall_s']:12.2f}{row[mode]['cpu_s']:8.2f}"
                                                   for mode in MODES), flush=True)
    return {"processor": machine.processor(), "cores": os.cpu_count(), "commit": machine.commit(),
            "options": options,
            "switch_ns": switch_ns(build), "rows": rows}


def document(cost):
    shape = f"`{' '.join(cost['options'])}`" if cost["options"] else "the headline shape"
    lines = ["# What emulation costs", "",
             "Made by `python3 common/tools cost table` from the record beside this file; not edited by "
             f"hand. Seconds of whole programs on the CPU, at {shape}; no time of a GPU. Checked: "
             "`--check-memory`. Counted: `--profile`.",
             "", "| variant | " + " | ".join(f"{mode}, wall | CPU" for mode in MODES) + " |",
             "| --- |" + " --- |" * 2 * len(MODES)]
    for row in cost["rows"]:
        cells = (f"{row[mode][kind]:.2f}" for mode in MODES for kind in ("wall_s", "cpu_s"))
        lines.append(f"| `{row['variant']}` | " + " | ".join(cells) + " |")
    most = (f"{max(row[mode][kind] for row in cost['rows']):.2f}" for mode in MODES
            for kind in ("wall_s", "cpu_s"))
    lines += ["| **the most** | " + " | ".join(most) + " |", "",
              f"A switch from one thread of a block to the next: {cost['switch_ns']:.0f} ns. {cost['cores']} "
              "cores of "
              f"{cost['processor']}, commit `{cost['commit'][:12]}`, `cost measure`.", ""]
    return "\n".join(lines)


def parse(arguments):
    parser = cli.parser_of("cost", __doc__)
    steps = cli.steps_of(parser, measure="runs every variant", table="writes a record as Markdown")
    for name, argument in (("measure", "build"), ("table", "cost")):
        steps[name].add_argument(argument, type=pathlib.Path, metavar=argument.upper())
        cli.add_out(steps[name])
    return parser.parse_args(arguments)


def main(arguments):
    arguments, options = cli.split_options(arguments)
    chosen = parse(arguments)
    if chosen.step == "measure":
        records.write(chosen.out, measure_all(programs.check_build(chosen.build), options))
    else:
        records.write_text(chosen.out, document(records.read(chosen.cost, COST)))
    return 0
