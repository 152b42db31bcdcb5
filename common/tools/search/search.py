"""Tunes a kernel by search: by evolution and, with as many trials, at random.

  search list SPACE                     what may be set, and how
  search check SPACE --build BUILD      every setting alone: does it compile, is it right? On either device
  search run SPACE --build BUILD --out LOG [--budget N] [--seed N] [--beside SETTINGS] [--resume]
                                        on a GPU: both searches, a log of every trial
  search table LOG... --out FILE        logs as Markdown
  search reanchor SPACE                 finds the places of the space's patches in its sources as they are and
                                        writes the patches anew; says which hunks have none

SPACE is headline, lazy_max or long_rows, a module and a folder of patches beside this one. A trial is the
kernel's source with some of the patches applied, compiled by the build's own command. It counts where its
machine code is new to the search, and is timed where it agrees with the reference on several problems. Both
searches go on side by side until each has as many trials as the budget says. At the end the best of both are
timed once more, in rounds, with the source as it is, and with what a person thinks good: SETTINGS, written as
`list` and the tables do, "a lane stores: 16 bytes; an SM has room for: ...".

While a search runs its log is LOG.partial. With --resume it begins anew, but takes from there what is known.
Exit codes: 0 done, 1 a setting or the source itself is not right, 2 bad input, 3 no GPU.
"""

import concurrent.futures
import datetime
import importlib
import pathlib
import shlex
import sys
import tempfile

from .. import cli, machine, patches, programs, rebuild, records
from ..errors import BadInput, Failed
from . import log
from .searches import GENERATION, Evolution, Search, run_searches
from .space import TARGETS
from .trial import Trial, check_trial, compile_trial, time_trial

FINALISTS = 3  # of each search
ROUNDS = 5     # in which finalists are timed once more


def load(name):
    if name not in TARGETS:
        raise BadInput(f"no space is named '{name}'; there is {', '.join(TARGETS)}")
    return importlib.import_module(f".{name}", __package__).SPACE


def source_of(space, build):
    known = rebuild.sources_of(build)
    space.check(space.texts())
    for source in known:
        if source.name() == f"{space.stage}/{space.source}":
            return source
    raise BadInput(f"{build} does not build {space.target}")


# ---- list, check ----

def list_settings(space):
    for knob in space.knobs:
        print(f"{knob.name}: {'; '.join(knob.settings)}")
    print(f"{space.size():,} programs of {space.source}, the first setting each is the source; timed as "
          f"{space.variant} {space.shape or 'at the headline shape'}")


def check_emulated(build, source, space, trial, folder):
    """Plain, and with every access to memory checked."""
    folder.mkdir()
    try:
        paths = rebuild.emulated_libraries(build, source, trial.texts(space), folder)
    except rebuild.DoesNotCompile as reason:
        trial.does_not_compile(reason)
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
        machine.gpu()
    else:
        programs.make_counting(build, [space.stage])
    trials = [Trial("check", settings) for settings in (space.as_it_is(), *space.neighbours())]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        folders = [pathlib.Path(scratch) / str(i) for i in range(len(trials))]
        checked = [pool.submit(check, build, source, space, *of) for of in zip(trials, folders)]
        for trial, done in zip(trials, checked):
            done.result()
            change = [f"{name}: {setting}" for name,
                      setting in trial.changes(space).items()] or ["the source as it is"]
            print(f"{trial.verdict:18} {change[0]}"
                  + (f"  ({trial.notes['why']})" if "why" in trial.notes else ""),
                  flush=True)
    return all(trial.verdict == "right" for trial in trials)


# ---- run ----

def nvcc_version(source):
    """Of the compiler that the build uses."""
    return machine.nvcc_version(shlex.split(source.targets["plain"]["command"])[0])


def context_of(space, source, budget, seed, command):
    """The first line of a log."""
    gpu, driver = machine.gpu().split(", ")
    return {"space": space.name, "stage": space.stage, "variant": space.variant, "source": space.source,
            "shape": space.shape, "checked": list(space.checked), "programs": space.size(),
            "knobs": {knob.name: list(knob.settings)
                      for knob in space.knobs}, "texts": space.digest(space.texts()),
            "budget": budget, "seed": seed, "gpu": gpu, "driver": driver, "nvcc": nvcc_version(source),
            "commit": machine.commit(), "command": command, "date": datetime.date.today().isoformat()}


def read_partial(path, context, space):
    """What is known of an interrupted search: trials by search and settings, and the source's times."""
    first, source, rows = log.read_rows(path)
    records.require_same(path, first, {key: value for key, value in context.items()
                                       if key not in ("budget", "commit", "command", "date")})
    trials = [Trial.of_row(row, space) for row in rows]
    return {(trial.search, trial.settings): trial for trial in trials}, source["median_us_by_generation"]


