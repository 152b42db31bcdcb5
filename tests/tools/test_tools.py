#!/usr/bin/env python3
"""The command line of all tools: whatever is wrong with an argument or a file is one line, exit code 2."""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

from context import RESULTS, ROOT, outcome
from tools import counts, fidelity, machine, programs, records
from tools.__main__ import COMMANDS
from tools.errors import BadInput, NotHere
from tools.evidence import ledger
from tools.faults import catalogue, faults
from tools.search import search

FIDELITY, FAULTS = RESULTS / "fidelity", RESULTS / "faults"
# Files as they should be.
GOOD = {
    "emulated counts": FIDELITY / "emulated.json", "gpu counts": FIDELITY / "nvidia_h200.json",
    "known": FIDELITY / "known.json", "comparison": FIDELITY / "comparison.json",
    "passes": FIDELITY / "passes.json", "the cost": RESULTS / "cost_of_emulation" / "cost.json",
    "emulated faults": FAULTS / "emulated.json", "gpu faults": FAULTS / "nvidia_h200.json",
    "log": RESULTS / "search" / "headline.jsonl", "results": RESULTS / "nvidia_h200.json",
}
# Commands that read files: "?" stands for the one that is damaged, the first name says what it should be.
READERS = [
    ("emulated counts", ["fidelity", "compare", "?", "gpu counts"]),
    ("gpu counts", ["fidelity", "compare", "emulated counts", "?"]),
    ("known", ["fidelity", "compare", "emulated counts", "gpu counts", "--known", "?"]),
    ("comparison", ["fidelity", "table", "?", "passes", "--out", "OUT"]),
    ("passes", ["fidelity", "table", "comparison", "?", "--out", "OUT"]),
    ("the cost", ["cost", "table", "?", "--out", "OUT"]),
    ("emulated faults", ["faults", "table", "?", "gpu faults", "--out", "OUT"]),
    ("gpu faults", ["faults", "table", "emulated faults", "?", "--out", "OUT"]),
    ("log", ["search", "table", "?", "--out", "OUT"]),
]
DAMAGES = {
    "empty": b"", "a blank line": b"\n", "not JSON": b"hello\n", "half of it": b'{"rows": [',
    "not text": b"\xff\xfe\0",
    "a list": b"[]\n", "an empty object": b"{}\n", "null": b"null\n", "a number": b"7\n", "a text": b'"x"\n',
    "an object of something else": b'{"name": {"rows": 3}}\n', "nested too deep": b"[" * 100000,
    "empty rows": b'{"rows": [], "counts": {}}\n',
}
# An object without keys is a list of no causes.
NO_DAMAGE = {("known", "an empty object")}


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def outcome(self, command, damaged):
        names = {"?": damaged, "OUT": self.folder / "out", **GOOD}
        return outcome(*(names.get(word, word) for word in command))

    def assert_one_line(self, result, path, what):
        code, _, errors = result
        self.assertEqual(code, 2, what)
        self.assertEqual((errors.count("\n"), errors[:7]), (1, "error: "), f"{what}: {errors}")
        self.assertIn(str(path), errors, what)
        self.assertFalse((self.folder / "out").exists(), what)


class Files(InFolder):
    def damaged(self):
        """(what is wrong, a path) for everything that can be wrong with a file."""
        yield "missing", self.folder / "missing.json"
        yield "a folder", self.folder
        for name, content in DAMAGES.items():
            path = self.folder / f"{name.replace(' ', '_')}.json"
            path.write_bytes(content)
            yield name, path
        for name, path in GOOD.items():
            yield name, path

    def test_as_they_are_the_files_are_read(self):
        for kind, command in READERS:
            code, _, errors = self.outcome(command, GOOD[kind])
            # Without its list of causes, `compare` finds differences.
            self.assertEqual((code, errors), (1 if command[1:] == ["compare", *command[2:4]] else 0, ""),
                             command)

    def test_missing_damaged_and_foreign_files_are_one_line(self):
        tried = 0
        for kind, command in READERS:
            for name, path in self.damaged():
                if name != kind and (kind, name) not in NO_DAMAGE:
                    tried += 1
                    self.assert_one_line(self.outcome(command, path), path,
                                         f"{' '.join(command)}, ? is {name}")
        self.assertGreaterEqual(tried, 114)

    def test_a_file_with_any_part_of_it_missing_or_of_another_type_is_one_line_or_does_no_harm(self):
        refused = 0
        for kind, command in READERS:
            for what, text in variations(GOOD[kind].read_text(), GOOD[kind].suffix == ".jsonl"):
                path = self.folder / "varied.json"
                path.write_text(text)
                result = self.outcome(command, path)
                if result[0] == 2:
                    refused += 1
                    self.assert_one_line(result, path, f"{' '.join(command)}, {what}")
                self.assertIn(result[0], (0, 1, 2), what)
                (self.folder / "out").unlink(missing_ok=True)
        self.assertGreater(refused, 500)


