"""Plants faults in copies of the stages' kernels and says who catches each.

A fault is a hunk of a patch in common/tools/faults/. Those of <stage>.patch take away one statement that
orders or waits (a barrier, a wait, an arrival) in the last variant of the stage that has it; those of
by_hand.patch are of other kinds. Each is applied to a copy of the source, which is compiled and linked by the
build's own commands, and the variant is run with it; the build itself stays as it was. left_out.patch has the
statements that are planted nowhere, with reasons.

  faults check                                 does every patch apply, is every statement planted or left out?
  faults generate                              writes <stage>.patch anew, from the stages as they are
  faults emulated BUILD --out emulated.json    plain and --check-memory runs on the emulated device
  faults gpu BUILD --out gpu.json              on a GPU: plain runs, and each tool of compute-sanitizer; cut
                                               short, it leaves gpu.json.partial to continue, --resume
  faults table emulated.json [gpu.json] --out table.md

Caught means: a wrong result, or that the program does not end, or a report. compute-sanitizer must report a
place, of a race a pair of places, that it does not report of the unchanged variant too, whatever the shape:
racecheck reports races in some unchanged ones (05_tuned's README), and not the same each time.

A statement can be redundant, and a copy without it right: such survivors are listed, for a person to judge.
`emulated` and `gpu` need a build with CMake's Ninja generator and CMAKE_EXPORT_COMPILE_COMMANDS=ON, as the
presets make.
"""

import concurrent.futures
import dataclasses
import json
import pathlib
import re
import shlex
import sys
import tempfile
import threading

from .. import cli, machine, patches, programs, records, sources
from ..errors import BadInput, Failed
from ..rebuild import (DoesNotCompile, Source, emulated_libraries, first_error, gpu_program, is_emulated,
                       sources_of)
from . import catalogue
from .table import EMULATED, GPU, GPU_ROW, ON_GPU, PLAIN_RUNS, TOOLS, document

# Shapes for the stages' programs; the next is tried where nothing was caught at the one before. Enough keys
# for several passes over them; what takes one pass only wants fewer, and scores far apart, too, where it
# takes a maximum of few; a persistent kernel wants more row blocks than multiprocessors, and of few tiles,
# so that it runs into the one before; what splits keys over blocks wants so many heads that a block has
# several passes.
SHAPES = ["--heads 2 --seq-q 70 --seq-kv 1100"]
SHAPES_OF = {"05_tuned": ["--heads 2 --seq-q 70 --seq-kv 500", "--heads 2 --seq-q 70 --seq-kv 500 --scale 8"],
             "06_long": [*SHAPES, "--heads 140 --seq-q 70 --seq-kv 100"],
             "07_decode": [*SHAPES, "--heads 66 --seq-q 20 --seq-kv 2100"]}

PLAIN_SECONDS, TOOL_SECONDS, EMULATED_SECONDS = 15, 90, 300  # after which a program is said not to end
ENDLESS = "does not end"
# ptxas: a wgmma's registers are used without a fence or a wait, so it puts one in, or runs the products one
# by one.
MENDED = r"\(C75(?:14|17|18|19|20)\)"
# Without one of these others may wait for ever; such faults are planted last, lest they keep a GPU from the
# rest.
MAY_HANG = {"a named barrier", "an arrival", "an mbarrier's arrival", "an mbarrier's wait",
            "a cluster's arrival", "a cluster's wait"}
HANGING_JOBS = 8  # at a time: kernels that hang share the GPU with each other

PARTIAL = records.Kind("interrupted record of `faults gpu`", {**ON_GPU, "variants": [str]}, row=GPU_ROW)


@dataclasses.dataclass
class Mutant:
    """A fault in its place."""
    hunk: patches.Hunk
    source: Source      # what is compiled
    file: str           # what is changed: the source, or a header of its stage
    line: int
    without: str
    statement: str
    shapes: list
    text: str           # of the file, with the fault

    def row(self, shape):
        return {"stage": self.source.stage, "file": self.file, "line": self.line, "without": self.without,
                "statement": self.statement, "shape": shape}

    def made(self, how, build, folder):
        """The program or the libraries with the fault, as `how` of rebuild makes them."""
        try:
            return how(build, self.source, {self.file: self.text}, folder)
        except DoesNotCompile as reason:
            raise Failed(f"{self.hunk} does not compile: {first_error(str(reason))}") from None


