#!/usr/bin/env python3
"""Tests of `search` that need no GPU. One compiles, with the emulated device's build in ATTENTION_BUILD."""

import contextlib
import io
import pathlib
import tempfile
import types
import unittest
import unittest.mock

from context import BUILD, RESULTS, outcome
from tools import patches, records
from tools.errors import BadInput
from tools.rebuild import first_error
from tools.search import log, search
from tools.search.searches import Evolution, Search, run_searches
from tools.search.space import TARGETS, Knob, Space, slug
from tools.search.trial import Trial


class ToySpace(Space):
    """Without files."""
    target = "stages/05_tuned/toy.cu"

    def texts(self, root=None):
        return {self.target: "toy"}

    def program(self, texts, settings):
        return texts

    def digest(self, texts):
        return repr(texts)


def toy_space(knobs=8, settings=4):
    return ToySpace("toy", "toy", "", (), tuple(
        Knob(f"k{i}", tuple(str(j) for j in range(settings))) for i in range(knobs)))


def toy_time(settings):
    """Best where every knob is 1; each counts by itself, the first most."""
    return 10 + sum((len(settings) - i) * (setting != "1") for i, setting in enumerate(settings))


def evaluate(trials):
    for trial in trials:
        trial.verdict, trial.digest = "right", " ".join(trial.settings)
        trial.notes["median_us"] = toy_time(trial.settings)


def both(space, seed):
    return [Evolution("evolution", space, seed), Search("random", space, seed)]


class Spaces(unittest.TestCase):
    def test_every_setting_is_found_in_the_sources_and_goes_with_every_other(self):
        for name in TARGETS:
            space = search.load(name)
            texts = space.texts()
            space.check(texts)
            programs = {repr(space.program(texts, settings))
                        for settings in [space.as_it_is(), *space.neighbours()]}
            self.assertEqual(len(programs), 1 + sum(len(knob.settings) - 1 for knob in space.knobs))

    def test_every_patch_is_of_a_setting(self):
        for name in TARGETS:
            space = search.load(name)
            files = [path for _, _, path in space.patch_files()]
            self.assertEqual(sorted(files), sorted((space.folder / name).iterdir()))

    def test_a_patch_says_what_it_sets(self):
        for name in TARGETS:
            for knob, setting, path in search.load(name).patch_files():
                self.assertEqual(patches.remark_of(path), f"{knob.name}: {setting}")

    def test_names_of_files(self):
        self.assertEqual(slug("P is packed: Q, K^T"), "p_is_packed_q_k_t")

    def test_settings_on_the_command_line(self):
        space = toy_space(2)
        self.assertEqual(space.settings_in_words("k1: 3"), ("0", "3"))
        self.assertEqual(space.settings_in_words("k1: 3; k0: 2"), ("2", "3"))
        for words, why in (("k1: 9", "is no setting"), ("k9: 1", "is no setting"), ("", "are no settings"),
                           ("k1", "are no settings"), ("k1: 3; x", "are no settings")):
            with self.assertRaisesRegex(BadInput, why):
                space.settings_in_words(words)


class Searches(unittest.TestCase):
    def test_both_make_as_many_trials_as_they_may_and_none_twice(self):
        searches = both(toy_space(), 1)
        run_searches(searches, 70, evaluate)
        for one in searches:
            self.assertEqual(one.counted(), 70)
            self.assertEqual(len({trial.settings for trial in one.trials}), 70)

    def test_a_seed_says_what_is_drawn(self):
        runs = []
        for seed in (1, 1, 2):
            searches = both(toy_space(), seed)
            run_searches(searches, 40, evaluate)
            runs.append([trial.settings for one in searches for trial in one.trials])
        self.assertEqual(runs[0], runs[1])
        self.assertNotEqual(runs[0], runs[2])

    def test_evolution_finds_more_than_chance_where_settings_count_by_themselves(self):
        wins = 0
        for seed in range(20):
            searches = both(toy_space(), seed)
            run_searches(searches, 96, evaluate)
            evolved, drawn = (min(trial.time_us() for trial in one.trials) for one in searches)
            wins += evolved < drawn
        self.assertGreaterEqual(wins, 18)

    def test_the_same_code_counts_once(self):
        def evaluate_blind(trials):  # to all knobs but the first two
            for trial in trials:
                trial.verdict, trial.digest = "right", " ".join(trial.settings[:2])
                trial.notes["median_us"] = 1.0
            for one in searches:
                one.mark_same_code()
        searches = both(toy_space(3), 1)
        run_searches(searches, 16, evaluate_blind)
        for one in searches:
            counted = [trial for trial in one.trials if trial.counts()]
            self.assertEqual(len(counted), 16)
            self.assertEqual(len({trial.digest for trial in counted}), 16)
            same = [trial for trial in one.trials if trial.verdict == "same code"]
            self.assertTrue(same)
            for trial in same:
                self.assertEqual(one.trials[trial.notes["same_as"]].digest, trial.digest)

    def test_what_does_not_compile_is_no_trial(self):
        def evaluate_half(trials):
            evaluate(trials)
            for trial in trials:
                if trial.settings[0] in "01":
                    trial.verdict, trial.digest, trial.notes = "does not compile", None, {"why": "error"}
        searches = both(toy_space(), 1)
        run_searches(searches, 32, evaluate_half)
        for one in searches:
            self.assertEqual(one.counted(), 32)
            self.assertGreater(len(one.trials), 40)

    def test_a_space_that_is_used_up_ends_the_search(self):
        searches = both(toy_space(2, 3), 1)
        run_searches(searches, 50, evaluate)
        for one in searches:
            self.assertEqual(one.counted(), 9)


