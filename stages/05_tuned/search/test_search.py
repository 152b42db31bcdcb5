#!/usr/bin/env python3
"""Tests of search.py that need neither compiler nor device.

usage: test_search.py BUILD [unittest's options]   BUILD is a build folder for the emulated device
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE))
import search
from space import BadInput, Knob, Space

BUILD = sys.argv.pop(1)


def toy_space(knobs=8, settings=4):
    return Space("05_tuned", "toy.cu", "toy", [], "", [],
                 [Knob(f"k{i}", {str(j): [] for j in range(settings)}) for i in range(knobs)])


def toy_time(settings):
    """Best where every knob is 1; each counts by itself, the first most."""
    return 10 + sum((len(settings) - i) * (setting != "1") for i, setting in enumerate(settings))


def evaluate(trials):
    for trial in trials:
        trial.verdict, trial.digest = "right", " ".join(trial.settings)
        trial.notes["median_us"] = toy_time(trial.settings)


def both(space, seed):
    return [search.Evolution("evolution", space, seed), search.Search("random", space, seed)]


class Spaces(unittest.TestCase):
    def test_every_setting_is_found_in_the_source_and_goes_with_every_other(self):
        for name in search.SPACES:
            space = search.load(name)
            source = (ROOT / "stages" / space.stage / space.source).read_text()
            space.check(source)
            texts = {space.program(source, settings) for settings in [space.as_it_is(), *space.neighbours()]}
            self.assertEqual(len(texts), 1 + sum(len(knob.settings) - 1 for knob in space.knobs))

    def test_a_text_that_is_not_there_once_is_refused(self):
        for text, count in (("a", 0), ("b b", 2)):
            space = Space("s", "s.cu", "v", [], "", [], [Knob("knob", {"is": [], "other": [("b", "c")]})])
            with self.assertRaisesRegex(BadInput, f"{count} places for 'knob: other'"):
                space.program(text, ("other",))

    def test_settings_of_two_knobs_in_one_place_are_refused(self):
        space = Space("s", "s.cu", "v", [], "", [], [Knob("a", {"is": [], "x": [("one two", "three")]}),
                                                     Knob("b", {"is": [], "y": [("two", "four")]})])
        with self.assertRaisesRegex(BadInput, "0 places for 'b: y'"):
            space.check("one two")

    def test_settings_on_the_command_line(self):
        space = toy_space(2)
        self.assertEqual(search.settings_of(space, "k1: 3"), ("0", "3"))
        for words in ("k1: 9", "k9: 1", "", "k1"):
            with self.assertRaises(BadInput):
                search.settings_of(space, words)


class Searches(unittest.TestCase):
    def test_both_make_as_many_trials_as_they_may_and_none_twice(self):
        searches = both(toy_space(), 1)
        search.run_searches(searches, 70, evaluate)
        for one in searches:
            self.assertEqual(one.counted(), 70)
            self.assertEqual(len({trial.settings for trial in one.trials}), 70)

    def test_a_seed_says_what_is_drawn(self):
        runs = []
        for seed in (1, 1, 2):
            searches = both(toy_space(), seed)
            search.run_searches(searches, 40, evaluate)
            runs.append([trial.settings for one in searches for trial in one.trials])
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])

    def test_evolution_finds_more_than_chance_where_settings_count_by_themselves(self):
        wins = 0
        for seed in range(20):
            searches = both(toy_space(), seed)
            search.run_searches(searches, 96, evaluate)
            evolved, drawn = (min(trial.time_us() for trial in one.trials) for one in searches)
            wins += evolved < drawn
        self.assertGreaterEqual(wins, 18)

    def test_the_same_code_counts_once(self):
        def evaluate_blind(trials):  # to all knobs but the first two
            for trial in trials:
                trial.verdict, trial.digest, trial.notes["median_us"] = "right", " ".join(trial.settings[:2]), 1.0
            for one in searches:
                search.same_code(one)
        searches = both(toy_space(3), 1)
        search.run_searches(searches, 16, evaluate_blind)
        for one in searches:
            counted = [trial for trial in one.trials if trial.counts()]
            self.assertEqual(len(counted), 16)
            self.assertEqual(len({trial.digest for trial in counted}), 16)
            same = [trial for trial in one.trials if trial.verdict == "same code"]
            self.assertTrue(same)
            for trial in same:
                self.assertEqual(one.trials[trial.notes["as"]].digest, trial.digest)

    def test_what_does_not_compile_is_no_trial(self):
        def evaluate_half(trials):
            evaluate(trials)
            for trial in trials:
                if trial.settings[0] in "01":
                    trial.verdict, trial.digest, trial.notes = "does not compile", None, {"why": "error"}
        searches = both(toy_space(), 1)
        search.run_searches(searches, 32, evaluate_half)
        for one in searches:
            self.assertEqual(one.counted(), 32)
            self.assertGreater(len(one.trials), 40)

    def test_a_space_that_is_used_up_ends_the_search(self):
        searches = both(toy_space(2, 3), 1)
        search.run_searches(searches, 50, evaluate)
        for one in searches:
            self.assertEqual(one.counted(), 9)


class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, lines):
        path = self.folder / "log.jsonl"
        search.write_log(path, lines)
        return path

    def test_a_trial_comes_back_from_its_row(self):
        space = toy_space()
        trial = search.Trial("random", ("1",) + ("0",) * 7, "right", "abc", notes={"median_us": 3.0, "kernels": ["k"]})
        self.assertEqual(search.Trial.of_row(trial.row(space), space), trial)

    def test_a_search_goes_on_where_it_was(self):
        space = toy_space()
        one = search.Evolution("evolution", space, 1)
        search.run_searches([one], 32, evaluate)
        again = search.Evolution("evolution", space, 1)
        again.resume([search.Trial.of_row(trial.row(space), space) for trial in one.trials])
        search.run_searches([again], 48, evaluate)
        self.assertEqual(again.trials[:32], one.trials)
        self.assertEqual(len({trial.settings for trial in again.trials}), 48)

    def test_what_is_no_log_or_a_part_of_one_is_refused(self):
        logs = sorted((ROOT / "docs" / "results" / "search").glob("*.jsonl"))
        self.assertTrue(logs)
        rows = search.read_rows(logs[0])
        for lines, words in (([], "no log"), ([{}], "no log"), (rows[:1], "no log"),
                             ([row for row in rows if "final" not in row], "not the whole log")):
            with self.assertRaisesRegex(BadInput, words):
                search.read_log(self.write(lines))
        (self.folder / "text").write_text("{\n")
        with self.assertRaisesRegex(BadInput, "no log"):
            search.read_log(self.folder / "text")

    def test_tables_are_fresh(self):
        folder = ROOT / "docs" / "results" / "search"
        self.assertEqual((folder / "README.md").read_text(), search.tables(sorted(folder.glob("*.jsonl"))),
                         "run stages/05_tuned/search/search.py table docs/results/search/*.jsonl "
                         "--out docs/results/search/README.md")


class CommandLine(unittest.TestCase):
    def outcome(self, *arguments):
        result = subprocess.run([sys.executable, str(HERE / "search.py"), *arguments], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)
        return result.returncode, result.stderr

    def test_bad_input_is_one_line_and_exit_code_2(self):
        for arguments, words in ((("list", "nothing"), "no space is named 'nothing'"),
                                 (("check", "headline", "--build", "/"), "is no build folder"),
                                 (("run", "headline", "--build", BUILD, "--out", "/dev/null"), "emulated device"),
                                 (("table", "/dev/null", "--out", "/dev/null"), "no log of a search")):
            code, error = self.outcome(*arguments)
            self.assertEqual(code, 2, error)
            self.assertRegex(error, words)
            self.assertEqual(error.count("\n"), 1, error)

    def test_list(self):
        self.assertEqual(self.outcome("list", "long_rows"), (0, ""))


if __name__ == "__main__":
    unittest.main()
