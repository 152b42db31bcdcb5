#!/usr/bin/env python3
"""Tunes a kernel by search: by evolution and, with as many trials, at random.

  search.py list SPACE                     what may be set, and how
  search.py check SPACE --build BUILD      every setting alone: does it compile, is it right? On either device
  search.py run SPACE --build BUILD --out LOG [--budget N] [--seed N] [--beside SETTINGS] [--resume]
                                           on a GPU: both searches, a log of every trial
  search.py table LOG... --out FILE        logs as Markdown

SPACE is headline, lazy_max or long_rows, a file beside this one. A trial is the kernel's source with some of its places
set otherwise, compiled by the build's own command. It counts where its machine code is new to the search, and is timed
where it agrees with the reference on several problems. Both searches go on side by side until each has as many trials
as the budget says. At the end the best of both are timed once more, in rounds, with the source as it is, and with what
a person thinks good: SETTINGS, written as `list` and the tables do, "a lane stores: 16 bytes; an SM has room for: ...".

While a search runs its log is LOG.partial. With --resume it begins anew, but takes from there what is known.
Exit codes: 0 done, 1 a setting or the source itself is not right, 2 bad input, 3 no GPU.
"""

import argparse
import concurrent.futures
import datetime
import hashlib
import importlib
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # tests leave the sources alone
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(HERE), str(ROOT / "common"), str(ROOT / "common" / "emulator")]
import log
import rebuild
from fidelity import commit, gpu_name
from json_lines import why_not_gone_on_with, write_rows
from searches import GENERATION, Evolution, Search, run_searches
from space import BadInput
from trial import Trial, check_trial, compile_trial, first_error, time_trial

SPACES = ["headline", "lazy_max", "long_rows"]
FINALISTS = 3  # of each search
ROUNDS = 5     # in which finalists are timed once more


class NoGpu(Exception):
    """Exit code 3."""


def load(name):
    if name not in SPACES:
        raise BadInput(f"no space is named '{name}'; there is {', '.join(SPACES)}")
    return importlib.import_module(name).SPACE


def source_of(space, build):
    if not (build / "compile_commands.json").exists():
        raise BadInput(f"{build} is no build folder of this project: it has no compile_commands.json")
    for source in rebuild.sources_of(build):
        if source.name() == f"{space.stage}/{space.source}":
            space.check(source.path.read_text())
            return source
    raise BadInput(f"{build} does not build {space.stage}/{space.source}")


def gpu_and_driver():
    try:
        return gpu_name().split(", ")
    except (OSError, IndexError):
        raise NoGpu("no GPU answers (nvidia-smi lists none)") from None


# ---- list, check ----

def list_settings(space):
    for knob in space.knobs:
        print(f"{knob.name}: {'; '.join(knob.settings)}")
    print(f"{space.size():,} programs of {space.source}, the first setting each is the source; timed as {space.variant} "
          f"{space.shape or 'at the headline shape'}")


def check_emulated(build, source, space, trial, folder):
    """Plain, and with every access to memory checked."""
    folder.mkdir()
    try:
        paths = rebuild.emulated_libraries(build, source, space.program(source.path.read_text(), trial.settings), folder)
    except rebuild.DoesNotCompile as reason:
        trial.verdict, trial.notes["why"] = "does not compile", first_error(str(reason))
        return
    trial.program = str(build / "bin" / space.stage)
    for flavour, options in (("plain", []), ("traced", ["--check-memory"])):
        check_trial(space, trial, options, {"LD_LIBRARY_PATH": paths[flavour]})
        if trial.verdict != "right":
            return


def check_on_gpu(build, source, space, trial, folder):
    compile_trial(build, source, space, trial, folder)
    if trial.program:
        check_trial(space, trial)


def check_neighbours(space, build, jobs):
    """Prints a line for the source and for each setting alone; returns whether all are right."""
    source = source_of(space, build)
    check = check_emulated if rebuild.is_emulated(source) else check_on_gpu
    if check is check_on_gpu:
        gpu_and_driver()
    trials = [Trial("check", settings) for settings in (space.as_it_is(), *space.neighbours())]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        folders = [pathlib.Path(scratch) / str(i) for i in range(len(trials))]
        checked = [pool.submit(check, build, source, space, *of) for of in zip(trials, folders)]
        for trial, done in zip(trials, checked):
            done.result()
            change = [f"{name}: {setting}" for name, setting in trial.changes(space).items()] or ["the source as it is"]
            print(f"{trial.verdict:18} {change[0]}" + (f"  ({trial.notes['why']})" if "why" in trial.notes else ""),
                  flush=True)
    return all(trial.verdict == "right" for trial in trials)