class Runs(unittest.TestCase):
    """Of run_both, with a stand-in for compiler and GPU."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.out = self.folder / "log.jsonl"
        self.partial = self.folder / "log.jsonl.partial"
        self.text = "toy"
        self.space = toy_space()
        self.nvcc = "13.0.88"
        self.timed = 0
        self.interrupt_at = None
        self.wrong = lambda settings: False

    def compile(self, build, source, space, trial, folder):
        trial.digest = " ".join(trial.settings)
        trial.program = "program"
        trial.notes.update(kernels=[trial.digest])

    def check(self, space, trial):
        trial.verdict = "wrong" if self.wrong(trial.settings) else "right"
        trial.notes.update({"why": "off"} if trial.verdict == "wrong" else {"max_abs_error": 0.0})

    def time(self, space, trial):
        self.timed += 1
        if self.timed == self.interrupt_at:
            raise KeyboardInterrupt
        return {"median_us": toy_time(trial.settings)}

    def run_both(self, budget=40, resume=False, beside=()):
        source = types.SimpleNamespace(path=self.folder / "toy.cu", targets={})
        with unittest.mock.patch.multiple(search, source_of=lambda *_: source, compile_trial=self.compile,
                                          check_trial=self.check, time_trial=self.time,
                                          nvcc_version=lambda _: self.nvcc), \
             unittest.mock.patch.object(search.machine, "gpu", lambda: "a GPU, 1.2"), \
             unittest.mock.patch.object(self.space.__class__, "texts", lambda *_: {"toy.cu": self.text}), \
             contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as errors:
            done = search.run_both(self.space, self.folder, budget, 1, self.out, 2, "command", resume, beside)
        self.errors = errors.getvalue()
        return done

    def test_a_log_has_everything(self):
        best = ("1",) * 8
        self.assertTrue(self.run_both(beside=[best]))
        self.assertFalse(self.partial.exists())
        whole = log.read_log(self.out)
        self.assertEqual([len(whole.counted(name)) for name in ("evolution", "random")], [40, 40])
        self.assertEqual(whole.finders(" ".join(best))[-1], "by hand")
        digests = [row["digest"] for row in whole.finals]
        self.assertEqual(len(digests), len(set(digests)))
        self.assertIn(" ".join(self.space.as_it_is()), digests)
        for name in ("evolution", "random"):
            fastest = min(whole.counted(name), key=lambda row: row["median_us"])
            self.assertIn(fastest["digest"], digests)
        for row in whole.finals:
            self.assertEqual(row["rounds_us"], [toy_time(row["digest"].split())] * search.ROUNDS)
        self.assertIn("| by hand | k0: 1; k1: 1;", log.tables(whole))

    def test_a_resumed_search_is_the_one_that_was_not_interrupted(self):
        self.assertTrue(self.run_both())
        uninterrupted = self.out.read_text()
        self.interrupt_at = self.timed // 2
        self.timed = 0
        self.out.unlink()
        with self.assertRaises(KeyboardInterrupt):
            self.run_both()
        self.assertFalse(self.out.exists())
        self.assertTrue(self.partial.exists())
        before, self.timed, self.interrupt_at = self.timed, 0, None
        self.assertTrue(self.run_both(resume=True))
        self.assertLess(self.timed, 2 * before)
        self.assertEqual(self.out.read_text(), uninterrupted)

    def test_an_interrupted_search_is_not_overwritten_nor_mixed(self):
        self.interrupt_at = 60
        with self.assertRaises(KeyboardInterrupt):
            self.run_both()
        self.interrupt_at = None
        with self.assertRaisesRegex(BadInput, "continue it with --resume"):
            self.run_both()
        self.nvcc = "12.9"
        with self.assertRaisesRegex(BadInput, "its nvcc was 13.0.88, this is 12.9"):
            self.run_both(resume=True)
        self.nvcc = "13.0.88"
        self.text = "changed"
        with self.assertRaisesRegex(BadInput, "its texts was"):
            self.run_both(resume=True)

    def test_trials_that_are_wrong_count_and_are_not_timed(self):
        self.wrong = lambda settings: settings[0] == "1"
        self.assertTrue(self.run_both())
        whole = log.read_log(self.out)
        wrong = [row for row in whole.trials if row["verdict"] == "wrong"]
        self.assertTrue(wrong)
        self.assertTrue(all("median_us" not in row and row["why"] == "off" for row in wrong))
        self.assertEqual(len(whole.counted("random")), 40)

    def test_a_wrong_source_or_a_wrong_choice_by_hand_ends_it(self):
        for wrong, words in ((self.space.as_it_is(), "the source as it is: wrong: off"),
                             (("1",) * 8, "'k7': '1'}: wrong: off")):
            self.wrong = lambda settings: settings == wrong
            self.assertFalse(self.run_both(beside=[("1",) * 8]))
            self.assertIn(words, self.errors)
            self.assertFalse(self.out.exists())

    def test_refusals(self):
        with self.assertRaisesRegex(BadInput, "fewer than 16"):
            self.run_both(budget=15)
        with self.assertRaisesRegex(BadInput, "no .*log.jsonl.partial to continue"):
            self.run_both(resume=True)


class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, rows):
        path = self.folder / "log.jsonl"
        records.write_rows(path, rows)
        return path

    def test_a_trial_comes_back_from_its_row(self):
        space = toy_space()
        trial = Trial("random", ("1",) + ("0",) * 7, "right", "abc",
                      notes={"median_us": 3.0, "kernels": ["k"]})
        self.assertEqual(Trial.of_row(trial.row(space), space), trial)

    def test_what_is_no_log_or_a_part_of_one_is_refused(self):
        logs = sorted((RESULTS / "search").glob("*.jsonl"))
        self.assertTrue(logs)
        context, source, rows = log.read_rows(logs[0])
        whole = [context, source, *rows]
        for part, words in (([], "no log"), ([{}], "no log"), (whole[:1], "no log"),
                            ([context, *rows], "no log"), (whole[:2], "not the whole log"),
                            ([row for row in whole if "rounds_us" not in row], "not the whole log")):
            with self.assertRaisesRegex(BadInput, words):
                log.read_log(self.write(part))

    def test_tables_are_fresh(self):
        folder = RESULTS / "search"
        self.assertEqual((folder / "README.md").read_text(), log.document(sorted(folder.glob("*.jsonl"))),
                         "run python3 common/tools search table docs/results/search/*.jsonl "
                         "--out docs/results/search/README.md")

    def test_the_first_error_of_a_compiler(self):
        self.assertEqual(first_error("a\nx.cu(3): error: bad\nerror: worse\n"), "error: bad")
        self.assertEqual(first_error("a\nKilled\n"), "Killed")
        self.assertEqual(first_error(""), "no reason given")


class Reanchoring(unittest.TestCase):
    def test_a_source_that_moved_and_lost_a_place(self):
        old = "a();\nb();\nc();\nd();\ne();\nf();\ng();\n"
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        space = ToySpace("toy", "toy", "", (), (Knob("k", ("is", "x", "y")),), pathlib.Path(folder.name))
        (space.folder / "toy").mkdir()
        for setting, gone in (("x", "b();\n"), ("y", "f();\n")):
            made = patches.make("stages/05_tuned/before.cu", old, old.replace(gone, ""))
            space.patch_of(space.knobs[0], setting).write_text(patches.unified(made, f"k: {setting}"))
        new = "new();\n" + old.replace("f();", "other();").replace("d();", "other();")
        with unittest.mock.patch.object(ToySpace, "texts", lambda *_: {space.target: new}), \
             contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertFalse(search.reanchor(space))
        self.assertIn("k_y.patch: hunk 1 no longer applies", out.getvalue())
        self.assertIn("1 hunks without a place", out.getvalue())
        hunks = patches.read(space.patch_of(space.knobs[0], "x"))
        self.assertEqual(patches.apply(hunks, {space.target: new})[space.target], new.replace("b();\n", ""))


class Checks(unittest.TestCase):
    def test_a_wrong_setting_is_seen(self):
        headline = search.load("headline")
        source = headline.texts()[headline.target]
        scale = "float exponent_scale = p.scale * kLog2e;"
        self.assertEqual(source.count(scale), 1)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        planted = Space("headline", headline.variant, "", headline.checked[:1],
                        (Knob("scale", ("as it is", "wrong", "no text")),), pathlib.Path(folder.name))
        (planted.folder / "headline").mkdir()
        for setting, text in (("wrong", scale.replace("p.scale", "2 * p.scale")),
                              ("no text", "exponent_scale;")):
            made = patches.make(headline.target, source, source.replace(scale, text))
            planted.patch_of(planted.knobs[0], setting).write_text(patches.unified(made))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertFalse(search.check_neighbours(planted, BUILD.resolve(), 2))
        verdicts = [line.split("  ")[0] for line in out.getvalue().splitlines()]
        self.assertEqual(verdicts, ["right", "wrong", "does not compile"])


class CommandLine(unittest.TestCase):
    def test_list(self):
        _, listed, _ = outcome("search", "list", "long_rows")
        space = search.load("long_rows")
        self.assertEqual([line.split(": ")[0] for line in listed.splitlines()[:-1]],
                         [knob.name for knob in space.knobs])
        self.assertIn(f"{space.size():,} programs", listed.splitlines()[-1])


if __name__ == "__main__":
    unittest.main()
