#!/usr/bin/env python3
"""Tunes a kernel by search: by evolution and, with as many trials, at random.

  search.py list SPACE                       what may be set, and how
  search.py check SPACE --build BUILD        every setting alone: does it compile, is it right? On either device
  search.py run SPACE --build BUILD --out LOG [--budget 96] [--seed 1] [--resume] [--beside SETTINGS]
                                             on a GPU: both searches, a log of every trial
  search.py table LOG... --out FILE          the logs as Markdown

SPACE is headline or long_rows, a file beside this one. A trial is the kernel's source with some of its places set
otherwise, compiled by the build's own command. It counts where its machine code is new to the search; it is timed where
it agrees with the reference on several problems. Both searches go on side by side until each has BUDGET trials. At the
end the best of both and the source as it is are timed once more, in rounds, and beside them what a person thinks good:
SETTINGS as the tables write them, "a lane stores: 16 bytes; ...".

While a search runs, its log is LOG.partial; --resume goes on with one that was interrupted. A log has a JSON object a line: what was searched and where, then the trials in order, then the last rounds.
Exit codes: 0 done, 1 a setting or the source itself is not right, 2 bad input, 3 no GPU.
"""

import argparse
import concurrent.futures
import dataclasses
import datetime
import hashlib
import importlib
import json
import os
import pathlib
import random
import re
import shlex
import statistics
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # tests leave the sources alone
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT / "common"), str(ROOT / "common" / "emulator")]
import rebuild
from fidelity import commit, gpu_name
from machine_code import code_sections
from space import BadInput

SPACES = ["headline", "long_rows"]
GENERATION = 16   # trials of each search that are compiled and checked together
PARENTS = 8       # the best trials so far, of which new ones are bred
FINALISTS = 3     # of each search
ROUNDS = 5        # in which finalists are timed once more
RUN_SECONDS = 20  # after which a program is said not to end


# ---- One trial ----

@dataclasses.dataclass
class Trial:
    search: str
    settings: tuple
    verdict: str = ""  # right, wrong, fails, does not compile, same code
    digest: str = None
    program: str = None
    notes: dict = dataclasses.field(default_factory=dict)  # for the log

    def counts(self):
        return self.digest is not None and self.verdict != "same code"

    def time_us(self):
        return self.notes.get("median_us", float("inf"))

    @staticmethod
    def of_row(row, space):
        settings = tuple(row["settings"].get(knob.name, next(iter(knob.settings))) for knob in space.knobs)
        notes = {key: value for key, value in row.items() if key not in ("search", "verdict", "digest", "settings")}
        return Trial(row["search"], settings, row["verdict"], row["digest"], notes=notes)

    def row(self, space):
        row = {"search": self.search, "verdict": self.verdict, "digest": self.digest, **self.notes}
        return {**row, "settings": {knob.name: setting for knob, setting in zip(space.knobs, self.settings)
                                                    if setting != next(iter(knob.settings))}}


def registers_and_spills(words):
    """Of the kernel that needs most registers, from `ptxas -v`."""
    return {"registers": max(map(int, re.findall(r"Used (\d+) registers", words))),
            "spilled_bytes": max(map(int, re.findall(r"(\d+) bytes spill stores", words)))}


def compile_trial(build, source, space, trial, folder):
    """For a GPU; fills in digest and program."""
    folder.mkdir()
    try:
        program, words = rebuild.gpu_program(build, source, space.program(source.path.read_text(), trial.settings),
                                             folder, ["--keep", "--keep-dir", str(folder), "-Xptxas=-v"])
    except rebuild.DoesNotCompile as reason:
        trial.verdict = "does not compile"
        error = re.search(r"error.*", str(reason))
        trial.notes["why"] = error[0] if error else str(reason).strip().splitlines()[-1]
        return
    # What the chip reads; names do not occur in it.
    kernels = code_sections((folder / source.path.with_suffix(".cubin").name).read_bytes())
    codes = sorted(hashlib.sha256(code).hexdigest() for code in kernels.values())
    trial.notes.update(registers_and_spills(words), kernels=codes)
    trial.digest = hashlib.sha256("".join(codes).encode()).hexdigest()
    trial.program = str(program)