def words_of(note):
    """(what is missing, the statement or "", own shapes or none) of "without a barrier: f(); | --heads 2"."""
    words, _, shape = note.removeprefix("without ").partition(" | ")
    lacks, _, statement = words.partition(": ")
    return lacks, statement, [shape] if shape else []


def mutants_of(build, stages, folder=catalogue.FAULTS):
    """A mutant for each fault of these stages."""
    by_name = {(source.stage, source.path.name): source for source in sources_of(build)}
    mutants = []
    for hunk in catalogue.faults(folder):
        stage, file = hunk.path.split("/")[-2:]
        if stage not in stages:
            continue
        compiled = sources.compiled_in(cli.ROOT / hunk.path) if (cli.ROOT / hunk.path).is_file() else None
        source = compiled and by_name.get((stage, compiled.name))
        if not source:
            raise BadInput(f"{hunk} no longer applies: {build} does not compile {hunk.path}")
        text = source.texts()[file]
        lacks, statement, own_shapes = words_of(hunk.note)
        mutants.append(Mutant(hunk, source, file, patches.line_of_change(hunk, text), lacks, statement,
                              own_shapes or SHAPES_OF.get(stage, SHAPES),
                              patches.apply([hunk], {hunk.path: text})[hunk.path]))
    if not mutants:
        raise BadInput("no fault is known for these stages; `faults generate` writes them")
    return mutants


def variant_options(mutant, build):
    """What runs the source's variant; of a file that is no variant's, all of the stage."""
    stem = mutant.source.path.stem
    return ["--variant", stem if stem in programs.variants(build / "bin" / mutant.source.stage) else "all"]


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
    # A CUDA call's error, below the variant's line: "    session.cpp:123: cudaDeviceSynchronize(): an ..."
    errors = re.findall(r"^ +\S+:\d+: .*: (.+)$", out, re.M)
    return errors[0] if errors else f"exit {status}"


# ---- On the emulated device ----

def emulated_outcome(build, mutant):
    program = [str(build / "bin" / mutant.source.stage), *variant_options(mutant, build)]
    with tempfile.TemporaryDirectory() as folder:
        paths = mutant.made(emulated_libraries, build, pathlib.Path(folder))
        for shape in mutant.shapes:
            row = mutant.row(shape)
            for kind, flavour, options in (("plain", "plain", []), ("checked", "traced", ["--check-memory"])):
                row[kind] = verdict(*machine.run([*program, *shlex.split(shape), *options], EMULATED_SECONDS,
                                                 {"LD_LIBRARY_PATH": paths[flavour]}))
            if row["plain"] or row["checked"]:
                break
    return row


def record_emulated(build, mutants, jobs):
    programs.make_counting(build, sorted({mutant.source.stage for mutant in mutants}))
    rows = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for row in pool.map(lambda mutant: emulated_outcome(build, mutant), mutants):
            print(f"{row['stage']:12} {row['file']:20} {row['line']:5}  {row['without']:26} "
                  f"{row['plain'] or '-':34} {row['checked'] or '-'}", flush=True)
            rows.append(row)
    survivors = sum(not (row["plain"] or row["checked"]) for row in rows)
    print(f"{len(rows)} faults planted, {len(rows) - survivors} caught")
    return {"commit": machine.commit(), "device": "emulated device", "rows": rows}


# ---- On a GPU ----

def reported_places(log):
    """Functions and lines that compute-sanitizer reports, of a race in pairs; else its words."""
    found = set()
    for block in re.split(r"^========= *$|(?=^========= (?:Error|Warning):)", log, flags=re.M):
        places = [f"{line} in {function}" for function, line in
                  re.findall(r" at (.*)\+0x[0-9a-f]+ in (?:\S*/)?(\w+\.\w+:\d+)", block)]
        # But not that the program ended badly, or that the tool did not get hold of it.
        words = re.findall(r"^========= ((?:Error(?!: process|: No attachable)|Fatal|Invalid|Barrier|"
                           r"Uninitialized|Divergent)\b.*)", block, re.M)
        if "Race reported" in block:
            found |= {" and ".join(sorted((places[0], other))) for other in places[1:]}
        elif places:
            found.add(places[0])
        elif words:
            found.add(words[0])
    return found


