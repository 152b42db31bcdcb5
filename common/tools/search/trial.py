"""One trial: a program with some settings, compiled, held against the reference, timed."""

import dataclasses
import hashlib
import json
import pathlib
import re
import shlex
import tempfile

from .. import machine, rebuild
from ..machine_code import code_sections

RUN_SECONDS = 20  # after which a program is said not to end


@dataclasses.dataclass
class Trial:
    search: str        # who drew it: evolution, random, by hand; source: the source as it is
    settings: tuple    # of each knob of the space
    verdict: str = ""  # right, wrong, fails, does not compile, same code
    digest: str = None
    program: str = None
    notes: dict = dataclasses.field(default_factory=dict)  # what else the log says of it

    def counts(self):
        """Whether it is a program that its search had not tried."""
        return self.digest is not None and self.verdict != "same code"

    def time_us(self):
        return self.notes.get("median_us", float("inf"))

    def changes(self, space):
        """The settings that are not the source's."""
        return {knob.name: setting for knob, setting in zip(space.knobs, self.settings)
                if setting != knob.settings[0]}

    def texts(self, space):
        """Of its files, by name."""
        changed = space.program(space.texts(), self.settings)
        return {path.split("/")[-1]: text for path, text in changed.items()}

    def does_not_compile(self, reason):
        self.verdict, self.notes["why"] = "does not compile", rebuild.first_error(str(reason))

    def row(self, space):
        """Of the log."""
        return {"search": self.search, "verdict": self.verdict, "digest": self.digest, **self.notes,
                "settings": self.changes(space)}

    @staticmethod
    def of_row(row, space):
        notes = {key: value for key,
                 value in row.items() if key not in ("search", "verdict", "digest", "settings")}
        return Trial(row["search"], space.settings(row["settings"]), row["verdict"], row["digest"],
                     notes=notes)


def compile_trial(build, source, space, trial, folder):
    """With a build for a GPU. Fills in digest and program, or the verdict."""
    folder.mkdir()
    try:
        program, words = rebuild.gpu_program(build, source, trial.texts(space), folder,
                                             ["--keep", "--keep-dir", str(folder), "-Xptxas=-v"])
    except rebuild.DoesNotCompile as reason:
        trial.does_not_compile(reason)
        return
    # What the chip reads; names do not occur in it.
    kernels = code_sections((folder / source.path.with_suffix(".cubin").name).read_bytes())
    codes = sorted(hashlib.sha256(code).hexdigest() for code in kernels.values())
    # Of the kernel that needs most.
    trial.notes.update(registers=max(map(int, re.findall(r"Used (\d+) registers", words))),
                       spilled_bytes=max(map(int,
                                             re.findall(r"(\d+) bytes spill stores", words))), kernels=codes)
    trial.digest = hashlib.sha256("".join(codes).encode()).hexdigest()
    trial.program = str(program)


def run(space, trial, problem, options, environment=None):
    """Returns the program's own result, {} where it wrote none, and why it is not right, "" where it is."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "result.json"
        status, _, words = machine.run([trial.program, "--variant", space.variant, "--json", str(out),
                                        *options,
                                        *shlex.split(problem)], RUN_SECONDS, environment)
        result = json.loads(out.read_text())["results"][0] if out.exists() else {}
    if status == 0:
        return result, ""
    if status is None:
        return result, "does not end"
    return result, (result.get("complaints") or words.strip().splitlines()[-1:] or [f"exit {status}"])[0]


def check_trial(space, trial, options=(), environment=None):
    """Holds it against the reference on every problem that is to be checked. Fills in the verdict."""
    trial.verdict, error = "right", 0.0
    for problem in space.checked:
        result, why = run(space, trial, problem, ["--no-time", *options], environment)
        if why:
            trial.verdict = "wrong" if result.get("verdict") == "WRONG" else "fails"
            trial.notes["why"] = f"{problem or 'headline shape'}: {why}"
            return
        error = max(error, result["error"])
    trial.notes["max_abs_error"] = error


def time_trial(space, trial):
    """Microseconds per call in a chain (attention/timing.hpp), or None, and the verdict says why."""
    result, why = run(space, trial, space.shape, ["--no-check"])
    if why:
        trial.verdict, trial.notes["why"] = "fails", f"where it is timed: {why}"
        return None
    return {key: round(result[key], 4) for key in ("median_us", "p10_us", "p90_us")}