def check_trial(space, trial, environment=None, options=()):
    """Holds it against the reference on every problem that is to be checked."""
    trial.verdict, error = "right", 0.0
    for problem in space.checked:
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "result.json"
            status, _, words = rebuild.run([trial.program, "--variant", space.variant, "--no-time", "--json", str(out),
                                            *options, *shlex.split(problem)], RUN_SECONDS, environment)
            result = json.loads(out.read_text())["results"][0] if out.exists() else {}
        error = max(error, result.get("max_abs_error") or 0.0)
        if status != 0 or result["verdict"] != "right":
            trial.verdict = "wrong" if result.get("verdict") == "WRONG" else "fails"
            complaints = result.get("complaints") or words.strip().splitlines()[-1:] or [f"exit {status}"]
            trial.notes["why"] = f"{problem or 'headline shape'}: " + \
                ("does not end" if status is None else complaints[0])
            return
    trial.notes["max_abs_error"] = error


def time_trial(space, trial):
    """Microseconds a call in a chain; see common/include/attention/timing.hpp."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        status, _, words = rebuild.run([trial.program, "--variant", space.variant, "--no-check", "--json", str(out),
                                        *shlex.split(space.shape)], RUN_SECONDS)
        if status != 0:
            raise SystemExit(f"a trial that was right fails where it is timed: {words}")
        result = json.loads(out.read_text())["results"][0]
    return {key: round(result[key], 4) for key in ("median_us", "p10_us", "p90_us")}


# ---- The two searches ----

class Search:
    """Draws settings; none twice. `random` is a generator of its own, so that a seed says what is drawn."""

    def __init__(self, name, space, seed):
        self.name = name
        self.space = space
        self.random = random.Random(f"{name} {seed}")
        self.drawn = set()
        self.trials = []

    def counted(self):
        return sum(trial.counts() for trial in self.trials)

    def resume(self, trials):
        self.trials = trials
        self.drawn = {trial.settings for trial in trials}
        self.random.seed(f"{self.random.random()} {len(trials)}")

    def propose(self, wanted):
        """Up to so many, fewer where the space is used up."""
        proposals = []
        for _ in range(1000 * wanted):
            if len(proposals) == wanted:
                break
            settings = self.draw()
            if settings not in self.drawn:
                self.drawn.add(settings)
                proposals.append(Trial(self.name, settings))
        return proposals

    def draw(self):
        return self.space.any(self.random)


class Evolution(Search):
    """Each setting from one of two parents, which are among the best so far, and about one of them anew."""

    def draw(self):
        right = sorted((t for t in self.trials if t.verdict == "right"), key=Trial.time_us)[:PARENTS]
        if len(self.trials) < GENERATION or len(right) < 2:
            return super().draw()
        mother, father = self.random.sample(right, 2)
        child = [self.random.choice(pair) for pair in zip(mother.settings, father.settings)]
        for i, knob in enumerate(self.space.knobs):
            if self.random.random() < 1 / len(child):
                child[i] = self.random.choice(list(knob.settings))
        return tuple(child)


def same_code(search):
    """Marks the trials whose machine code the search has had before."""
    seen = {}
    for i, trial in enumerate(search.trials):
        if trial.digest is None:
            continue
        first = seen.setdefault(trial.digest, i)
        if first != i:
            trial.verdict = "same code"
            trial.notes["as"] = first


def run_searches(searches, budget, evaluate):
    """Lets both go on until each has so many trials; `evaluate` takes a list of trials of all of them."""
    while True:
        batch = []
        for search in searches:
            trials = search.propose(min(GENERATION, budget - search.counted()))
            search.trials += trials
            batch.append(trials)
        if not any(batch):
            return
        # In turn, so that a chip that warms up is the same to both.
        longest = max(map(len, batch))
        evaluate([trials[i] for i in range(longest) for trials in batch if i < len(trials)])


# ---- Commands ----

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


def list_settings(space):
    for knob in space.knobs:
        print(f"{knob.name}: {'; '.join(knob.settings)}")
    print(f"{space.size():,} programs of {space.source}, the first setting each is the source; timed as {space.variant} "
          f"{space.shape or 'at the headline shape'}")
    return 0


def check_neighbours(space, build, jobs):
    source = source_of(space, build)

    def outcome(number, settings, folder):
        trial = Trial("check", settings)
        if not rebuild.is_emulated(source):
            compile_trial(build, source, space, trial, folder)
            if trial.program:
                check_trial(space, trial)
            return trial
        folder.mkdir()
        try:
            paths = rebuild.emulated_libraries(build, source, space.program(source.path.read_text(), settings), folder)
        except rebuild.DoesNotCompile as reason:
            trial.verdict, trial.notes["why"] = "does not compile", re.search(r"error.*", str(reason))[0]
            return trial
        trial.program = str(build / "bin" / space.stage)
        for flavour, options in (("plain", []), ("traced", ["--check-memory"])):
            check_trial(space, trial, {"LD_LIBRARY_PATH": paths[flavour]}, options)
            if trial.verdict != "right":
                break
        return trial

    bad = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        every = [space.as_it_is(), *space.neighbours()]
        outcomes = pool.map(lambda i: outcome(i, every[i], pathlib.Path(folder) / str(i)), range(len(every)))
        for trial in outcomes:
            changed = [f"{k.name}: {s}" for k, s in zip(space.knobs, trial.settings) if s != next(iter(k.settings))]
            bad += trial.verdict != "right"
            print(f"{trial.verdict:18} {''.join(changed) or 'the source as it is'}"
                  f"{'  (' + trial.notes['why'] + ')' if 'why' in trial.notes else ''}", flush=True)
    return 1 if bad else 0


def read_rows(path):
    try:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        if "knobs" not in rows[0] or rows[1]["search"] != "source":
            raise ValueError
        return rows
    except (ValueError, KeyError, TypeError, IndexError):
        raise BadInput(f"{path} is no log of a search") from None


def write_log(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def settings_of(space, words):
    """Of SETTINGS on the command line."""
    chosen = dict(part.strip().split(": ", 1) for part in words.split(";") if ": " in part)
    known = {knob.name: knob.settings for knob in space.knobs}
    for name, setting in chosen.items():
        if setting not in known.get(name, []):
            raise BadInput(f"'{name}: {setting}' is no setting of {space.source}; see search.py list")
    if not chosen:
        raise BadInput(f"'{words}' names no setting; write \"a lane stores: 16 bytes; ...\"")
    return tuple(chosen.get(knob.name, next(iter(knob.settings))) for knob in space.knobs)


def nvcc_version():
    words = subprocess.run(["nvcc", "--version"], text=True, stdout=subprocess.PIPE).stdout
    return re.search(r"V([\d.]+)", words)[1]


def run_both(name, space, build, budget, seed, out, jobs, command, resume=False, beside=()):
    source = source_of(space, build)
    if rebuild.is_emulated(source):
        raise BadInput(f"{build} is a build for the emulated device, which does not time; take one of the preset gpu")
    if budget < GENERATION:
        raise BadInput(f"a budget of fewer than {GENERATION} trials leaves evolution nothing to begin with")
    try:
        gpu, driver = gpu_name().split(", ")
    except (OSError, IndexError):
        print("error: no GPU answers (nvidia-smi lists none)", file=sys.stderr)
        return 3
    context = {"space": name, "stage": space.stage, "variant": space.variant, "source": space.source,
               "shape": space.shape, "checked": space.checked, "knobs": {knob.name: list(knob.settings) for knob in space.knobs}, "programs": space.size(), "budget": budget, "seed": seed,
               "gpu": gpu, "driver": driver, "nvcc": nvcc_version(), "commit": commit(), "command": command,
               "date": datetime.date.today().isoformat()}
    searches = [Evolution("evolution", space, seed), Search("random", space, seed)]
    as_it_is = Trial("source", space.as_it_is())
    again = []  # what the source took after each generation
    partial = out.with_name(out.name + ".partial")  # after each generation; without finals, so that no part is taken for all

    if resume:
        done = read_rows(partial)
        if done[0]["knobs"] != context["knobs"] or done[0]["seed"] != seed:
            raise BadInput(f"{partial} is a log of another search")
        again += done[1]["median_us_by_generation"]
        for search in searches:
            search.resume([Trial.of_row(row, space) for row in done[2:] if row["search"] == search.name])

    def log_so_far():
        return [context, {**as_it_is.row(space), "median_us_by_generation": again},
                *(trial.row(space) for search in searches for trial in search.trials)]

    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        folder = pathlib.Path(scratch)
        numbers = iter(range(10 ** 9))

        def compile_and_check(trials):
            list(pool.map(lambda t: compile_trial(build, source, space, t, folder / str(next(numbers))), trials))
            for search in searches:
                same_code(search)
            fresh = [t for t in trials if t.program and t.verdict != "same code"]
            list(pool.map(lambda t: check_trial(space, t), fresh))
            return [t for t in fresh if t.verdict == "right"]

        def evaluate(trials):
            for trial in compile_and_check(trials):
                trial.notes.update(time_trial(space, trial))
            again.append(time_trial(space, as_it_is)["median_us"])
            write_log(partial, log_so_far())
            print(", ".join(f"{s.name}: {s.counted()} trials, best {min(map(Trial.time_us, s.trials)):.3f} us"
                            for s in searches) + f"; the source {again[-1]:.3f} us", flush=True)

        if compile_and_check([as_it_is]) != [as_it_is]:
            print(f"error: the source as it is: {as_it_is.verdict}: {as_it_is.notes.get('why')}", file=sys.stderr)
            return 1
        run_searches(searches, budget, evaluate)

        by_hand = [Trial("by hand", settings) for settings in beside]
        finalists = [as_it_is, *compile_and_check(by_hand)]
        for search in searches:
            best = sorted((t for t in search.trials if t.verdict == "right"), key=Trial.time_us)
            finalists += [t for t in best if t.digest not in {f.digest for f in finalists}][:FINALISTS]
        compile_and_check([t for t in finalists if not t.program])  # those of a log that was resumed
        finalists = [t for t in finalists if t.verdict == "right"]
        rounds = [[time_trial(space, t)["median_us"] for t in finalists] for _ in range(ROUNDS)]

    write_log(partial, log_so_far() + [trial.row(space) for trial in by_hand] + [
        {"final": trial.search, "digest": trial.digest, "settings": trial.row(space)["settings"], "rounds_us": times}
        for trial, times in zip(finalists, zip(*rounds))])
    partial.rename(out)
    return 0


# ---- Logs as Markdown ----

@dataclasses.dataclass
class Log:
    context: dict
    source: dict
    trials: list
    finals: list

    def of(self, search):
        return [trial for trial in self.trials if trial["search"] == search]

    def counted(self, search):
        return [trial for trial in self.of(search) if trial["verdict"] in ("right", "wrong", "fails")]


def read_log(path):
    context, source, *rest = read_rows(path)
    finals = [row for row in rest if "final" in row]
    if not finals:
        raise BadInput(f"{path} is not the whole log of a search")
    return Log(context, source, [row for row in rest if "search" in row], finals)


def in_words(settings):
    return "; ".join(f"{name}: {setting}" for name, setting in settings.items()) or "the source as it was"


def row(*cells):
    return "| " + " | ".join(map(str, cells)) + " |\n"


def table(log):
    c = log.context
    text = f"## `{c['stage']}/{c['variant']}`, {c['shape'] or 'headline shape'}\n\n"
    text += (f"{c['programs']:,} programs (`{c['space']}.py`). {c['budget']} trials each, no two of a search with the same "
             "machine code.\n\n")
    text += row("search", "drawn", "did not compile", "same code as another", "trials", "fail", "wrong", "right",
                "median of the right, us", *(f"best of the first {n}" for n in budgets(c["budget"])))
    text += row(*["---"] * (9 + len(budgets(c["budget"]))))
    for search in ("evolution", "random"):
        trials, counted = log.of(search), log.counted(search)
        verdicts = [trial["verdict"] for trial in trials]
        times = [trial.get("median_us", float("inf")) for trial in counted]
        right = [time for time in times if time < float("inf")]
        text += row(search, len(trials), verdicts.count("does not compile"), verdicts.count("same code"), len(counted),
                    verdicts.count("fails"), verdicts.count("wrong"), len(right), f"{statistics.median(right):.4g}",
                    *(f"{min(times[:n]):.4g}" for n in budgets(c["budget"])))
    again = log.source["median_us_by_generation"]
    text += (f"\nThe source as it was, timed after each generation: {min(again):.4g} to {max(again):.4g} us. At the end "
             f"the best were timed again, {len(log.finals[0]['rounds_us'])} rounds, each in turn:\n\n")
    text += row("found by", "what differs from the source", "median us", "least - most") + row(*["---"] * 4)
    for final in sorted(log.finals, key=lambda f: statistics.median(f["rounds_us"])):
        times = final["rounds_us"]
        text += row(final["final"], in_words(final["settings"]), f"{statistics.median(times):.4g}",
                    f"{min(times):.4g} - {max(times):.4g}")
    text += "\nThe source's own setting is the first of each row:\n\n" + effects(log)
    text += (f"\n{c['gpu']}, driver {c['driver']}, nvcc {c['nvcc']}, commit `{c['commit'][:12]}`, {c['date']}, "
             f"`{c['command']}`.\n")
    return text


def effects(log):
    """Of each setting, over the random trials: whoever draws evenly can be asked what a setting is worth."""
    right = [trial for trial in log.of("random") if trial["verdict"] == "right"]
    text = row("choice", "setting, and the median us of the random trials with it") + row("---", "---")
    for name, settings in log.context["knobs"].items():
        times = {setting: [t["median_us"] for t in right if t["settings"].get(name, settings[0]) == setting]
                 for setting in settings}
        text += row(name, "; ".join(f"{setting}: {statistics.median(of):.4g}" if of else f"{setting}: not drawn"
                                    for setting, of in times.items()))
    return text


def budgets(budget):
    return [n for n in (16, 32, 64, 128, 256) if n < budget] + [budget]


def tables(paths):
    return ("# Search logs\n\nMade by `stages/05_tuned/search/search.py table` from the logs beside this file; not edited "
            "by hand.\n\n" + "\n".join(table(read_log(path)) for path in paths))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in ("list", "check", "run"):
        commands.add_parser(command).add_argument("space", metavar="SPACE")
    for command in ("check", "run"):
        commands.choices[command].add_argument("--build", type=pathlib.Path, required=True, metavar="BUILD")
        commands.choices[command].add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N",
                                               help="programs to compile or check at a time")
    commands.choices["run"].add_argument("--budget", type=int, default=96, metavar="N", help="trials of each search")
    commands.choices["run"].add_argument("--seed", type=int, default=1, metavar="N")
    commands.choices["run"].add_argument("--resume", action="store_true", help="go on with FILE.partial")
    commands.choices["run"].add_argument("--beside", action="append", default=[], metavar="SETTINGS")
    commands.add_parser("table").add_argument("logs", type=pathlib.Path, nargs="+", metavar="LOG")
    for command in ("run", "table"):
        commands.choices[command].add_argument("--out", type=pathlib.Path, required=True, metavar="FILE")
    arguments = parser.parse_args()
    try:
        if arguments.command == "table":
            arguments.out.write_text(tables(arguments.logs))
            return 0
        space = load(arguments.space)
        if arguments.command == "list":
            return list_settings(space)
        build = arguments.build.resolve()
        if arguments.command == "check":
            return check_neighbours(space, build, arguments.jobs)
        command = f"search.py run {arguments.space} --budget {arguments.budget} --seed {arguments.seed}"
        beside = [settings_of(space, words) for words in arguments.beside]
        return run_both(arguments.space, space, build, arguments.budget, arguments.seed, arguments.out, arguments.jobs,
                        command, arguments.resume, beside)
    except (BadInput, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
