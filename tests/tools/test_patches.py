#!/usr/bin/env python3
"""Patches are found by tokens, in one place or not at all."""

import pathlib
import subprocess
import tempfile
import unittest

from context import ROOT
from tools import patches
from tools.errors import BadInput

SOURCE = """// A kernel.
__global__ void kernel(float* o, int n) {
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    o[i] = float(i);  // widened
  }
  __syncthreads();
  o[n] = 1.f;
}
"""
REMOVED = """the second barrier
--- a/stages/s/k.cu
+++ b/stages/s/k.cu
@@ -6,4 +6,3 @@ without a barrier
   }
-  __syncthreads();
   o[n] = 1.f;
 }
"""
PATH = "stages/s/k.cu"


def texts_of(source):
    return patches.texts_of(patches.tokens_of(source)[0])


class Patches(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def read(self, text, name="a.patch"):
        path = self.folder / name
        path.write_text(text)
        return patches.read(path)

    def apply(self, text, source=SOURCE):
        return patches.apply(self.read(text), {PATH: source})[PATH]

    def assert_same_code(self, one, other):
        self.assertEqual(texts_of(one), texts_of(other))


class Tokens(unittest.TestCase):
    def test_white_space_line_breaks_and_comments_do_not_count(self):
        for a, b in (("a + b", "a\n  +b  // sum"), ("f(x); /* why */ g();", "f(x);\ng();"),
                     ("A<B<int> > c;", "A<B<int>> c;"), ("#pragma  unroll // all\nx", "#pragma unroll\nx"),
                     ("  #define A 1 + \\\n   2\nx", "#define A 1 + 2\nx")):
            self.assertEqual(texts_of(a), texts_of(b))

    def test_what_the_compiler_tells_apart_is_told_apart(self):
        for a, b in (("a + + b", "a ++ b"), ("int x", "intx"), ('"a b"', '"a  b"'), ("x", "#x"),
                     ("1 .f", "1.f"),
                     ('R"(a  // b)"', 'R"(a)"'), ("'a'", "'b'")):
            self.assertNotEqual(texts_of(a), texts_of(b))

    def test_every_source_comes_back_whole(self):
        for path in [*ROOT.glob("stages/*/*.cu"), *ROOT.glob("common/include/attention/*")]:
            source = path.read_text()
            tokens, gap = patches.tokens_of(source)
            self.assertEqual("".join(token.gap + token.raw for token in tokens) + gap, source, path)


class Applying(Patches):
    def test_a_hunk_takes_what_it_says(self):
        self.assertEqual(self.apply(REMOVED), SOURCE.replace("  __syncthreads();\n  o[n]", "  o[n]"))

    def test_it_survives_a_formatter(self):
        formatted = SOURCE.replace("float* o, int n", "float *o,\n                       int n").replace(
            "  o[n] = 1.f;\n}", "  // the last\n  o[n]=1.f; }").replace("  }\n  __", "  }\n\n  __")
        self.assertNotEqual(formatted, SOURCE)
        self.assert_same_code(self.apply(REMOVED, formatted), self.apply(REMOVED))

    def test_the_rest_of_the_file_is_left_alone(self):
        changed = self.apply(REMOVED)
        self.assertIn("// widened", changed)
        self.assertTrue(changed.startswith("// A kernel.\n"))

    def test_one_that_is_in_no_place_or_in_several_no_longer_applies(self):
        for text, source, words in (
                (REMOVED, SOURCE.replace("1.f", "2.f"),
                 r"no place like it; at line 9 it has '2.f' in place of '1.f'"),
                (REMOVED, SOURCE[:-2], r"no place like it, which ends within it"),
                (REMOVED, "", r"no place like it$"),
                (REMOVED, SOURCE + SOURCE, "2 places like it, at lines 7, 17")):
            with self.assertRaisesRegex(patches.Stale, words) as raised:
                self.apply(text, source)
            self.assertRegex(str(raised.exception),
                             r"a\.patch: hunk 1 \(without a barrier\) no longer applies")
            self.assertIn(PATH, str(raised.exception))

    def test_a_file_that_is_gone(self):
        with self.assertRaisesRegex(patches.Stale, "there is no stages/s/k.cu"):
            patches.apply(self.read(REMOVED), {"stages/s/other.cu": SOURCE})

    def test_one_may_stand_in_the_context_of_another(self):
        first = patches.unified(patches.make(PATH, SOURCE, SOURCE.replace("float(i)", "2 * float(i)")))
        second = patches.unified(patches.make(PATH, SOURCE, SOURCE.replace("i < 4", "i < 8")))
        hunks = self.read(first, "first.patch") + self.read(second, "second.patch")
        self.assertEqual(patches.apply(hunks, {PATH: SOURCE})[PATH],
                         SOURCE.replace("float(i)", "2 * float(i)").replace("i < 4", "i < 8"))

    def test_two_that_change_the_same_do_not_go_together(self):
        hunks = [hunk for i in "56" for hunk in self.read(
            patches.unified(patches.make(PATH, SOURCE, SOURCE.replace("i < 4", f"i < {i}"))), f"{i}.patch")]
        with self.assertRaisesRegex(BadInput, r"5\.patch.*6\.patch.* do not go together"):
            patches.apply(hunks, {PATH: SOURCE})

    def test_what_comes_into_one_place_comes_in_order(self):
        hunks = [hunk for i in "12" for hunk in self.read(
            patches.unified(patches.make(PATH, SOURCE, SOURCE.replace("  o[n]", f"  f({i});\n  o[n]"))), i)]
        self.assert_same_code(patches.apply(hunks, {PATH: SOURCE})[PATH],
                              SOURCE.replace("  o[n]", "  f(1); f(2); o[n]"))

    def test_tokens_do_not_run_together_and_directives_have_lines(self):
        for source, old, new in (("a=b;", "a", "int a"), ("x;for(;;){}", "for", "\n#pragma unroll\nfor"),
                                 ("a+b", "+b", "+ +b"), ("#if X\na;\n#endif\n", "a;\n", "")):
            made = patches.make(PATH, source, source.replace(old, new, 1))
            hunks = self.read(patches.unified(made))
            self.assert_same_code(patches.apply(hunks, {PATH: source})[PATH], source.replace(old, new, 1))


class Reading(Patches):
    def test_remarks_and_notes(self):
        hunk, = self.read(REMOVED)
        self.assertEqual((hunk.path, hunk.note, hunk.number), (PATH, "without a barrier", 1))
        self.assertEqual(patches.remark_of(self.folder / "a.patch"), "the second barrier")

    def test_an_empty_line_may_have_lost_its_blank(self):
        source = "a;\n\nb;\n"
        text = f"--- a/{PATH}\n+++ b/{PATH}\n@@ -1,3 +1,2 @@\n a;\n\n-b;\n"
        self.assert_same_code(self.apply(text, source), "a;")

    def test_what_is_no_patch_is_refused_by_name_and_line(self):
        head = f"--- a/{PATH}\n+++ b/{PATH}\n"
        for text, words in (("", "is no patch: it has no hunk"), ("hello\n", "is no patch"),
                            (head, "is no patch"), ("@@ -1 +1 @@\n-a\n+b\n", "a.patch:1: no file is named"),
                            (head + "@@ what @@\n", "a.patch:3: no hunk's header"),
                            (head + "@@ -1,2 +1 @@\n-a\n", "last hunk has fewer lines"),
                            (head + "@@ -1 +1 @@\n-a\n-b\n", "a.patch:5: the hunk has more lines"),
                            (head + "@@ -1 +1 @@\n*a\n", "a.patch:4: neither"),
                            (head + "@@ -1 +1 @@\n-a\n+b\nc\n", "a.patch:6: neither a hunk nor a file"),
                            (head + "@@ -1 +1 @@\n-a\n+a // why\n", "changes nothing"),
                            (head.replace("b/", "b/other/"), "a.patch:2: a patch changes files")):
            with self.assertRaisesRegex(BadInput, words):
                self.read(text)


class Writing(Patches):
    def test_what_is_made_applies_and_is_ordinary(self):
        changed = SOURCE.replace("i < 4", "i < 8").replace("1.f;", "2.f;\n  o[0] = 0.f;")
        text = patches.unified(patches.make(PATH, SOURCE, changed), "a remark")
        self.assertEqual(self.apply(text), changed)
        target = self.folder / PATH
        target.parent.mkdir(parents=True)
        target.write_text(SOURCE)
        subprocess.run(["git", "apply", "a.patch"], cwd=self.folder, check=True)
        self.assertEqual(target.read_text(), changed)

    def test_context_grows_until_the_place_is_the_only_one(self):
        source = "".join(f"void f{i}() {{\n  a();\n  b();\n  c();\n  d();\n  e();\n}}\n" for i in range(3))
        changed = source[:source.index("f2")] + source[source.index("f2"):].replace("  c();\n", "", 1)
        self.assertEqual(self.apply(patches.unified(patches.make(PATH, source, changed)), source), changed)

    def test_a_place_that_moved_is_found_again_with_less_context(self):
        hunk, = self.read(REMOVED)
        moved = SOURCE.replace("  o[n] = 1.f;\n}", "  o[n] = 1.f;\n  f();\n}")
        with self.assertRaises(patches.Stale):
            patches.place_of(hunk, moved)
        begin, fitted = patches.fitted(hunk, {"stages/s/new.cu": moved, "stages/s/other.cu": "int x;"})
        self.assertEqual((fitted.path, fitted.note, begin), ("stages/s/new.cu", "without a barrier", 6))
        self.assert_same_code(patches.apply([fitted], {"stages/s/new.cu": moved})["stages/s/new.cu"],
                              moved.replace("  __syncthreads();\n  o[n]", "  o[n]"))
        for texts in ({PATH: "int x;"}, {PATH: SOURCE, "other": SOURCE}):
            with self.assertRaisesRegex(patches.Stale, "nor with less context"):
                patches.fitted(hunk, texts)


if __name__ == "__main__":
    unittest.main()