class Run:
    """Both searches on a GPU, from the first trial to the last round."""

    def __init__(self, space, build, source, context, partial, pool, scratch, resume):
        self.space, self.build, self.source, self.context, self.pool = space, build, source, context, pool
        self.partial = partial  # the log so far
        self.folders = (scratch / str(i) for i in range(10 ** 9))
        self.known, self.known_source_us = read_partial(partial, context, space) if resume else ({}, [])
        self.searches = [Evolution("evolution", space, context["seed"]),
                         Search("random", space, context["seed"])]
        self.as_it_is = Trial("source", space.as_it_is())
        self.by_hand = []
        self.source_us = []  # after each generation

    def rows(self):
        return [self.context, {**self.as_it_is.row(self.space), "median_us_by_generation": self.source_us},
                *(trial.row(self.space) for search in self.searches for trial in search.trials),
                *(trial.row(self.space) for trial in self.by_hand)]

    def compile(self, trials):
        list(self.pool.map(lambda t: compile_trial(self.build, self.source, self.space, t,
                                                   next(self.folders)), trials))

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
        records.write_rows(self.partial, self.rows())
        print(", ".join(f"{search.name}: {search.counted()} trials, best "
                        f"{min(map(Trial.time_us, search.trials)):.4g} us" for search in self.searches) +
              f"; the source {self.source_us[-1]:.4g} us", flush=True)

    def time_source(self):
        times = time_trial(self.space, self.as_it_is)
        if times is None:
            raise Failed(f"the source as it is fails {self.as_it_is.notes['why']}")
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
        self.compile([trial for trial in finalists
                      if not trial.program])  # those of a search that was resumed
        rounds = [[time_trial(self.space, trial) for trial in finalists] for _ in range(ROUNDS)]
        return [{"digest": trial.digest, "settings": trial.changes(self.space),
                 "rounds_us": [times["median_us"] for times in of_trial]}
                for trial, of_trial in zip(finalists, zip(*rounds)) if all(of_trial)]


def run_both(space, build, budget, seed, out, jobs, command, resume=False, beside=()):
    """Returns whether the source as it is, and what stands beside it, are right."""
    source = source_of(space, build)
    if rebuild.is_emulated(source):
        raise BadInput(f"{build} is a build for the emulated device, which does not time; take one of the "
                       "preset gpu")
    if budget < GENERATION:
        raise BadInput(f"a budget of fewer than {GENERATION} trials leaves evolution nothing to begin with")
    partial = records.partial_of(out, resume)
    context = context_of(space, source, budget, seed, command)
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
        records.write_rows(out, run.rows() + run.last_rounds())
    partial.unlink()
    return True


# ---- reanchor ----

def reanchor(space):
    """Writes every patch of the space anew; returns whether all hunks have a place."""
    texts, lost = space.texts(), []
    for _, _, path in space.patch_files():
        hunks = []
        for hunk in patches.read(path):
            try:
                begin, fitted = patches.fitted(hunk, texts)
                hunks.append((begin, fitted))
            except patches.Stale as reason:
                lost.append(reason)
                hunks.append((0, hunk))
        records.write_text(path, patches.unified(hunks, patches.remark_of(path)))
    for reason in lost:
        print(reason)
    print(f"{len(space.patch_files())} patches of {space.target}, {len(lost)} hunks without a place")
    return not lost


def parse(arguments):
    parser = cli.parser_of("search", __doc__)
    steps = cli.steps_of(parser, list="what may be set, and how", check="is every setting alone right?",
                         run="searches, on a GPU", table="writes logs as Markdown",
                         reanchor="writes the space's patches anew, against its sources as they are")
    for name in ("list", "check", "run", "reanchor"):
        steps[name].add_argument("space", metavar="SPACE")
    steps["table"].add_argument("logs", type=pathlib.Path, nargs="+", metavar="LOG")
    for name in ("check", "run"):
        steps[name].add_argument("--build", type=pathlib.Path, required=True, metavar="BUILD")
        cli.add_jobs(steps[name])
    run = steps["run"]
    run.add_argument("--budget", type=cli.positive, default=96, metavar="N",
                     help="trials of each search [96]")
    run.add_argument("--seed", type=cli.positive, default=1, metavar="N", help="says what is drawn [1]")
    run.add_argument("--beside", action="append", default=[], metavar="SETTINGS",
                     help="a person's choice, timed in the last rounds; may be given again")
    run.add_argument("--resume", action="store_true", help="continue LOG.partial")
    for name in ("run", "table"):
        cli.add_out(steps[name])
    return parser.parse_args(arguments)


def main(arguments):
    chosen = parse(arguments)
    if chosen.step == "table":
        records.write_text(chosen.out, log.document(chosen.logs))
        return 0
    space = load(chosen.space)
    if chosen.step == "list":
        list_settings(space)
        return 0
    if chosen.step == "reanchor":
        return 0 if reanchor(space) else 1
    build = programs.check_build(chosen.build)
    if chosen.step == "check":
        return 0 if check_neighbours(space, build, chosen.jobs) else 1
    beside = [space.settings_in_words(words) for words in chosen.beside]
    # What the log depends on, and no folder of this machine.
    command = ["run", chosen.space, "--budget", str(chosen.budget), "--seed", str(chosen.seed)]
    command += [word for words in chosen.beside for word in ("--beside", words)]
    command += ["--resume"] if chosen.resume else []
    return 0 if run_both(space, build, chosen.budget, chosen.seed, chosen.out, chosen.jobs,
                         f"search {shlex.join(command)}", chosen.resume, beside) else 1