def variations(text, by_line):
    """Texts with one part left out or replaced, each with what that is."""
    value = [json.loads(line) for line in text.splitlines()] if by_line else json.loads(text)
    lines = sorted({0, 1, 2, len(value) - 1}) if by_line else [None]
    for line in lines:
        for path in paths_of(value if line is None else value[line]):
            for other in (None, 7, "x", [], {}, [None], "leave out"):
                varied = copy.deepcopy(value)
                inner = varied if line is None else varied[line]
                for key in path[:-1]:
                    inner = inner[key]
                if other == "leave out":
                    del inner[path[-1]]
                elif inner[path[-1]] == other:
                    continue
                else:
                    inner[path[-1]] = other
                where = ".".join(map(str, path))
                yield (f"line {line}: {where}: {other}", "".join(json.dumps(row) + "\n" for row in varied)) \
                    if by_line else (f"{where}: {other}", json.dumps(varied))


def paths_of(value, path=()):
    """Every key of every object, of a list and of objects with many keys the first."""
    if isinstance(value, dict):
        for key in list(value)[:15]:
            yield (*path, key)
            yield from paths_of(value[key], (*path, key))
    elif isinstance(value, list) and value:
        yield (*path, 0)
        yield from paths_of(value[0], (*path, 0))


class Folders(InFolder):
    """What commands read in a build folder, and beside the sources."""

    def build(self, **files):
        build = self.folder / "build"
        (build / "evidence").mkdir(parents=True, exist_ok=True)
        (build / "CMakeCache.txt").write_text("ATTENTION_DEVICE:STRING=emulated\n")
        for name, content in files.items():
            (build / name.replace("__", "/")).with_suffix(".json").write_bytes(content)
        return build

    def test_a_build_folder_that_is_none(self):
        for command in (["fidelity", "emulated", "?", "--out", "OUT"],
                        ["fidelity", "gpu", "?", "--out", "OUT"],
                        ["cost", "measure", "?", "--out", "OUT"], ["faults", "emulated", "?", "--out", "OUT"],
                        ["faults", "gpu", "?", "--out", "OUT"], ["search", "check", "headline", "--build",
                                                                 "?"],
                        ["search", "run", "headline", "--build", "?", "--out", "OUT"],
                        ["counts", "--check", "--build", "?"], ["counts", "--update", "--build", "?"],
                        ["evidence", "check", "--build", "?"], ["evidence", "reject", "--build", "?"],
                        ["evidence", "distinct", "--build", "?"], ["evidence", "report", "--check", "--build",
                                                                   "?"]):
            for path in (self.folder / "missing", self.folder, GOOD["the cost"]):
                self.assert_one_line(self.outcome(command, path), path, command)

    def test_damaged_compile_commands(self):
        for command in (["faults", "emulated", "?", "--out", "OUT"],
                        ["search", "check", "headline", "--build", "?"]):
            for name, content in DAMAGES.items():
                build = self.build(compile_commands=content)
                self.assert_one_line(self.outcome(command, build), build, f"{command}: {name}")

    def test_damaged_facts(self):
        tools = b'{"nvcc": "", "compiler": "a compiler", "code": {}}'
        whole = b'{"techniques": [], "stages": [{"name": "01_naive", "variants": []}]}'
        for name in ("counted", "recorded", "tools"):
            for damage, content in DAMAGES.items():
                files = {"evidence__counted": whole, "evidence__recorded": whole, "evidence__tools": tools,
                         f"evidence__{name}": content}
                build = self.build(**files)
                self.assert_one_line(self.outcome(["evidence", "check", "--build", "?"], build),
                                     build / "evidence" / f"{name}.json", f"{name}: {damage}")

    def test_damaged_results_of_the_ledger(self):
        results = self.folder / "docs" / "results"
        results.mkdir(parents=True)
        for name, content in DAMAGES.items():
            (results / "gpu.json").write_bytes(content)
            with self.assertRaisesRegex(BadInput, "gpu.json", msg=name):
                ledger.Times(self.folder)
        shutil.copy(GOOD["results"], results / "gpu.json")
        self.assertTrue(ledger.Times(self.folder).of)

    def test_damaged_counts(self):
        build = self.build(evidence__tools=b'{"nvcc": "", "compiler": "a compiler", "code": {}}')
        for name, content in DAMAGES.items():
            (self.folder / "01_naive.json").write_bytes(content)
            with self.assertRaisesRegex(BadInput, "01_naive.json", msg=name):
                counts.check(build, ["01_naive"], self.folder)

    def test_damaged_records_that_were_interrupted(self):
        partial = self.folder / "record.partial"
        for name, content in DAMAGES.items():
            partial.write_bytes(content)
            for read in (lambda: faults.read_partial(partial, {}),
                         lambda: search.read_partial(partial, {}, search.load("headline"))):
                with self.assertRaisesRegex(BadInput, "record.partial", msg=name):
                    read()

    def test_damaged_patches(self):
        for name, content in DAMAGES.items():
            (self.folder / "01_naive.patch").write_bytes(content)
            with self.assertRaisesRegex(BadInput, "01_naive.patch", msg=name):
                catalogue.faults(self.folder)