# ---- run ----

def nvcc_version(source):
    """Of the compiler that the build uses."""
    nvcc = shlex.split(source.targets["plain"]["command"])[0]
    words = subprocess.run([nvcc, "--version"], text=True, stdout=subprocess.PIPE).stdout
    return re.search(r"V([\d.]+)", words)[1]


def context_of(name, space, source, budget, seed, command):
    """The first line of a log."""
    gpu, driver = gpu_and_driver()
    settings = {knob.name: list(knob.settings) for knob in space.knobs}
    return {"space": name, "stage": space.stage, "variant": space.variant, "source": space.source, "shape": space.shape,
            "checked": space.checked, "programs": space.size(), "knobs": settings,
            "texts": hashlib.sha256(repr((source.path.read_text(), space)).encode()).hexdigest(),
            "budget": budget, "seed": seed, "gpu": gpu, "driver": driver, "nvcc": nvcc_version(source),
            "commit": commit(), "command": command, "date": datetime.date.today().isoformat()}


def read_partial(path, context, space):
    """What is known of an interrupted search: trials by search and settings, and the source's times."""
    first, source, *rows = log.read_rows(path)
    lasting = {key: value for key, value in context.items() if key not in ("budget", "commit", "command", "date")}
    reason = why_not_gone_on_with(path, first, lasting)
    if reason:
        raise BadInput(reason)
    trials = [Trial.of_row(row, space) for row in rows]
    return {(trial.search, trial.settings): trial for trial in trials}, source["median_us_by_generation"]


class Run:
    """Both searches on a GPU, from the first trial to the last round."""

    def __init__(self, space, build, source, context, partial, pool, scratch, resume):
        self.space, self.build, self.source, self.context, self.pool = space, build, source, context, pool
        self.partial = partial  # the log so far
        self.folders = (scratch / str(i) for i in range(10 ** 9))
        self.known, self.known_source_us = read_partial(partial, context, space) if resume else ({}, [])
        self.searches = [Evolution("evolution", space, context["seed"]), Search("random", space, context["seed"])]
        self.as_it_is = Trial("source", space.as_it_is())
        self.by_hand = []
        self.source_us = []  # after each generation

    def rows(self):
        return [self.context, {**self.as_it_is.row(self.space), "median_us_by_generation": self.source_us},
                *(trial.row(self.space) for search in self.searches for trial in search.trials),
                *(trial.row(self.space) for trial in self.by_hand)]

    def compile(self, trials):
        list(self.pool.map(lambda t: compile_trial(self.build, self.source, self.space, t, next(self.folders)), trials))

    def compile_and_check(self, trials):
        """Returns those that are right and no search has had before."""
        self.compile(trials)
        for search in self.searches:
            search.mark_same_code()
        fresh = [trial for trial in trials if trial.program and trial.verdict != "same code"]
        list(self.pool.map(lambda trial: check_trial(self.space, trial), fresh))
        return [trial for trial in fresh if trial.verdict == "right"]

    def evaluate(self, trials):
        """A generation of both searches."""
        unknown = []
        for trial in trials:
            known = self.known.get((trial.search, trial.settings))
            if known:
                trial.verdict, trial.digest, trial.notes = known.verdict, known.digest, known.notes
            else:
                unknown.append(trial)
        for trial in self.compile_and_check(unknown):
            trial.notes.update(time_trial(self.space, trial) or {})
        if not unknown and len(self.source_us) < len(self.known_source_us):
            self.source_us.append(self.known_source_us[len(self.source_us)])
        else:
            self.source_us.append(self.time_source())
        write_rows(self.partial, self.rows())
        print(", ".join(f"{search.name}: {search.counted()} trials, best "
                        f"{min(map(Trial.time_us, search.trials)):.4g} us" for search in self.searches) +
              f"; the source {self.source_us[-1]:.4g} us", flush=True)

    def time_source(self):
        times = time_trial(self.space, self.as_it_is)
        if times is None:
            raise SystemExit(f"error: the source as it is fails {self.as_it_is.notes['why']}")
        return times["median_us"]

    def last_rounds(self):
        """Rows of the finalists, a program each, whoever found it."""
        candidates = [self.as_it_is, *self.by_hand]
        for search in self.searches:
            candidates += search.best()[:FINALISTS]
        finalists = []
        for trial in candidates:
            if all(trial.digest != other.digest for other in finalists):
                finalists.append(trial)
        self.compile([trial for trial in finalists if not trial.program])  # those of a search that was resumed
        rounds = [[time_trial(self.space, trial) for trial in finalists] for _ in range(ROUNDS)]
        return [{"digest": trial.digest, "settings": trial.changes(self.space),
                 "rounds_us": [times["median_us"] for times in of_trial]}
                for trial, of_trial in zip(finalists, zip(*rounds)) if all(of_trial)]


