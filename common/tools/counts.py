"""Keeps what the emulated device counts of every variant, at one head of the headline shape, for the book's
tables.

  counts --update [STAGE...]    counts, and writes docs/results/counts/<stage>.json
  counts --check [STAGE...]     counts, and says which of the files are stale; skips, by name, those that
                                another compiler made, for what the emulated device counts depends on it

A file has the totals of each kernel, and the compiler that made the kernels. The stages' programs in BUILD
(build/emulated unless given) are built first. Exit codes: 0 fresh, 1 stale, 2 bad input, 77 skipped.
"""

import pathlib

from . import cli, programs, records
from .records import NULL, OR

COUNTS = cli.ROOT / "docs" / "results" / "counts"
OPTIONS = ["--no-check", "--heads", "1", "--profile"]
TOTAL = {str: int}
KERNELS = [{"kernel": str, "launches": int, "blocks": int, "total": TOTAL}]
KEPT = records.Kind("record of `counts --update`", {
    "compiler": str, "command": str, "problem": {},
    "results": [{"variant": str, "profile": OR({"kernels": KERNELS}, NULL)}]}, "results")


def counted(build, stage, compiler):
    """What is kept of a stage: no times, no addresses, no lines, which every edit would move. A variant that
    refuses the problem has null."""
    run = programs.results(build / "bin" / stage, *OPTIONS)
    results = [{"variant": result["variant"], "profile": result.get("profile") and {"kernels": [
        {key: kernel[key] for key in ("kernel", "launches", "blocks", "total")}
        for kernel in result["profile"]["kernels"]]}} for result in run["results"]]
    return {"compiler": compiler, "command": " ".join([stage, *OPTIONS]), "problem": run["problem"],
            "results": results}


def update(build, stages, folder):
    compiler = programs.compiler(build)
    folder.mkdir(exist_ok=True)
    for stage in stages:
        path, now = folder / f"{stage}.json", counted(build, stage, compiler)
        if not path.exists() or records.read(path, KEPT) != now:
            records.write(path, now)
            print(f"updated {cli.short(path)}")
    return 0


def check(build, stages, folder):
    compiler, stale, skipped = programs.compiler(build), 0, 0
    for stage in stages:
        path = folder / f"{stage}.json"
        kept = records.read(path, KEPT) if path.exists() else None
        if kept and kept["compiler"] != compiler:
            skipped += 1
            print(f"skipped: {cli.short(path)} was counted with {kept['compiler']}, this is {compiler}")
        elif kept != counted(build, stage, compiler):
            stale += 1
            print(f"stale: {cli.short(path)}; run python3 common/tools counts --update {stage}")
    return 1 if stale else 77 if skipped else 0


def parse(arguments):
    parser = cli.parser_of("counts", __doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--update", action="store_true", help="write the files")
    what.add_argument("--check", action="store_true", help="say which are stale")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help="only these [all]")
    parser.add_argument("--build", type=pathlib.Path, default=cli.ROOT / "build" / "emulated",
                        metavar="BUILD")
    return parser.parse_args(arguments)


def main(arguments):
    chosen = parse(arguments)
    stages = programs.chosen_stages(chosen.stages)
    build = programs.check_build(chosen.build)
    programs.make_counting(build, stages)
    return (update if chosen.update else check)(build, stages, COUNTS)
