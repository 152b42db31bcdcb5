#!/usr/bin/env python3
"""The recorded log of a search proves tuning by search; with any one thing about it wrong it does not."""

import copy
import pathlib
import sys
import types
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import checkers
from checkers import Refuted
from facts import Missing

CLUSTER_PDL = types.SimpleNamespace(name="cluster_pdl", stage=types.SimpleNamespace(name="05_tuned", nvcc=""))


def best_final(rows):
    return min((row for row in rows if "final" in row), key=lambda row: min(row["rounds_us"]))


class SearchLog(unittest.TestCase):
    def setUp(self):
        self.rows = checkers.search_log(CLUSTER_PDL)
        self.by_digest = {row["digest"]: row for row in self.rows if "kernels" in row}
        self.nvcc = f"nvcc {self.rows[0]['nvcc']}"
        self.kernels = self.by_digest[best_final(self.rows)["digest"]]["kernels"]

    def outcome(self, rows):
        variant = types.SimpleNamespace(
            name="cluster_pdl", stage=types.SimpleNamespace(name="05_tuned", nvcc=self.nvcc),
            kernels=lambda: [types.SimpleNamespace(digest=code) for code in self.kernels])
        original, checkers.search_log = checkers.search_log, lambda _: rows
        try:
            return checkers.found_and_logged(variant)
        finally:
            checkers.search_log = original

    def refuted(self, words, change):
        rows = copy.deepcopy(self.rows)
        change(rows)
        with self.assertRaisesRegex(Refuted, words):
            self.outcome(rows)

    def trials(self, rows, search):
        return [row for row in rows if row.get("search") == search]

    def test_as_it_was_recorded(self):
        self.assertRegex(self.outcome(self.rows), r"\d+ trials and as many at random")

    def test_one_program_under_two_names(self):
        for search in ("evolution", "random"):
            self.refuted(f"{search}: .* trials are .* programs",
                         lambda rows: self.trials(rows, search)[3].update(digest=self.trials(rows, search)[2]["digest"]))

    def test_a_trial_without_a_time_or_without_a_check(self):
        for missing in ("median_us", "max_abs_error"):
            self.refuted("nobody timed", lambda rows: self.trials(rows, "random")[5].pop(missing))

    def test_fewer_trials_at_random(self):
        self.refuted("at random to hold them against", lambda rows: rows.remove(self.trials(rows, "random")[0]))

    def test_few_trials(self):
        def few(rows):
            rows[:] = rows[:2] + self.trials(rows, "evolution")[:9] + self.trials(rows, "random")[:9]
        self.refuted("^9 trials", few)

    def test_no_last_rounds(self):
        self.refuted("not timed again", lambda rows: rows.__setitem__(slice(None), [r for r in rows if "final" not in r]))

    def test_another_kernel(self):
        self.kernels = ["0" * 64]
        self.refuted("none of the log's", lambda rows: None)

    def test_a_slower_kernel(self):
        self.kernels = self.rows[1]["kernels"]  # what the search began with
        self.refuted("the best of the log", lambda rows: None)

    def test_another_compiler_cannot_tell(self):
        self.nvcc = "nvcc 12.9.1"
        with self.assertRaises(Missing):
            self.outcome(self.rows)

    def test_no_log(self):
        with self.assertRaisesRegex(Refuted, "no log"):
            checkers.search_log(types.SimpleNamespace(name="wgmma", stage=CLUSTER_PDL.stage))


if __name__ == "__main__":
    unittest.main()
