"""The catalogue of faults: patches beside this file, and the statements of the stages that they take away.

<stage>.patch has a hunk for each statement that orders or waits, in the last variant of the stage that has
it, but for those of left_out.patch, whose notes say why they are not planted. Faults of other kinds are in
by_hand.patch. A hunk's note says what the fault lacks, and may name a shape that shows it: "without 64-bit
offsets | --heads 1 --seq-kv 9".
"""

import dataclasses
import pathlib

from .. import patches, records, sources
from ..errors import BadInput, Failed

FAULTS = pathlib.Path(__file__).resolve().parent
LEFT_OUT, BY_HAND = "left_out.patch", "by_hand.patch"

# What orders or waits: functions that are called as a statement, and what a fault without one lacks.
STATEMENTS = {
    "__syncthreads": "a block barrier",
    "__syncwarp": "a warp barrier",
    "cp_async_wait_group": "a wait for copies",
    "cp_async_wait_all": "a wait for copies",
    "__pipeline_wait_prior": "a wait for copies",
    "bar_sync": "a named barrier",
    "bar_arrive": "an arrival",
    "fence_mbarrier_init": "an mbarrier's fence",
    "mbarrier_arrive": "an mbarrier's arrival",
    "mbarrier_arrive_expect_tx": "an mbarrier's arrival",
    "mbarrier_arrive_cluster": "an mbarrier's arrival",
    "mbarrier_wait": "an mbarrier's wait",
    "fence_proxy_async": "a proxy fence",
    "cp_async_bulk_wait_group": "a wait for stores",
    "cp_async_bulk_wait_group_read": "a wait for stores",
    "wgmma_fence": "a wgmma fence",
    "wgmma_wait_group": "a wait for wgmma",
    "cluster_arrive": "a cluster's arrival",
    "cluster_arrive_relaxed": "a cluster's arrival",
    "cluster_wait": "a cluster's wait",
    "griddepcontrol_wait": "a wait for the launch before",
}
# A statement of two variants is the same where so many tokens before it are, or as many after it.
CONTEXT_TOKENS = 4

REMARK = """Faults of {stage}: each hunk takes away one statement that orders or waits, in the last variant
that has it. Written by `python3 common/tools faults generate`; not edited by hand."""


@dataclasses.dataclass(frozen=True)
class Statement:
    """One that orders or waits, and where it stands."""
    path: pathlib.Path
    without: str
    begin: int    # its tokens
    end: int
    places: tuple  # it with the tokens before it, and with those after it

    def span(self, tokens):
        """Where its text begins and ends."""
        return tokens[self.begin].start, patches.end_of(tokens[self.end - 1])


def statements_of(path):
    """Those of a file, in order."""
    tokens = patches.tokens_of(path.read_text())[0]
    texts = patches.texts_of(tokens)
    for i, text in enumerate(texts):
        if text not in STATEMENTS:
            continue
        begin = i - 2 if texts[i - 2:i] == ["attention", "::"] else i
        follows = texts[begin - 1] if begin else "{"
        if follows not in (";", "{", "}", ")", ":", "else") and not tokens[begin - 1].is_directive():
            continue  # a declaration, or a part of an expression
        end = i + 1
        if texts[end] == "<":
            end = closing(texts, end, "<", ">") + 1
        if texts[end] != "(":
            continue
        end = closing(texts, end, "(", ")") + 1
        if texts[end] == ";":
            places = (("before", *texts[max(0, begin - CONTEXT_TOKENS):end]),
                      ("after", *texts[begin:end + 1 + CONTEXT_TOKENS]))
            yield Statement(path, STATEMENTS[text], begin, end + 1, places)


def closing(texts, at, opens, closes):
    """The index of what closes the bracket at `at`."""
    depth = 0
    for i in range(at, len(texts)):
        depth += (texts[i] == opens) - (texts[i] == closes)
        if depth == 0:
            return i
    return len(texts) - 1


def files_of(folder):
    """A stage's sources in the order of its ladder; a header is before the last variant that includes it."""
    kernels = sources.kernels_of(folder)
    headers = [header for header in sources.headers_of(folder) if header.suffix == ".cuh"]

    def order(path):
        kernel = sources.compiled_in(path)
        return (kernels.index(kernel) if kernel else -1, path.suffix == ".cu", path.name)
    return sorted([*kernels, *(header for header in headers if sources.compiled_in(header))], key=order)


def last_statements(folder):
    """Every ordering statement of a stage, once: where the last variant has it."""
    by_file = [list(statements_of(path)) for path in files_of(folder)]
    for i, found in enumerate(by_file):
        later = {place for others in by_file[i + 1:] for statement in others for place in statement.places}
        yield from (statement for statement in found if later.isdisjoint(statement.places))