def sanitize(tool, command, folder):
    """Returns what the tool reports, and whether it had to be killed."""
    log = folder / f"{tool}.log"
    ended = machine.sanitize(tool, command, log, TOOL_SECONDS)
    return reported_places(log.read_text(errors="replace") if log.exists() else ""), not ended


def gpu_build(build, mutant, folder):
    folder.mkdir()
    program, said = mutant.made(gpu_program, build, folder)
    return program, bool(re.search(MENDED, said))


def gpu_command(program, options, shape):
    return [str(program), *options, *shlex.split(shape), "--no-time"]


def gpu_outcome(program, mutant, options, clean, folder):
    known = {tool: set().union(*(tools[tool] for tools in clean.values())) for tool in TOOLS}
    for shape in mutant.shapes:
        row, command = mutant.row(shape), gpu_command(program, options, shape)
        verdicts = []
        for _ in range(PLAIN_RUNS):
            verdicts.append(verdict(*machine.run(command, PLAIN_SECONDS)))
            if verdicts[-1] == ENDLESS:  # once is enough, and no tool would end either
                return {**row, "plain": ENDLESS, **{tool: None for tool in TOOLS}}
        bad = [v for v in verdicts if v]
        row["plain"] = f"{bad[0]}, {len(bad)} of {PLAIN_RUNS}" if bad else ""
        row["killed"] = []  # tools that neither ended nor reported anything: slow, or hanging
        for tool in TOOLS:
            places, killed = sanitize(tool, command, folder)
            row[tool] = sorted(places - known[tool])
            if killed and not row[tool]:
                row["killed"].append(tool)
        if bad or any(row[tool] for tool in TOOLS):
            break
    row["last_shape"] = shape == mutant.shapes[-1]
    return row


def gpu_clean(build, variant, options, shape, tool, folder):
    """What a tool says of the unchanged variant; racecheck does not say quite the same each time."""
    command = gpu_command(build / "bin" / variant.split("/")[0], options, shape)
    wrong = verdict(*machine.run(command, PLAIN_SECONDS))
    if wrong:
        raise Failed(f"{variant} as it is: {wrong}; nothing can be learnt from its faults")
    places, killed = sanitize(tool, command, pathlib.Path(tempfile.mkdtemp(prefix="clean_", dir=folder)))
    if killed:
        print(f"{tool} takes more than {TOOL_SECONDS} s for {variant} {shape}", file=sys.stderr, flush=True)
    return places


def gpu_context():
    return {"commit": machine.commit(), "device": machine.gpu(), "cuda": machine.cuda_release(),
            "sanitizer": machine.sanitizer_version()}


def identity(row):
    return row["stage"], row["file"], row["line"], row["without"]


def variant_of(mutant):
    """As clean records name it."""
    return f"{mutant.source.stage}/{mutant.source.path.stem}"


def read_partial(path, context):
    """What an interrupted run found out: of the unchanged variants, and rows of mutants."""
    first, rows = records.read_rows(path, PARTIAL, half_a_line=True)
    records.require_same(path, first, context)
    return first["clean"], {identity(row): row for row in rows}


def clean_reports(build, mutants, options, pool, folder):
    """By variant, shape and tool, what is reported of the variants as they are."""
    def submitted(variant, shape, tool):
        return [pool.submit(gpu_clean, build, variant, options[variant], shape, tool, folder)
                for _ in range(PLAIN_RUNS)]
    pairs = sorted({(variant_of(mutant), shape) for mutant in mutants for shape in mutant.shapes})
    runs = {(*pair, tool): submitted(*pair, tool) for pair in pairs for tool in TOOLS}
    clean = {}
    for (variant, shape, tool), places in runs.items():
        found = sorted(set().union(*(run.result() for run in places)))
        clean.setdefault(variant, {}).setdefault(shape, {})[tool] = found
    return clean


