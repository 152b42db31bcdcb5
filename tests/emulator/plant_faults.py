#!/usr/bin/env python3
"""Plants faults in copies of the real stages' kernels and says who catches each.

A mutant is a kernel source with one statement gone that orders or waits: a barrier, a wait, an arrival. Each is
compiled and linked by the build's own commands, and the stage's program is run with it; the build itself stays as it
was. Two machines may take part, since the one with the GPU need not have the emulated build. Each step writes a file:

  plant_faults.py emulated BUILD --out emulated.json    plain and --check-memory runs on the emulated device
  plant_faults.py gpu BUILD --out gpu.json              on a GPU: plain runs, and each tool of compute-sanitizer;
                                                        cut short, it leaves gpu.json.partial to go on with, --resume
  plant_faults.py table emulated.json [gpu.json] --out table.md

Caught means: a wrong result, or that the program does not end, or a report. compute-sanitizer must report a place, of
a race a pair of places, that it does not report of the unchanged program too, whatever the shape, and in no other
source of kernels: racecheck reports races in some unchanged ones (05_tuned's README), and not the same each time.

A statement can be redundant, and a mutant without it right: such survivors are listed, for a person to judge.
Needs a build with CMake's Ninja generator and CMAKE_EXPORT_COMPILE_COMMANDS=ON, as the presets make.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading

COMMON = pathlib.Path(__file__).resolve().parents[2] / "common"
sys.path[:0] = [str(COMMON), str(COMMON / "emulator")]
from fidelity import commit, gpu_name
from json_lines import why_not_gone_on_with, write_rows
from rebuild import Source, emulated_libraries, gpu_program, run, sources_of

# What a mutant does without. Each is a whole statement.
STATEMENTS = [
    ("a block barrier", r"__syncthreads\(\);"),
    ("a warp barrier", r"__syncwarp\(\);"),
    ("a wait for copies", r"(?:attention::)?cp_async_wait_group<[^;>]*>\(\);|__pipeline_wait_prior\([^;]*\);"),
    ("a named barrier", r"(?:attention::)?bar_sync\([^;]*\);"),
    ("an arrival", r"(?:attention::)?bar_arrive\([^;]*\);"),
    ("an mbarrier's fence", r"fence_mbarrier_init\(\);"),
    ("an mbarrier's arrival", r"mbarrier_arrive(?:_expect|_remote)?\([^;]*\);"),
    ("an mbarrier's wait", r"mbarrier_wait\([^;]*\);"),
    ("a proxy fence", r"fence_proxy_async\(\);"),
    ("a wait for stores", r"cp_async_bulk_wait_group(?:_read)?<[^;>]*>\(\);"),
    ("a wgmma fence", r"wgmma_fence\(\);"),
    ("a wait for wgmma", r"wgmma_wait_group<[^;>]*>\([^;]*\);"),
    ("a cluster's arrival", r"cluster_arrive(?:_relaxed)?\(\);"),
    ("a cluster's wait", r"cluster_wait\(\);"),
    ("a wait for the launch before", r"griddepcontrol_wait\(\);"),
]
# Without one of these others may wait for ever; such mutants run last, lest they keep a GPU from the rest.
MAY_HANG = {"a named barrier", "an arrival", "an mbarrier's arrival", "an mbarrier's wait", "a cluster's arrival",
            "a cluster's wait"}

# Shapes for the stages' programs; the next is tried where nothing was caught at the one before. Enough keys for several
# passes over them; what takes one pass only wants fewer, and scores far apart, too, where it takes a maximum of few; a
# persistent kernel wants more row blocks than multiprocessors, and of few tiles, so that it runs into the one before.
SHAPES = ["--heads 2 --seq-q 70 --seq-kv 1100"]
SHAPES_OF = {"05_tuned/kernel_wgmma.cu": ["--heads 2 --seq-q 70 --seq-kv 500"],
             "05_tuned/kernel_exchange.cu": ["--heads 2 --seq-q 70 --seq-kv 500",
                                             "--heads 2 --seq-q 70 --seq-kv 500 --scale 8"],
             "05_tuned/kernel_long.cu": [*SHAPES, "--heads 140 --seq-q 70 --seq-kv 100"]}

TOOLS = ["memcheck", "racecheck", "synccheck", "initcheck"]
PLAIN_RUNS = 3  # on a GPU, where a race may go either way
PLAIN_SECONDS, TOOL_SECONDS = 15, 90  # after which a program is said not to end
ENDLESS = "does not end"
# ptxas: a wgmma's registers are used without a fence or a wait, so it puts one in, or runs the products one by one.
MENDED = r"\(C75(?:14|17|18|19|20)\)"
HANGING_JOBS = 8  # at a time: kernels that hang share the GPU with each other


def shapes_of(source):
    return SHAPES_OF.get(source.name(), SHAPES)


@dataclasses.dataclass
class Mutant:
    source: Source
    line: int
    without: str
    statement: str
    text: str

    def row(self, shape):
        return {"stage": self.source.stage, "file": self.source.path.name, "line": self.line,
                "without": self.without, "statement": self.statement, "shape": shape}


def mutants_of(source):
    """A mutant for each statement that can be left out."""
    text = source.path.read_text()
    for without, pattern in STATEMENTS:
        for match in re.finditer(pattern, text):
            start_of_line = text.rfind("\n", 0, match.start()) + 1
            if "//" in text[start_of_line:match.start()]:
                continue
            yield Mutant(source, text.count("\n", 0, match.start()) + 1, without, " ".join(match.group().split()),
                         text[:match.start()] + ";" + text[match.end():])


def options_of(shape):
    return ["--variant", "all", *shlex.split(shape)]


def verdict(status, out, err):
    """What a run without a sanitizer shows: "" where nothing is wrong."""
    if status is None:
        return ENDLESS
    if status == 0:
        return ""
    # The emulated device's reports: "kernel.cu:123: kind: ..."
    kinds = sorted({line.split(": ")[1] for line in err.splitlines() if re.match(r"\S+:\d+: ", line)})
    if kinds:
        return ", ".join(kinds)
    if "WRONG" in out:
        return "wrong result"
    # A CUDA call's error, below the variant's line: "    session.cpp:123: cudaDeviceSynchronize(): an illegal ..."
    errors = re.findall(r"^ +\S+:\d+: .*: (.+)$", out, re.M)
    return errors[0] if errors else f"exit {status}"


# ---- On the emulated device ----

def emulated_outcome(build, mutant):
    program = str(build / "bin" / mutant.source.stage)
    with tempfile.TemporaryDirectory() as folder:
        paths = emulated_libraries(build, mutant.source, mutant.text, pathlib.Path(folder))
        for shape in shapes_of(mutant.source):
            row = mutant.row(shape)
            row["plain"] = verdict(*run([program, *options_of(shape)], 300, {"LD_LIBRARY_PATH": paths["plain"]}))
            row["checked"] = verdict(*run([program, *options_of(shape), "--check-memory"], 300,
                                          {"LD_LIBRARY_PATH": paths["traced"]}))
            if row["plain"] or row["checked"]:
                break
    return row


# ---- On a GPU ----

def reported_places(log):
    """The functions and lines that compute-sanitizer reports, of a race in pairs; its words where it names no line."""
    found = set()
    for block in re.split(r"^========= *$|(?=^========= (?:Error|Warning):)", log, flags=re.M):
        places = [f"{line} in {function}" for function, line in
                  re.findall(r" at (.*)\+0x[0-9a-f]+ in (?:\S*/)?(\w+\.\w+:\d+)", block)]
        # But not that the program ended badly, or that the tool did not get hold of it.
        words = re.findall(r"^========= ((?:Error(?!: process|: No attachable)|Fatal|Invalid|Barrier|Uninitialized|"
                           r"Divergent)\b.*)", block, re.M)
        if "Race reported" in block:
            found |= {" and ".join(sorted((places[0], other))) for other in places[1:]}
        elif places:
            found.add(places[0])
        elif words:
            found.add(words[0])
    return found


def of_mutant(places, mutant, sources):
    """Those that name no other source of kernels: the program runs all kernels of the stage, and one is changed."""
    others = {source.path.name for source in sources if source.stage == mutant.source.stage} - {mutant.source.path.name}
    return {place for place in places if not others & set(re.findall(r"(\w+\.cu):", place))}


def sanitize(tool, program, options, folder):
    """Returns what the tool reports, and whether it had to be killed."""
    log = folder / f"{tool}.log"
    status, _, _ = run(["compute-sanitizer", "--tool", tool, "--print-limit", "2000", "--log-file", str(log),
                        str(program), *options], TOOL_SECONDS)
    return reported_places(log.read_text(errors="replace") if log.exists() else ""), status is None


def gpu_build(build, mutant, folder):
    folder.mkdir()
    program, said = gpu_program(build, mutant.source, mutant.text, folder)
    return program, bool(re.search(MENDED, said))


def gpu_outcome(program, mutant, sources, clean, folder):
    known = {tool: set().union(*(tools[tool] for tools in clean.values())) for tool in TOOLS}
    for shape in shapes_of(mutant.source):
        row, options = mutant.row(shape), [*options_of(shape), "--no-time"]
        verdicts = []
        for _ in range(PLAIN_RUNS):
            verdicts.append(verdict(*run([str(program), *options], PLAIN_SECONDS)))
            if verdicts[-1] == ENDLESS:  # once is enough, and no tool would end either
                return {**row, "plain": ENDLESS, **{tool: None for tool in TOOLS}}
        bad = [v for v in verdicts if v]
        row["plain"] = f"{bad[0]}, {len(bad)} of {PLAIN_RUNS}" if bad else ""
        row["killed"] = []  # tools that neither ended nor reported anything: slow, or hanging
        for tool in TOOLS:
            places, killed = sanitize(tool, program, options, folder)
            row[tool] = sorted(of_mutant(places, mutant, sources) - known[tool])
            if killed and not row[tool]:
                row["killed"].append(tool)
        if bad or any(row[tool] for tool in TOOLS):
            break
    return row


def gpu_clean(build, stage, shape, tool, folder):
    """What a tool says of the unchanged program; racecheck does not say quite the same each time."""
    program, options = build / "bin" / stage, [*options_of(shape), "--no-time"]
    wrong = verdict(*run([str(program), *options], PLAIN_SECONDS))
    if wrong:
        raise SystemExit(f"{stage} as it is: {wrong}; nothing can be learnt from its mutants")
    places, killed = sanitize(tool, program, options, pathlib.Path(tempfile.mkdtemp(prefix="clean_", dir=folder)))
    if killed:
        print(f"{tool} takes more than {TOOL_SECONDS} s for {stage} {shape}", file=sys.stderr, flush=True)
    return places


def gpu_context():
    version = subprocess.run(["compute-sanitizer", "--version"], text=True, stdout=subprocess.PIPE).stdout
    nvcc = subprocess.run(["nvcc", "--version"], text=True, stdout=subprocess.PIPE).stdout
    return {"commit": commit(), "device": gpu_name(), "cuda": re.search(r"release ([\d.]+)", nvcc).group(1),
            "sanitizer": re.search(r"[Vv]ersion ([\d.]+)", version).group(1)}


def identity(row):
    return row["stage"], row["file"], row["line"], row["without"]


def read_partial(path, context):
    """What an interrupted run found out: of the unchanged programs, and rows of mutants."""
    first, *rows = [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")]
    reason = why_not_gone_on_with(path, first, context)
    if reason:
        raise SystemExit(reason)
    return first["clean"], {identity(row): row for row in rows}


def clean_reports(build, mutants, sources, pool, folder):
    """By stage, shape and tool, what is reported of the programs as they are."""
    runs = {(stage, shape, tool): [pool.submit(gpu_clean, build, stage, shape, tool, folder)
                                   for _ in range(PLAIN_RUNS)]
            for stage, shape in sorted({(m.source.stage, shape) for m in mutants for shape in shapes_of(m.source)})
            for tool in TOOLS}
    clean = {}
    for (stage, shape, tool), places in runs.items():
        found = sorted(set().union(*(run.result() for run in places)))
        clean.setdefault(stage, {}).setdefault(shape, {})[tool] = found
    return clean


def record_gpu(build, mutants, jobs, logs, partial, resume):
    """Each thing goes to `partial` as soon as it is known, for a run that is cut short."""
    sources = [mutant.source for mutant in mutants]
    folder, context = pathlib.Path(logs), gpu_context()
    stages = {"stages": sorted({source.stage for source in sources})}
    clean, known = read_partial(partial, {**context, **stages}) if resume else ({}, {})
    left = [i for i, mutant in enumerate(mutants) if identity(mutant.row("")) not in known]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        programs = dict(zip(left, pool.map(lambda i: gpu_build(build, mutants[i], folder / str(i)), left)))
        clean = clean or clean_reports(build, mutants, sources, pool, folder)
    write_rows(partial, [{**context, **stages, "clean": clean}, *known.values()])

    one_at_a_time = threading.Lock()
    with partial.open("a") as file:
        def outcome(i):
            mutant = mutants[i]
            program, mended = programs[i]
            row = gpu_outcome(program, mutant, sources, clean[mutant.source.stage], folder / str(i))
            row["mended"] = mended
            with one_at_a_time:
                known[identity(row)] = row
                print(json.dumps(row), file=file, flush=True)
                print(f"{len(known):4} of {len(mutants)}  {row['file']}:{row['line']}", flush=True)
        for hang, workers in ((False, jobs), (True, min(jobs, HANGING_JOBS))):
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                list(pool.map(outcome, [i for i in left if (mutants[i].without in MAY_HANG) == hang]))
    return {**context, "clean": clean, "rows": [known[identity(mutant.row(""))] for mutant in mutants]}


# ---- Side by side ----

def by_statement(record):
    """Rows by their place among the statements of a kind in a file, which commits share that only moved lines."""
    rows = {}
    for row in sorted(record["rows"], key=lambda row: row["line"]):
        rows.setdefault((row["stage"], row["file"], row["without"]), []).append(row)
    return rows


def pairs_of(emulated, gpu):
    """Each row of the emulated device's record with the GPU's row, or None. A kind of statement has none in a file
    where the two commits have another number of them, or other ones: which is which cannot be told."""
    on_gpu = by_statement(gpu) if gpu else {}
    for kind, rows in by_statement(emulated).items():
        others = on_gpu.get(kind, [])
        same = len(others) == len(rows) and all(
            row.get("statement") == other.get("statement", row.get("statement")) for row, other in zip(rows, others))
        yield from zip(rows, others if same else [None] * len(rows))


def gpu_cells(row):
    """What a GPU's row of the table says: of the plain runs, and of the tools."""
    return [row["plain"], ", ".join(tool for tool in TOOLS if row[tool])]


