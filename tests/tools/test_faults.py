#!/usr/bin/env python3
"""Tests of `faults` that need neither a build nor a device."""

import contextlib
import io
import json
import pathlib
import tempfile
import types
import unittest
import unittest.mock

from context import RESULTS
from tools import patches, sources
from tools.errors import BadInput, Failed
from tools.faults import catalogue, faults, table

RECORDS = RESULTS / "faults"


def row(line, without="a block barrier", statement="__syncthreads();", **more):
    return {"stage": "02_tiled", "file": "kernel.cu", "line": line, "without": without,
            "statement": statement,
            "shape": "", **more}


def on_emulated(line, plain="", checked="race on shared memory", **more):
    return row(line, plain=plain, checked=checked, **more)


def on_gpu(line, plain="wrong result", mended=False, **more):
    return row(line, plain=plain, mended=mended, **{tool: [] for tool in table.TOOLS}, **more)


def emulated_record(*rows):
    return {"commit": "0" * 40, "device": "emulated device", "rows": list(rows)}


def gpu_record(*rows):
    return {"commit": "1" * 40, "device": "a GPU", "cuda": "13.0", "sanitizer": "1", "clean": {},
            "rows": list(rows)}


def lines_of(emulated, gpu):
    return [(mine["line"], other and other["line"]) for mine, other in table.pairs_of(emulated, gpu)]


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
        text = table.document(emulated, gpu_record(on_gpu(10)))
        self.assertIn("| `02_tiled/kernel.cu:20` | a warp barrier | - | - | not planted | not planted |",
                      text)
        self.assertIn("| **2 faults** | | **0 caught** | **1 caught** | **1 of 1 caught** | **0 of 1 "
                      "caught** |", text)
        self.assertIn("Not planted: ", text)
        whole = table.document(emulated_record(on_emulated(10)), gpu_record(on_gpu(10)))
        self.assertIn("| **1 faults** | | **0 caught** | **1 caught** | **1 caught** | **0 caught** |", whole)
        self.assertNotIn("Not planted: ", whole)
        self.assertNotIn("are not here", whole)

    def test_the_table_says_what_of_the_gpu_is_left_out(self):
        text = table.document(emulated_record(on_emulated(10)), gpu_record(on_gpu(10), on_gpu(20)))
        self.assertIn("Of the GPU's record 2 are not here", text)

    def test_the_recorded_table_is_that_of_the_records(self):
        emulated, gpu = (json.loads((RECORDS / name).read_text())
                         for name in ("emulated.json", "nvidia_h200.json"))
        self.assertEqual(table.document(emulated, gpu), (RECORDS / "README.md").read_text())