def without(statement, source):
    """The source without the statement. The `;` stays where the next statement would become an `if`'s."""
    tokens = patches.tokens_of(source)[0]
    begin, end = statement.span(tokens)
    line_begin, line_end = source.rfind("\n", 0, begin) + 1, source.find("\n", end)
    line_end = len(source) if line_end < 0 else line_end
    follows = tokens[statement.begin - 1].text if statement.begin else "{"
    rest = patches.tokens_of(source[end:line_end])[0]
    if follows in (";", "{", "}") and not source[line_begin:begin].strip() and not rest:
        return source[:line_begin] + source[line_end + 1:]
    return source[:begin] + ";" + source[end:]


def written(path, folder):
    """The path as seen from the folder that holds stages/."""
    return path.relative_to(folder.parents[1]).as_posix()


def generated(folder, left_out):
    """The hunks for one stage, as patches.make() returns them."""
    hunks = []
    for statement in last_statements(folder):
        source = statement.path.read_text()
        if covered(statement, source, left_out, folder):
            continue
        made = patches.make(written(statement.path, folder), source, without(statement, source))
        begin, end = statement.span(patches.tokens_of(source)[0])
        for hunk in made:
            hunk[1].note = f"without {statement.without}: {' '.join(source[begin:end].split())}"
        hunks += made
    return sorted(hunks, key=lambda hunk: hunk[1].path)


def covered(statement, source, hunks, folder):
    """Whether one of the hunks takes the statement away."""
    for hunk in hunks:
        if hunk.path == written(statement.path, folder):
            try:
                place = patches.place_of(hunk, source)
            except patches.Stale:
                continue
            change = hunk.changes[0]
            if place + change.begin <= statement.begin and statement.end - 1 <= place + change.end:
                return True
    return False


def generate(stages=sources.STAGES, out=FAULTS):
    """Writes a patch for each stage, removes those of stages that are gone; prints their hunks' number."""
    left_out = read_left_out(out)
    total = 0
    for folder in sources.stage_folders(stages):
        hunks, path = generated(folder, left_out), out / f"{folder.name}.patch"
        total += len(hunks)
        print(f"{len(hunks):4} {folder.name}")
        if hunks:
            records.write_text(path, patches.unified(hunks, REMARK.format(stage=folder.name)))
        elif path.exists():
            path.unlink()
    names = [folder.name for folder in sources.stage_folders(stages)]
    for path in out.glob("*.patch"):
        if path.name not in (LEFT_OUT, BY_HAND) and path.stem not in names:
            path.unlink()
    print(f"{total:4} faults")
    return 0


def read_left_out(out):
    return patches.read(out / LEFT_OUT) if (out / LEFT_OUT).exists() else []


def faults(out=FAULTS):
    """All faults, in ladder order, those by hand last."""
    paths = sorted(path for path in out.glob("*.patch") if path.name not in (LEFT_OUT, BY_HAND))
    if (out / BY_HAND).exists():
        paths.append(out / BY_HAND)
    return [hunk for path in paths for hunk in patches.read(path)]


def complaints(stages, out):
    """A line for each hunk that does not apply, for each statement that is neither planted nor left out."""
    planted, left_out = faults(out), read_left_out(out)
    sources_by_path = {}
    for folder in sources.stage_folders(stages):
        for path in [*sources.kernels_of(folder), *sources.headers_of(folder)]:
            sources_by_path[written(path, folder)] = path.read_text()
    seen = {}
    for hunk in planted + left_out:
        if hunk in planted and not hunk.note.startswith("without "):
            yield f"{hunk}: its note does not begin with 'without'"
        try:
            changed = patches.apply([hunk], sources_by_path)[hunk.path]
        except BadInput as reason:
            yield str(reason)
            continue
        first = seen.setdefault((hunk.path, changed), hunk)
        if first is not hunk:
            yield f"{hunk} is the same as {first}"
    for folder in sources.stage_folders(stages):
        for statement in last_statements(folder):
            source = statement.path.read_text()
            if not covered(statement, source, planted + left_out, folder):
                begin, end = statement.span(patches.tokens_of(source)[0])
                yield (f"{written(statement.path, folder)}:{patches.line_of(source, begin)}: neither planted "
                       f"nor left out: {' '.join(source[begin:end].split())}")


def check(stages=sources.STAGES, out=FAULTS):
    found = list(complaints(stages, out))
    for line in found:
        print(line)
    if found:
        raise Failed(f"{len(found)} places where patches and sources do not agree; `python3 common/tools "
                     f"faults generate` writes all but {LEFT_OUT} and {BY_HAND} anew")
    print(f"{len(faults(out))} faults apply, {len(read_left_out(out))} statements are left out")
    return 0