def record_gpu(build, mutants, jobs, logs, partial, resume):
    """Each thing goes to `partial` as soon as it is known, for a run that is cut short."""
    folder, context = pathlib.Path(logs), gpu_context()
    options = {variant_of(mutant): variant_options(mutant, build) for mutant in mutants}
    variants = {"variants": sorted(options)}
    clean, known = read_partial(partial, {**context, **variants}) if resume else ({}, {})
    left = [i for i, mutant in enumerate(mutants) if identity(mutant.row("")) not in known]
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        built = dict(zip(left, pool.map(lambda i: gpu_build(build, mutants[i], folder / str(i)), left)))
        clean = clean or clean_reports(build, mutants, options, pool, folder)
    records.write_rows(partial, [{**context, **variants, "clean": clean}, *known.values()])

    one_at_a_time = threading.Lock()
    with partial.open("a") as file:
        def outcome(i):
            mutant = mutants[i]
            variant, (program, mended) = variant_of(mutant), built[i]
            row = gpu_outcome(program, mutant, options[variant], clean[variant], folder / str(i))
            row["mended"] = mended
            with one_at_a_time:
                known[identity(row)] = row
                print(json.dumps(row), file=file, flush=True)
                print(f"{len(known):4} of {len(mutants)}  {row['file']}:{row['line']}", flush=True)
        for hang, workers in ((False, jobs), (True, min(jobs, HANGING_JOBS))):
            with concurrent.futures.ThreadPoolExecutor(workers) as pool:
                list(pool.map(outcome, [i for i in left if (mutants[i].without in MAY_HANG) == hang]))
    return {**context, "clean": clean, "rows": [known[identity(mutant.row(""))] for mutant in mutants]}


def parse(arguments):
    parser = cli.parser_of("faults", __doc__)
    steps = cli.steps_of(parser, check="does every patch apply, and is every statement planted or left out?",
                         generate="writes the stages' patches anew",
                         emulated="plants faults on the emulated device",
                         gpu="plants faults on a GPU", table="writes records as Markdown")
    for name in ("emulated", "gpu"):
        steps[name].add_argument("build", type=pathlib.Path, metavar="BUILD")
        steps[name].add_argument("--stage", action="append", metavar="STAGE",
                                 help="only this one; may be given again")
        cli.add_jobs(steps[name])
        cli.add_out(steps[name])
    steps["gpu"].add_argument("--logs", type=cli.empty_folder, metavar="FOLDER",
                              help="keep programs and logs in this empty folder, a new one with --resume")
    steps["gpu"].add_argument("--resume", action="store_true", help="continue FILE.partial")
    steps["table"].add_argument("emulated", type=pathlib.Path, metavar="EMULATED")
    steps["table"].add_argument("gpu", type=pathlib.Path, nargs="?", metavar="GPU")
    cli.add_out(steps["table"])
    return parser.parse_args(arguments)


def main(arguments):
    chosen = parse(arguments)
    if chosen.step == "check":
        return catalogue.check()
    if chosen.step == "generate":
        return catalogue.generate()
    if chosen.step == "table":
        emulated = records.read(chosen.emulated, EMULATED)
        records.write_text(chosen.out, document(emulated, chosen.gpu and records.read(chosen.gpu, GPU)))
        return 0
    build = programs.check_build(chosen.build)
    mutants = mutants_of(build, programs.chosen_stages(chosen.stage))
    if is_emulated(mutants[0].source) != (chosen.step == "emulated"):
        raise BadInput(f"{build} is a build for {'the emulated device' if chosen.step == 'gpu' else 'GPUs'}")
    if chosen.step == "emulated":
        records.write(chosen.out, record_emulated(build, mutants, chosen.jobs))
        return 0
    partial = records.partial_of(chosen.out, chosen.resume)
    with tempfile.TemporaryDirectory() as folder:
        record = record_gpu(build, mutants, chosen.jobs, chosen.logs or folder, partial, chosen.resume)
    records.write(chosen.out, record)
    partial.unlink()
    return 0