class CutShort(unittest.TestCase):
    """A record of a GPU whose run was interrupted is continued."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.partial = pathlib.Path(folder.name) / "gpu.json.partial"
        self.planted = []
        source = types.SimpleNamespace(stage="02_tiled", path=pathlib.Path("kernel.cu"))
        self.mutants = [faults.Mutant(None, source, "kernel.cu", line, "a block barrier", "__syncthreads();",
                                      ["a shape"], "") for line in (3, 5, 8)]
        self.commit = "2" * 40
        for name, stand_in in (("gpu_context", self.context), ("variant_options", lambda *_: []),
                               ("gpu_build", lambda build, mutant, folder: (None, False)),
                               ("gpu_clean", lambda *_: set()), ("gpu_outcome", self.outcome)):
            patch = unittest.mock.patch.object(faults, name, stand_in)
            patch.start()
            self.addCleanup(patch.stop)

    def context(self):
        return {"commit": self.commit, "device": "a GPU", "cuda": "13.0", "sanitizer": "1"}

    def outcome(self, program, mutant, *_):
        if mutant.line == self.fails_at:
            raise InterruptedError
        self.planted.append(mutant.line)
        return {**mutant.row("a shape"), "plain": "", **{tool: [] for tool in table.TOOLS}}

    def record(self, resume, fails_at=None):
        self.fails_at = fails_at
        with contextlib.redirect_stdout(io.StringIO()):
            return faults.record_gpu(None, self.mutants, 1, "", self.partial, resume)

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
        self.commit = "3" * 40
        with self.assertRaisesRegex(BadInput, "its commit was 2222"):
            self.record(True)

    def test_half_a_line_is_none(self):
        self.record(False)
        whole = self.partial.read_text()
        self.partial.write_text(whole[:-5])
        self.record(True)
        self.assertEqual(len(self.planted), 4, "the last was planted again")
        self.assertEqual(self.partial.read_text(), whole)


HEADER = """#pragma once
inline __device__ void wait_for_tile(int n) {
  mbarrier_wait(&full, n % 2);
}
"""
FIRST = """#include "ring.cuh"
__global__ void kernel(int n) {
  load(0);
  __syncthreads();  // the tile is there
  if (n > 0) __syncwarp();
  use(0);
  attention::cp_async_wait_group<0>();
  store(0);
}
"""
# The step: another wait, and a fence more; the rest stays.
SECOND = FIRST.replace("<0>();\n  store(0);", "<1>();\n  fence_proxy_async();\n  tma_store(\n      0);")
STAGE = """{.name = "second_comes_last",},
{.name = "first",},
{.name = "second",},
"""


class Catalogue(unittest.TestCase):
    """Of a stage of two variants and a header."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.stages, self.out = pathlib.Path(folder.name) / "stages", pathlib.Path(folder.name) / "faults"
        self.out.mkdir()
        self.stage = self.stages / "02_ring"
        self.stage.mkdir(parents=True)
        for name, text in (("stage.cpp", STAGE), ("ring.cuh", HEADER), ("first.cu", FIRST),
                           ("second.cu", SECOND)):
            (self.stage / name).write_text(text)

    def generate(self):
        with contextlib.redirect_stdout(io.StringIO()):
            catalogue.generate(self.stages, self.out)
        return [(hunk.path.split("/")[-1], hunk.note) for hunk in catalogue.faults(self.out)]

    def complaints(self):
        return list(catalogue.complaints(self.stages, self.out))

    def change(self, name, old, new):
        path = self.stage / name
        self.assertEqual(path.read_text().count(old), 1)
        path.write_text(path.read_text().replace(old, new))

    def test_each_statement_is_planted_once_where_the_last_variant_has_it(self):
        self.assertEqual(self.generate(), [
            ("first.cu", "without a wait for copies: attention::cp_async_wait_group<0>();"),
            ("ring.cuh", "without an mbarrier's wait: mbarrier_wait(&full, n % 2);"),
            ("second.cu", "without a block barrier: __syncthreads();"),
            ("second.cu", "without a warp barrier: __syncwarp();"),
            ("second.cu", "without a wait for copies: attention::cp_async_wait_group<1>();"),
            ("second.cu", "without a proxy fence: fence_proxy_async();")])
        self.assertEqual(self.complaints(), [])

    def test_one_statement_is_gone_and_an_if_governs_nothing_else(self):
        self.generate()
        texts = {f"stages/02_ring/{name}": (self.stage / name).read_text()
                 for name in ("first.cu", "second.cu", "ring.cuh")}
        changed = {hunk.note: patches.apply([hunk], texts)[hunk.path] for hunk in catalogue.faults(self.out)}
        for note, old, new in (("a block barrier: __syncthreads();",
                                "  __syncthreads();  // the tile is there\n", ""),
                               ("a warp barrier: __syncwarp();", "__syncwarp();", ";")):
            self.assertEqual(patches.texts_of(patches.tokens_of(changed[f"without {note}"])[0]),
                             patches.texts_of(patches.tokens_of(SECOND.replace(old, new))[0]))

    def test_words_in_comments_declarations_and_expressions_are_no_statements(self):
        self.stage.joinpath("words.cu").write_text(
            "// __syncthreads();\n/* bar_sync(1, 2); */\n__device__ void cluster_wait();\n__device__ void "
            "bar_arrive(int) {}\nint x = mbarrier_arrive(b);\nconst char* s = \"__syncwarp();\";\n")
        self.assertEqual(list(catalogue.statements_of(self.stage / "words.cu")), [])

    def test_a_reformatted_source_needs_no_new_patches(self):
        self.generate()
        self.change("second.cu", "  if (n > 0) __syncwarp();",
                    "  if (n > 0)\n    __syncwarp(  );  // all lanes")
        self.assertEqual(self.complaints(), [])

    def test_a_new_statement_and_one_that_is_gone_are_named(self):
        self.generate()
        self.change("second.cu", "  use(0);", "  use(0);\n  use(1);\n  bar_sync(1, 64);")
        self.change("ring.cuh", "mbarrier_wait(&full, n % 2)", "mbarrier_wait(&full, n & 1)")
        found = "\n".join(self.complaints())
        self.assertRegex(found, r"second\.cu:8: neither planted nor left out: bar_sync\(1, 64\);")
        self.assertRegex(found, r"02_ring\.patch: hunk 2 .* no longer applies: stages/02_ring/ring\.cuh")
        with self.assertRaises(Failed), contextlib.redirect_stdout(io.StringIO()):
            catalogue.check(self.stages, self.out)

    def test_what_is_left_out_is_not_planted(self):
        self.generate()
        hunk = next(hunk for hunk in catalogue.faults(self.out) if "warp barrier" in hunk.note)
        hunk.note = "another barrier does as much"
        (self.out / catalogue.LEFT_OUT).write_text(patches.unified([(0, hunk)]))
        self.assertEqual(len(self.generate()), 5)
        self.assertEqual(self.complaints(), [])

    def test_faults_by_hand(self):
        self.generate()
        made = patches.make("stages/02_ring/first.cu", FIRST, FIRST.replace("use(0)", "use(1)"),
                            "without the right tile | --heads 3")
        (self.out / catalogue.BY_HAND).write_text(patches.unified(made))
        self.assertEqual(self.complaints(), [])
        self.assertEqual(self.generate()[-1], ("first.cu", "without the right tile | --heads 3"))
        self.assertEqual(faults.words_of("without the right tile | --heads 3"),
                         ("the right tile", "", ["--heads 3"]))
        self.assertEqual(faults.words_of("without a barrier: f<0>();"), ("a barrier", "f<0>();", []))

    def test_a_fault_twice_or_with_a_note_of_another_kind(self):
        self.generate()
        made = patches.make("stages/02_ring/first.cu", FIRST, FIRST.replace("use(0)", "use(1)"), "use(1)")
        (self.out / catalogue.BY_HAND).write_text(patches.unified([*made, *made]))
        found = "\n".join(self.complaints())
        self.assertIn("its note does not begin with 'without'", found)
        self.assertRegex(found, "by_hand.patch: hunk 2 .* is the same as .*by_hand.patch: hunk 1")

    def test_a_stage_that_is_gone_takes_its_patch_along(self):
        (self.out / "01_gone.patch").write_text("")
        self.generate()
        self.assertFalse((self.out / "01_gone.patch").exists())

    def test_a_header_is_compiled_in_the_last_variant_that_includes_it(self):
        self.assertEqual(sources.compiled_in(self.stage / "ring.cuh").name, "second.cu")
        self.change("second.cu", '#include "ring.cuh"\n', "")
        self.assertEqual(sources.compiled_in(self.stage / "ring.cuh").name, "first.cu")


if __name__ == "__main__":
    unittest.main()