def gpu_notes(gpu, planted):
    mended, untried, rest = [], [], []
    for row in planted:
        if row["plain"] or any(row[tool] for tool in TOOLS):
            continue
        shapes = SHAPES_OF.get(f"{row['stage']}/{row['file']}", SHAPES)
        (mended if row["mended"] else untried if row["shape"] != shapes[-1] else rest).append(row)
    notes = [f"GPU: {gpu['device']} (driver), CUDA {gpu['cuda']}, compute-sanitizer {gpu['sanitizer']}, commit "
             f"`{gpu['commit'][:12]}`; `plant_faults.py gpu`, {PLAIN_RUNS} plain runs each, and no tool where the "
             "first does not end."]
    noisy = sorted({f"{tool} on {stage}" for stage, shapes in gpu["clean"].items() for tools in shapes.values()
                    for tool in TOOLS if tools[tool]})
    notes.append("A tool counts where it reports a place (of a race, a pair of places) that it does not report of the "
                 "unchanged program too, nor in another source of kernels. Of unchanged programs there are reports by "
                 f"{', '.join(noisy)}." if noisy else "No tool reports anything of the unchanged programs.")
    notes.append(f"Of the {len(mended) + len(untried) + len(rest)} that nobody caught on the GPU, nvcc mended "
                 f"{len(mended)} (`*`): it sees registers of a `wgmma` used without the fence or the wait, and puts "
                 "one in or runs the products one by one.")
    if untried:
        notes.append(f"{len(untried)} of the others were not tried at the last of their shapes there.")
    return notes


