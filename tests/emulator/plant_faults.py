#!/usr/bin/env python3
"""Plants faults in copies of the real stages' kernels and says who catches each.

A mutant is a kernel.cu with one statement gone that orders or waits: a barrier, a wait, an arrival. Each is compiled
by the build's own commands, plain and traced, into a library of its own, and the stage's program is run with it: the
dynamic linker is told where to look, nothing is rebuilt. Caught means that the program exits other than 0: by a wrong
result or a report of the plain run, or by a report of the checked run.

  plant_faults.py BUILD [--stage 04_fused] [--limit N] [--shape "--seq-q 256"] [--json out.json]

A statement can be redundant, and a mutant without it right: such survivors are listed, for a person to judge.
Needs a build of the emulated device with CMAKE_EXPORT_COMPILE_COMMANDS=ON.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

# What a mutant does without. Each is a whole statement.
STATEMENTS = [
    ("a block barrier", r"__syncthreads\(\);"),
    ("a warp barrier", r"__syncwarp\(\);"),
    ("a wait for copies", r"(?:attention::)?cp_async_wait<[^;>]*>\(\);|__pipeline_wait_prior\([^;]*\);"),
    ("a named barrier", r"(?:attention::)?bar_sync\([^;]*\);"),
    ("an arrival", r"(?:attention::)?bar_arrive\([^;]*\);"),
]


def mutants_of(source):
    """Yields (what, line, text) for each statement that can be left out."""
    text = source.read_text()
    for what, pattern in STATEMENTS:
        for match in re.finditer(pattern, text):
            line = text.count("\n", 0, match.start()) + 1
            start_of_line = text.rfind("\n", 0, match.start()) + 1
            if "//" in text[start_of_line:match.start()]:
                continue
            yield what, line, text[:match.start()] + ";" + text[match.end():]


def build_mutant(build, commands, stage, text, folder):
    """Compiles both flavours of kernels_<stage> from `text`; returns their folders."""
    source = next(pathlib.Path(c["file"]) for c in commands if f"kernels_{stage}.dir" in c["command"])
    copy = folder / "kernel.cu"
    copy.write_text(text)
    folders = {}
    for flavour, target in (("plain", f"kernels_{stage}"), ("traced", f"kernels_{stage}_traced")):
        command = next(c for c in commands if f"/{target}.dir/" in c["command"])
        arguments = shlex.split(command["command"])
        out = folder / flavour
        out.mkdir()
        arguments[arguments.index("-o") + 1] = str(out / "kernel.o")
        arguments = [str(copy) if a == str(source) else a for a in arguments]
        arguments += ["-I", str(source.parent), "-w"]
        subprocess.run(arguments, cwd=command["directory"], check=True)
        library = out / f"libkernels_{stage}.so"
        subprocess.run([arguments[0], "-shared", "-Wl,-Bsymbolic", f"-Wl,-soname,{library.name}", "-o", str(library),
                        str(out / "kernel.o"), f"-L{build / 'lib'}", "-lattention_emulator",
                        f"-Wl,-rpath,{build / 'lib'}"], check=True)
        folders[flavour] = out
    return folders


def run(build, stage, folder, options, timeout):
    """Runs the stage's program with the mutant; returns (caught, by what)."""
    environment = dict(os.environ, LD_LIBRARY_PATH=str(folder))
    try:
        result = subprocess.run([str(build / "bin" / stage), *options], env=environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    except subprocess.TimeoutExpired:
        return True, "did not end"
    if result.returncode == 0:
        return False, ""
    reports = [line for line in result.stderr.splitlines() if re.match(r"\S+:\d+: ", line)]
    kinds = sorted({line.split(": ")[1] for line in reports})
    if not kinds and "WRONG" not in result.stdout:
        return True, f"exit {result.returncode}"
    return True, ", ".join(kinds) or "wrong result"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--stage", action="append", help="only this stage; may be given again")
    parser.add_argument("--limit", type=int, default=0, help="at most so many mutants a stage, spread over the file")
    parser.add_argument("--shape", default="--heads 2 --seq-q 70 --seq-kv 1100", help="options of the stages' programs")
    parser.add_argument("--json", type=pathlib.Path)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    commands = json.loads((build / "compile_commands.json").read_text())
    stages = arguments.stage or sorted({m.group(1) for c in commands
                                        for m in [re.search(r"kernels_(\d\d_\w+?)(?<!_traced)\.dir/", c["command"])] if m})

    rows, survivors = [], 0
    print(f"{'stage':10} {'line':>5}  {'without':20} {'plain run':34} checked run")
    for stage in stages:
        source = next(pathlib.Path(c["file"]) for c in commands if f"/kernels_{stage}.dir/" in c["command"])
        mutants = list(mutants_of(source))
        if arguments.limit and len(mutants) > arguments.limit:
            step = len(mutants) / arguments.limit
            mutants = [mutants[int(i * step)] for i in range(arguments.limit)]
        for what, line, text in mutants:
            with tempfile.TemporaryDirectory() as folder:
                folders = build_mutant(build, commands, stage, text, pathlib.Path(folder))
                options = ["--variant", "all", *shlex.split(arguments.shape)]
                plain, plain_by = run(build, stage, folders["plain"], options, 120)
                checked, checked_by = run(build, stage, folders["traced"], [*options, "--check-memory"], 300)
            survivors += not (plain or checked)
            rows.append({"stage": stage, "line": line, "without": what, "plain": plain_by, "checked": checked_by})
            print(f"{stage:10} {line:5}  {what:20} {plain_by or '-':34} {checked_by or '-'}", flush=True)
    print(f"{len(rows)} faults planted, {len(rows) - survivors} caught")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(main())
