#!/usr/bin/env python3
"""Tests of plant_faults.py that need neither a build nor a device."""

import contextlib
import io
import json
import pathlib
import sys
import tempfile
import types
import unittest
import unittest.mock

sys.dont_write_bytecode = True
HERE = pathlib.Path(__file__).resolve().parent
RECORDS = HERE.parents[1] / "docs" / "results" / "faults"
sys.path.insert(0, str(HERE))
import plant_faults


def row(line, without="a block barrier", statement="__syncthreads();", **more):
    return {"stage": "02_tiled", "file": "kernel.cu", "line": line, "without": without, "statement": statement,
            "shape": "", **more}


def on_emulated(line, plain="", checked="race on shared memory", **more):
    return row(line, plain=plain, checked=checked, **more)


def on_gpu(line, plain="wrong result", mended=False, **more):
    return row(line, plain=plain, mended=mended, **{tool: [] for tool in plant_faults.TOOLS}, **more)


def emulated_record(*rows):
    return {"commit": "0" * 40, "device": "emulated device", "rows": list(rows)}


def gpu_record(*rows):
    return {"commit": "1" * 40, "device": "a GPU", "cuda": "13.0", "sanitizer": "1", "clean": {}, "rows": list(rows)}


def lines_of(emulated, gpu):
    return [(mine["line"], other and other["line"]) for mine, other in plant_faults.pairs_of(emulated, gpu)]


class Records(unittest.TestCase):
    def test_statements_that_only_moved_are_the_same(self):
        emulated, gpu = emulated_record(on_emulated(30), on_emulated(10)), gpu_record(on_gpu(12), on_gpu(35))
        self.assertEqual(lines_of(emulated, gpu), [(10, 12), (30, 35)])

    def test_with_one_more_nobody_knows_which_is_which(self):
        emulated, gpu = emulated_record(on_emulated(10), on_emulated(30)), gpu_record(on_gpu(10))
        self.assertEqual(lines_of(emulated, gpu), [(10, None), (30, None)])

    def test_another_statement_of_the_kind_is_another(self):
        emulated = emulated_record(on_emulated(10, without="a named barrier", statement="bar_sync(1, 64);"))
        gpu = gpu_record(on_gpu(10, without="a named barrier", statement="bar_sync(2, 64);"))
        self.assertEqual(lines_of(emulated, gpu), [(10, None)])

    def test_a_record_without_statements_goes_by_their_number(self):
        old = on_gpu(12)
        del old["statement"]
        self.assertEqual(lines_of(emulated_record(on_emulated(10)), gpu_record(old)), [(10, 12)])

    def test_the_table_counts_what_was_planted(self):
        emulated = emulated_record(on_emulated(10), on_emulated(20, without="a warp barrier", checked=""))
        table = plant_faults.table(emulated, gpu_record(on_gpu(10)))
        self.assertIn("| `02_tiled/kernel.cu:20` | a warp barrier | - | - | not planted | not planted |", table)
        self.assertIn("| **2 faults** | | **0 caught** | **1 caught** | **1 of 1 caught** | **0 of 1 caught** |", table)
        self.assertIn("Not planted: ", table)
        whole = plant_faults.table(emulated_record(on_emulated(10)), gpu_record(on_gpu(10)))
        self.assertIn("| **1 faults** | | **0 caught** | **1 caught** | **1 caught** | **0 caught** |", whole)
        self.assertNotIn("Not planted: ", whole)
        self.assertNotIn("are not here", whole)

    def test_the_table_says_what_of_the_gpu_is_left_out(self):
        table = plant_faults.table(emulated_record(on_emulated(10)), gpu_record(on_gpu(10), on_gpu(20)))
        self.assertIn("Of the GPU's record 2 are not here", table)

    def test_the_recorded_table_is_that_of_the_records(self):
        emulated, gpu = (json.loads((RECORDS / name).read_text()) for name in ("emulated.json", "nvidia_h200.json"))
        self.assertEqual(plant_faults.table(emulated, gpu), (RECORDS / "README.md").read_text())


class CutShort(unittest.TestCase):
    """A record of a GPU whose run was interrupted is gone on with."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.partial = pathlib.Path(folder.name) / "gpu.json.partial"
        self.planted = []
        source = types.SimpleNamespace(stage="02_tiled", path=pathlib.Path("kernel.cu"), name=lambda: "")
        self.mutants = [plant_faults.Mutant(source, line, "a block barrier", "__syncthreads();", "")
                        for line in (3, 5, 8)]
        for name, stand_in in (("gpu_context", lambda: {"commit": "2" * 40}),
                               ("gpu_build", lambda build, mutant, folder: (None, False)),
                               ("gpu_clean", lambda *_: set()), ("gpu_outcome", self.outcome)):
            patch = unittest.mock.patch.object(plant_faults, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)

    def outcome(self, program, mutant, *_):
        if mutant.line == self.fails_at:
            raise InterruptedError
        self.planted.append(mutant.line)
        return {**mutant.row("a shape"), "plain": ""}

    def record(self, resume, fails_at=None):
        self.fails_at = fails_at
        with contextlib.redirect_stdout(io.StringIO()):
            return plant_faults.record_gpu(None, self.mutants, 1, "", self.partial, resume)

    def test_goes_on_with_what_is_left(self):
        with self.assertRaises(InterruptedError):
            self.record(False, fails_at=5)
        known = len(self.partial.read_text().splitlines()) - 1  # line 3, and 8 if it was under way
        self.assertIn(known, (1, 2))
        self.planted.clear()
        rows = self.record(True)["rows"]
        self.assertEqual(sorted(self.planted), [5, 8][:3 - known])
        self.assertEqual([row["line"] for row in rows], [3, 5, 8])

    def test_not_with_another_commit(self):
        self.record(False)
        with unittest.mock.patch.object(plant_faults, "gpu_context", lambda: {"commit": "3" * 40}):
            with self.assertRaises(SystemExit):
                self.record(True)

    def test_half_a_line_is_none(self):
        self.record(False)
        whole = self.partial.read_text()
        self.partial.write_text(whole[:-5])
        self.record(True)
        self.assertEqual(len(self.planted), 4, "the last was planted again")
        self.assertEqual(self.partial.read_text(), whole)


class Mutants(unittest.TestCase):
    def mutants(self, text):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "kernel.cu"
            path.write_text(text)
            return list(plant_faults.mutants_of(types.SimpleNamespace(stage="02_tiled", path=path)))

    def test_one_for_each_statement_and_only_that_one_is_gone(self):
        text = "a;\n__syncthreads();\nb;\nmbarrier_wait(&full,\n              0);\n__syncthreads();\n"
        mutants = self.mutants(text)
        self.assertEqual([(m.line, m.without, m.statement) for m in mutants],
                         [(2, "a block barrier", "__syncthreads();"), (6, "a block barrier", "__syncthreads();"),
                          (4, "an mbarrier's wait", "mbarrier_wait(&full, 0);")])
        self.assertEqual(mutants[0].text, text.replace("__syncthreads();", ";", 1))

    def test_none_for_words_in_a_comment(self):
        self.assertEqual(self.mutants("// __syncthreads();\n"), [])


if __name__ == "__main__":
    unittest.main()