def table(emulated, gpu):
    """Markdown: who catches what, mutant by mutant; `gpu` may be None."""
    columns = ["emulated, plain", "emulated, `--check-memory`"] + (["GPU, plain", "compute-sanitizer"] if gpu else [])
    lines, planted, caught = [], [0] * len(columns), [0] * len(columns)
    pairs = sorted(pairs_of(emulated, gpu),
                   key=lambda pair: (pair[0]["stage"], pair[0]["file"], pair[0]["line"], pair[0]["without"]))
    for row, other in pairs:
        cells = [row["plain"], row["checked"]]
        if gpu:
            cells += gpu_cells(other) if other else [None, None]
        planted = [count + (cell is not None) for count, cell in zip(planted, cells)]
        caught = [count + bool(cell) for count, cell in zip(caught, cells)]
        mark = " `*`" if other and other["mended"] else ""
        lines.append(f"| `{row['stage']}/{row['file']}:{row['line']}` | {row['without']}{mark} | " +
                     " | ".join("not planted" if cell is None else cell or "-" for cell in cells) + " |")
    lines.append(f"| **{len(pairs)} faults** | | " +
                 " | ".join(f"**{count} caught**" if of == len(pairs) else f"**{count} of {of} caught**"
                            for count, of in zip(caught, planted)) + " |")
    shapes = ", ".join(f"`{shape}`" for shape in sorted({row["shape"] for row in emulated["rows"]}))
    notes = [f"Lines are those of the commits named here. Emulated device: commit `{emulated['commit'][:12]}`, "
             f"`plant_faults.py emulated`. Shapes: {shapes}."]
    if gpu:
        paired = [other for _, other in pairs if other]
        notes += gpu_notes(gpu, paired)
        if planted[-1] < len(pairs):
            notes.append("Not planted: the GPU's record has no such statement or kind of fault, or has others of it in "
                         "that file, so that which is which cannot be told.")
        if len(paired) < len(gpu["rows"]):
            notes.append(f"Of the GPU's record {len(gpu['rows']) - len(paired)} are not here, for the same reasons.")
    heading = ["# Planted faults, and who catches them", "",
               "Each row is a copy of a stage's kernels without one statement that orders or waits. Made by "
               "`tests/emulator/plant_faults.py table` from the records beside this file; not edited by hand.", "",
               "| planted in | without | " + " | ".join(columns) + " |", "| --- | --- |" + " --- |" * len(columns)]
    return "\n".join([*heading, *lines, "", *(line for note in notes for line in (note, ""))])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for step in ("emulated", "gpu"):
        sub = steps.add_parser(step)
        sub.add_argument("build", type=pathlib.Path)
        sub.add_argument("--stage", action="append", help="only this stage; may be given again")
        sub.add_argument("--jobs", type=int, default=os.cpu_count(), help="mutants at a time")
        sub.add_argument("--out", type=pathlib.Path, required=True)
    steps.choices["gpu"].add_argument("--logs", type=pathlib.Path,
                                      help="keep programs and logs in this empty folder, a new one with --resume")
    steps.choices["gpu"].add_argument("--resume", action="store_true", help="go on with OUT.partial")
    sub = steps.add_parser("table")
    sub.add_argument("emulated", type=pathlib.Path)
    sub.add_argument("gpu", type=pathlib.Path, nargs="?")
    sub.add_argument("--out", type=pathlib.Path, required=True)
    chosen = parser.parse_args()

    if chosen.step == "table":
        emulated, gpu = (path and json.loads(path.read_text()) for path in (chosen.emulated, chosen.gpu))
        chosen.out.write_text(table(emulated, gpu))
        return 0
    build = chosen.build.resolve()
    mutants = [mutant for source in sources_of(build) if not chosen.stage or source.stage in chosen.stage
               for mutant in mutants_of(source)]
    if not mutants:
        raise SystemExit(f"no statement to leave out in the stages of {build}")
    if chosen.step == "emulated":
        record = {"commit": commit(), "device": "emulated device", "rows": []}
        with concurrent.futures.ThreadPoolExecutor(chosen.jobs) as pool:
            for row in pool.map(lambda mutant: emulated_outcome(build, mutant), mutants):
                print(f"{row['stage']:10} {row['file']:14} {row['line']:5}  {row['without']:20} "
                      f"{row['plain'] or '-':34} {row['checked'] or '-'}", flush=True)
                record["rows"].append(row)
        survivors = sum(not (row["plain"] or row["checked"]) for row in record["rows"])
        print(f"{len(mutants)} faults planted, {len(mutants) - survivors} caught")
        chosen.out.write_text(json.dumps(record, indent=1) + "\n")
        return 0
    partial = chosen.out.with_name(chosen.out.name + ".partial")
    if partial.exists() != chosen.resume:
        raise SystemExit(f"there is {partial} of a run that was interrupted: go on with --resume, or remove it"
                         if partial.exists() else f"there is no {partial} to go on with")
    with tempfile.TemporaryDirectory() as folder:
        record = record_gpu(build, mutants, chosen.jobs, chosen.logs or folder, partial, chosen.resume)
    chosen.out.write_text(json.dumps(record, indent=1) + "\n")
    partial.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
