#!/usr/bin/env python3
"""Tests of `fidelity` and `cost` that need neither a build nor a device."""

import json
import unittest
import unittest.mock

from context import RESULTS
from tools import cost, fidelity
from tools.errors import Failed

RECORDS = RESULTS / "fidelity"
VARIANT = "02_tiled/tiled"
STORES = f"{fidelity.INSTRUCTIONS_PASSES}st.sum"


def emulated_record(stores):
    counts = {metric: 0 for metric in fidelity.METRICS}
    return {"commit": "0" * 40, "options": [], "counts": {VARIANT: {**counts, STORES: stores}}}


def gpu_record(stores, by_unit):
    counts = {name: 0 for metric in fidelity.METRICS for _, name in fidelity.terms(metric)}
    counts |= {name: 0 for name in fidelity.BY_UNIT.values()}
    return {"commit": "1" * 40, "device": "a GPU, 1.0", "options": [], "counts": {
        VARIANT: {**counts, STORES: stores, fidelity.BY_UNIT["shared_store_wavefronts"]: by_unit}}}


class Compare(unittest.TestCase):
    def compare(self, emulated, gpu, by_unit, known=None):
        return fidelity.compare(emulated_record(emulated), gpu_record(gpu, by_unit), known or {})

    def test_one_percent_is_allowed_and_more_is_not(self):
        self.assertEqual(self.compare(990, 1000, 1000)["unexplained"], 0)
        self.assertEqual(self.compare(989, 1000, 1000)["unexplained"], 1)
        self.assertEqual(self.compare(1011, 1000, 1000)["unexplained"], 1)
        self.assertEqual(self.compare(1, 0, 0)["unexplained"], 1)

    def test_a_cause_is_of_this_counter(self):
        self.assertEqual(self.compare(2, 1, 1, {VARIANT: {"shared_store_wavefronts": "why"}})["unexplained"],
                         0)
        self.assertEqual(self.compare(2, 1, 1, {VARIANT: {"shared_load_wavefronts": "why"}})["unexplained"],
                         1)
        self.assertEqual(self.compare(2, 1, 1, {"03_wmma/*": {"*": "why"}})["unexplained"], 1)

    def test_what_the_unit_counts_is_recorded_and_not_compared(self):
        comparison = self.compare(1000, 1000, 1500)
        self.assertEqual(comparison["unexplained"], 0)
        self.assertEqual([row["by_unit"] for row in comparison["rows"]], [1500])

    def test_a_sum_of_metrics(self):
        self.assertEqual(fidelity.terms("a.sum - b.sum + c.sum"), [(1, "a.sum"), (-1, "b.sum"), (1, "c.sum")])


class Ncu(unittest.TestCase):
    def test_kernels_in_order_whatever_else_is_printed(self):
        printed = ('==PROF== Connected\ncase: stores beside nothing\n==PROF== Profiling "a"\n'
                   '"ID","Kernel Name","Metric Name","Metric Value"\n'
                   '"0","a","x.sum","1,024"\n"0","a","y.sum","7"\n"1","b","x.sum","3"\nready\n')
        self.assertEqual(fidelity.read_ncu_csv(printed), [{"x.sum": 1024, "y.sum": 7}, {"x.sum": 3}])

    def test_no_table(self):
        with self.assertRaises(Failed):
            fidelity.read_ncu_csv("==ERROR== no permission\n")

    def passes_of(self, printed):
        with unittest.mock.patch.object(fidelity.machine, "under_ncu", lambda *_: (printed, True)), \
             unittest.mock.patch.object(fidelity.machine, "gpu", lambda: "a GPU, 1.0"):
            return fidelity.count_passes("repeated_passes")["rows"]

    def test_each_case_has_its_kernel(self):
        kernels = "".join(f'"{i}","a","{metric}","{i}"\n' for i in range(2)
                          for metric in fidelity.PASSES.values())
        printed = ('case: stores beside nothing\ncase: none beside st.async from the other block\n'
                   '"ID","Kernel Name","Metric Name","Metric Value"\n' + kernels)
        rows = self.passes_of(printed)
        self.assertEqual([(row["access"], row["beside"], row["stores"]) for row in rows],
                         [("stores", "nothing", 0), ("none", "st.async from the other block", 1)])
        with self.assertRaises(Failed):
            self.passes_of(printed + "case: loads beside nothing\n")


class Records(unittest.TestCase):
    def read(self, name):
        return json.loads((RECORDS / name).read_text())

    def test_the_comparison_is_that_of_the_records(self):
        comparison = fidelity.compare(*(self.read(name)
                                        for name in ("emulated.json", "nvidia_h200.json", "known.json")))
        self.assertEqual(comparison, self.read("comparison.json"))
        self.assertEqual(comparison["unexplained"], 0)

    def test_the_table_is_that_of_the_records(self):
        self.assertEqual(fidelity.document(self.read("comparison.json"), self.read("passes.json")),
                         (RECORDS / "README.md").read_text())

    def test_the_table_of_costs_is_that_of_its_record(self):
        costs = RESULTS / "cost_of_emulation"
        self.assertEqual(cost.document(json.loads((costs / "cost.json").read_text())),
                         (costs / "README.md").read_text())

    def test_every_cause_is_needed(self):
        """An account of a counter that is not off says nothing any more."""
        used = {(row["variant"], row["counter"]) for row in self.read("comparison.json")["rows"]
                if row["cause"]}
        for key, causes in self.read("known.json").items():
            for counter in causes:
                of_key = [variant for variant, name in used
                          if counter in (name, "*") and key in (variant, variant.split("/")[0] + "/*", "*")]
                self.assertTrue(of_key, f"{key}: {counter}")

    def test_alone_every_pass_is_counted_once(self):
        """Nor does the unit count anything where no instruction loads or stores; and what is counted again
        writes no bank again, where it is known what the others write."""
        rows = {(row["access"], row["beside"]): row for row in self.read("passes.json")["rows"]}
        for access in ("stores", "loads"):
            alone = rows[access, "nothing"]
            self.assertEqual(alone[access], 2048)
            self.assertEqual(alone[f"{access}_by_unit"], 2048)
        self.assertTrue(any(("none", beside) in rows for access, beside in rows if access == "stores"))
        for (access, beside), row in rows.items():
            if access == "none":
                self.assertEqual((row["stores_by_unit"], row["loads_by_unit"]), (0, 0), beside)
            if access == "stores" and ("none", beside) in rows:
                self.assertGreater(row["stores_by_unit"], row["stores"], beside)
                self.assertEqual(row["banks_written"] - rows["none", beside]["banks_written"],
                                 rows["stores", "nothing"]["banks_written"]
                                 - rows["loads", "nothing"]["banks_written"], beside)


if __name__ == "__main__":
    unittest.main()