class CommandLine(unittest.TestCase):
    def test_help_of_everything(self):
        code, printed, _ = outcome("--help")
        self.assertEqual(code, 0)
        for command in COMMANDS:
            self.assertRegex(printed, rf"(?m)^  {command} +\S")
            code, of_command, _ = outcome(command, "--help")
            self.assertEqual(code, 0)
            self.assertTrue(of_command.startswith(f"usage: python3 common/tools {command} "), of_command)

    def test_bad_arguments_are_one_line(self):
        build = str(ROOT)
        for arguments, words in (
                ([], "name a command"), (["nothing"], "no command is named 'nothing'"),
                (["fidelity"], "STEP"), (["fidelity", "nothing"], "nothing"), (["fidelity", "gpu"], "BUILD"),
                (["fidelity", "table", "a", "b"], "--out"), (["counts"], "--update --check"),
                (["fidelity", "table", "a", "b", "--out", "/none/x"], "there is no folder /none"),
                (["fidelity", "table", "a", "b", "--out", "/"], "/ is a folder"),
                (["counts", "--check", "99_none"], "no stage is named '99_none'"),
                (["faults", "emulated", build, "--out", "/dev/null", "--jobs", "0"], "--jobs"),
                (["faults", "emulated", build, "--out", "/dev/null", "--jobs", "x"],
                 "'x' is no positive number"),
                (["faults", "gpu", build, "--out", "/dev/null", "--logs", "/none"], "no empty folder"),
                (["search", "list", "nothing"], "no space is named 'nothing'"),
                (["search", "check", "headline", "--build", "x", "--jobs", "0"], "--jobs"),
                (["search", "run", "headline", "--build", "x", "--out", "/dev/null", "--budget", "-1"],
                 "--budget"),
                (["evidence", "report"], "--update --check"), (["evidence", "check", "--what"], "--what")):
            code, _, errors = outcome(*arguments)
            self.assertEqual(code, 2, arguments)
            self.assertIn(words, errors)
            self.assertEqual(errors.count("\n"), 1, errors)

    def test_run_as_a_folder_from_anywhere(self):
        for folder in ("/", ROOT):
            result = subprocess.run([sys.executable, ROOT / "common" / "tools", "search", "list", "none"],
                                    cwd=folder,
                                    text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual((result.returncode, result.stdout), (2, ""))
            self.assertRegex(result.stderr, r"^error: no space is named 'none'; there is .*\n$")


class Machine(unittest.TestCase):
    """Where programs are missing, or answer nothing."""

    def with_path(self, **scripts):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        for name, text in scripts.items():
            path = pathlib.Path(folder.name) / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        environment = {**os.environ, "PATH": folder.name}
        environment.pop("ATTENTION_COMMIT", None)
        patch = unittest.mock.patch.dict(os.environ, environment, clear=True)
        patch.start()
        self.addCleanup(patch.stop)

    def test_a_commit(self):
        self.with_path(git="echo 0123")
        self.assertEqual(machine.commit(), "0123")
        os.environ["ATTENTION_COMMIT"] = "4567"
        self.assertEqual(machine.commit(), "4567")

    def test_a_commit_that_cannot_be_told_is_unknown(self):
        self.with_path()
        self.assertEqual(machine.commit(), "unknown")
        self.with_path(git="echo fatal: not a git repository >&2; exit 128")
        self.assertEqual(machine.commit(), "unknown")

    def test_a_gpu(self):
        self.with_path(nvidia_smi="echo NVIDIA H200, 580.1; echo another, 1")
        self.assertEqual(machine.gpu(), "NVIDIA H200, 580.1")

    def test_no_gpu(self):
        for scripts in ({}, {"nvidia_smi": "exit 9"}, {"nvidia_smi": "true"},
                        {"nvidia_smi": "echo No devices"}):
            self.with_path(**scripts)
            with self.assertRaisesRegex(NotHere, "no GPU answers"):
                machine.gpu()

    def test_no_toolkit(self):
        self.with_path()
        for ask, name in ((machine.nvcc_version, "nvcc"), (machine.cuda_release, "nvcc"),
                          (machine.sanitizer_version, "compute-sanitizer"),
                          (lambda: machine.under_ncu(["x"], ["y"]), "ncu")):
            with self.assertRaisesRegex(NotHere, f"there is no {name}; it comes with"):
                ask()

    def test_versions(self):
        self.with_path(nvcc="echo release 13.0, V13.0.88", compute_sanitizer="echo Version 2025.3.1.0")
        self.assertEqual((machine.nvcc_version(), machine.cuda_release(), machine.sanitizer_version()),
                         ("13.0.88", "13.0", "2025.3.1.0"))


class Counts(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.loads, self.compiler = 3, "GNU 12"
        for name, stand_in in (("results", self.results), ("compiler", lambda build: self.compiler)):
            patch = unittest.mock.patch.object(programs, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)

    def results(self, program, *options):
        total = {"global_load_requests": self.loads}
        kernel = {"kernel": "k", "launches": 1, "blocks": 8, "total": total, "warps": [total], "lines": [],
                  "traced_blocks": 8}
        return {"device": {"name": "x"}, "problem": {"heads": 1}, "results": [
            {"variant": "a", "profile": {"kernels": [kernel], "total": total}, "time_us": 3.5},
            {"variant": "refused", "verdict": "unsupported"}]}

    def outcome(self, step):
        with unittest.mock.patch("builtins.print") as printed:
            code = step(pathlib.Path("build"), ["01_naive"], self.folder)
        return code, " ".join(call.args[0] for call in printed.call_args_list)

    def test_fresh_stale_and_of_another_compiler(self):
        code, printed = self.outcome(counts.check)
        self.assertEqual(code, 1)
        self.assertRegex(printed, "stale: .*01_naive.json; run python3 common/tools counts --update 01_naive")
        self.assertEqual(self.outcome(counts.update)[0], 0)
        self.assertEqual(self.outcome(counts.check), (0, ""))
        self.assertEqual(self.outcome(counts.update), (0, ""))
        self.compiler = "Clang 14"
        code, printed = self.outcome(counts.check)
        self.assertEqual(code, 77)
        self.assertRegex(printed, "skipped: .*01_naive.json was counted with GNU 12, this is Clang 14")
        self.compiler, self.loads = "GNU 12", 4
        self.assertEqual(self.outcome(counts.check)[0], 1)

    def test_what_is_kept_has_no_times_and_is_read_back(self):
        self.outcome(counts.update)
        kept = records.read(self.folder / "01_naive.json", counts.KEPT)
        self.assertEqual(kept["results"], [
            {"variant": "a", "profile": {"kernels": [
                {"kernel": "k", "launches": 1, "blocks": 8, "total": {"global_load_requests": 3}}]}},
            {"variant": "refused", "profile": None}])
        self.assertNotIn("time", json.dumps(kept))

    def test_those_that_are_kept_are_of_a_kind(self):
        for path in (RESULTS / "counts").glob("*.json"):
            records.read(path, counts.KEPT)


class Shapes(unittest.TestCase):
    def test_what_fits_and_what_does_not(self):
        shape = {"a": int, "b?": [str], "c": records.OR(records.NUMBER, records.NULL), "d": {str: {"e": str}}}
        good = {"a": 1, "c": None, "d": {"x": {"e": "", "more": 3}}}
        self.assertEqual(records.misfit(good, shape), "")
        for change, words in (({"a": True}, "a is not a whole number"),
                              ({"a": 1.5}, "a is not a whole number"),
                              ({"b": "x"}, "b is no list"), ({"b": ["x", 1]}, r"b\[1\] is not text"),
                              ({"c": "x"}, "c is not null|c is not a number"), ({"d": []}, "d is no object"),
                              ({"d": {"x": {}}}, "d.x.e is missing")):
            self.assertRegex(records.misfit({**good, **change}, shape), words)
        self.assertEqual(records.misfit({}, shape), "a is missing")
        self.assertEqual(records.misfit(3, shape), "it is no object")

    def test_metrics_of_the_record_are_those_that_are_compared(self):
        counted = records.read(GOOD["emulated counts"], fidelity.EMULATED)["counts"]
        self.assertEqual(set(fidelity.METRICS), set(next(iter(counted.values()))))


if __name__ == "__main__":
    unittest.main()
