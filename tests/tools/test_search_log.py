#!/usr/bin/env python3
"""The recorded log of a search proves tuning by search; with any one thing about it wrong it does not."""

import copy
import hashlib
import types
import unittest

import context  # noqa: F401
from tools.evidence import checkers
from tools.evidence.checkers import Refuted
from tools.evidence.facts import Missing

CLUSTER_PDL = types.SimpleNamespace(name="cluster_pdl", stage=types.SimpleNamespace(name="05_tuned", nvcc=""))


def finals(rows):
    return [row for row in rows if "rounds_us" in row]


def digest_of(kernels):
    return hashlib.sha256("".join(kernels).encode()).hexdigest()


class SearchLog(unittest.TestCase):
    def setUp(self):
        self.rows = checkers.search_log(CLUSTER_PDL)
        self.nvcc = f"nvcc {self.rows[0]['nvcc']}"
        self.best = min(finals(self.rows), key=lambda row: sorted(row["rounds_us"])[2])
        self.kernels = next(row["kernels"] for row in self.rows if row.get("digest") == self.best["digest"])

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
        def twin(rows):
            first, second = self.trials(rows, search)[2:4]
            second.update(digest=first["digest"], kernels=first["kernels"])
        for search in ("evolution", "random"):
            self.refuted(f"{search}: 96 trials are 95 programs", twin)

    def test_the_same_settings_under_two_digests(self):
        def twin(rows):
            first, second = self.trials(rows, "random")[2:4]
            second.update(settings=first["settings"])
        self.refuted("random: 96 trials have 95 settings", twin)

    def test_a_digest_out_of_thin_air(self):
        for change in ({"digest": "0" * 64}, {"kernels": []}):
            self.refuted("not of its kernels", lambda rows: self.trials(rows, "random")[5].update(change))

    def test_a_trial_without_a_time_or_without_a_check(self):
        for change in ({"median_us": 0}, {"max_abs_error": float("nan")}):
            self.refuted("nobody checked or timed",
                         lambda rows: self.trials(rows, "random")[5].update(change))
        for missing in ("median_us", "max_abs_error"):
            self.refuted("nobody checked or timed", lambda rows: self.trials(rows, "random")[5].pop(missing))

    def test_a_failure_without_a_reason(self):
        self.refuted("nobody says why", lambda rows: self.trials(rows, "random")[5].update(verdict="fails"))

    def test_fewer_trials_at_random(self):
        self.refuted("at random to hold them against",
                     lambda rows: rows.remove(self.trials(rows, "random")[0]))

    def test_few_trials(self):
        def few(rows):
            rows[:] = rows[:2] + self.trials(rows, "evolution")[:9] + self.trials(rows, "random")[:9]
        self.refuted("^9 trials", few)

    def test_no_last_rounds_or_few(self):
        def none(rows):
            rows[:] = [row for row in rows if "rounds_us" not in row]
        self.refuted("not timed again", none)
        self.refuted("fewer than 3 last rounds", lambda rows: finals(rows)[0].update(rounds_us=[3.0]))

    def test_who_is_left_out_of_the_last_rounds(self):
        def leave_out(digest):
            def change(rows):
                rows[:] = [row for row in rows if not ("rounds_us" in row and row["digest"] == digest)]
            return change
        for search in ("evolution", "random"):
            best = min(self.trials(self.rows, search), key=lambda row: row["median_us"])
            self.refuted(f"the best of {search} was not timed again", leave_out(best["digest"]))
        self.refuted("began with was not timed again", leave_out(self.rows[1]["digest"]))

    def test_another_kernel(self):
        self.kernels = ["0" * 64]
        self.refuted("none that the searches found", lambda rows: None)

    def test_the_kernel_that_the_search_began_with(self):
        self.kernels = self.rows[1]["kernels"]
        self.refuted("none that the searches found", lambda rows: None)

    def test_a_slower_kernel(self):
        slowest = max((row for row in finals(self.rows) if row["digest"] != self.rows[1]["digest"]),
                      key=lambda row: min(row["rounds_us"]))
        self.kernels = next(row["kernels"] for row in self.rows if row.get("digest") == slowest["digest"])
        self.refuted("the best of the log", lambda rows: None)

    def test_a_source_that_was_as_fast(self):
        def as_fast(rows):
            row, = (row for row in finals(rows) if row["digest"] == rows[1]["digest"])
            row.update(rounds_us=self.best["rounds_us"])
        self.refuted("the source before it", as_fast)

    def test_another_compiler_cannot_tell(self):
        self.nvcc = "nvcc 12.9.1"
        with self.assertRaises(Missing):
            self.outcome(self.rows)

    def test_no_log(self):
        with self.assertRaisesRegex(Refuted, "no log"):
            checkers.search_log(types.SimpleNamespace(name="wgmma", stage=CLUSTER_PDL.stage))


if __name__ == "__main__":
    unittest.main()
