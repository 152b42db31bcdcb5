#!/usr/bin/env python3
"""How long the emulated device takes for each variant of each stage: plain, checked, counted.

  speed.py BUILD [--json out.json] [-- options of the stages' programs, such as a shape]

Seconds of wall time and of CPU time of the whole program, start included. They are costs of this tool, on this
machine: they say nothing about how long a kernel takes on a GPU.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

from fidelity import programs, variants

MODES = {"plain": [], "checked": ["--check-memory"], "counted": ["--profile"]}


def measure(command):
    begin, cpu_begin = time.monotonic(), os.times()
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    cpu_end = os.times()
    cpu = cpu_end.children_user - cpu_begin.children_user + cpu_end.children_system - cpu_begin.children_system
    return result.returncode, time.monotonic() - begin, cpu


def main():
    arguments, options = sys.argv[1:], []
    if "--" in arguments:
        split = arguments.index("--")
        arguments, options = arguments[:split], arguments[split + 1:]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path)
    chosen = parser.parse_args(arguments)

    rows = []
    print(f"{'variant':28}" + "".join(f"{mode + ', s':>12}{'CPU s':>8}" for mode in MODES))
    for program in programs(chosen.build.resolve()):
        for variant in variants(program):
            row = {"variant": f"{program.name}/{variant}"}
            for mode, flags in MODES.items():
                status, wall, cpu = measure([program, "--variant", variant, "--no-check", *flags, *options])
                row[mode] = {"exit": status, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}
            rows.append(row)
            cells = "".join(f"{row[mode]['wall_s']:12.2f}{row[mode]['cpu_s']:8.2f}" if row[mode]["exit"] == 0
                            else f"{'exit ' + str(row[mode]['exit']):>20}" for mode in MODES)
            print(f"{row['variant']:28}{cells}", flush=True)
    if chosen.json:
        chosen.json.write_text(json.dumps({"cores": os.cpu_count(), "options": options, "rows": rows}, indent=1) + "\n")
    return 0 if rows and all(row[mode]["exit"] == 0 for row in rows for mode in MODES) else 1


if __name__ == "__main__":
    sys.exit(main())