def run_both(name, space, build, budget, seed, out, jobs, command, resume=False, beside=()):
    """Returns whether the source as it is, and what stands beside it, are right."""
    source = source_of(space, build)
    if rebuild.is_emulated(source):
        raise BadInput(f"{build} is a build for the emulated device, which does not time; take one of the preset gpu")
    if budget < GENERATION:
        raise BadInput(f"a budget of fewer than {GENERATION} trials leaves evolution nothing to begin with")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent}")
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume:
        raise BadInput(f"there is {partial} of a search that was interrupted: go on with --resume, or remove it")
    context = context_of(name, space, source, budget, seed, command)
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        run = Run(space, build, source, context, partial, pool, pathlib.Path(scratch), resume)
        first = [run.as_it_is, *(Trial("by hand", settings) for settings in beside)]
        run.by_hand = first[1:]
        if run.compile_and_check(first) != first:
            for trial in first:
                if trial.verdict != "right":
                    print(f"error: {trial.changes(space) or 'the source as it is'}: {trial.verdict}: "
                          f"{trial.notes.get('why')}", file=sys.stderr)
            return False
        run_searches(run.searches, budget, run.evaluate)
        write_rows(out, run.rows() + run.last_rounds())
    partial.unlink()
    return True


def positive(text):
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in ("list", "check", "run"):
        commands.add_parser(command).add_argument("space", metavar="SPACE")
    commands.add_parser("table").add_argument("logs", type=pathlib.Path, nargs="+", metavar="LOG")
    for command in ("check", "run"):
        commands.choices[command].add_argument("--build", type=pathlib.Path, required=True, metavar="BUILD")
        commands.choices[command].add_argument("--jobs", type=positive, default=os.cpu_count(), metavar="N",
                                               help="programs to compile or check at a time [one a core]")
    run = commands.choices["run"]
    run.add_argument("--budget", type=positive, default=96, metavar="N", help="trials of each search [96]")
    run.add_argument("--seed", type=int, default=1, metavar="N", help="says what is drawn [1]")
    run.add_argument("--beside", action="append", default=[], metavar="SETTINGS",
                     help="a person's choice, timed in the last rounds; may be given again")
    run.add_argument("--resume", action="store_true", help="go on with LOG.partial")
    for command in ("run", "table"):
        commands.choices[command].add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    return parser.parse_args()


def main():
    arguments = parse()
    try:
        if arguments.command == "table":
            text = log.document(arguments.logs)
            arguments.out.write_text(text)
            return 0
        space = load(arguments.space)
        if arguments.command == "list":
            list_settings(space)
            return 0
        build = arguments.build.resolve()
        if arguments.command == "check":
            return 0 if check_neighbours(space, build, arguments.jobs) else 1
        beside = [space.settings_in_words(words) for words in arguments.beside]
        # What the log depends on, and no folder of this machine.
        command = ["run", arguments.space, "--budget", str(arguments.budget), "--seed", str(arguments.seed)]
        command += [word for words in arguments.beside for word in ("--beside", words)]
        command += ["--resume"] if arguments.resume else []
        return 0 if run_both(arguments.space, space, build, arguments.budget, arguments.seed, arguments.out,
                             arguments.jobs, f"search.py {shlex.join(command)}", arguments.resume, beside) else 1
    except NoGpu as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except (BadInput, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
