"""Records of planted faults, and who catches what, in Markdown."""

from .. import records
from ..records import NULL, OR

TOOLS = ["memcheck", "racecheck", "synccheck", "initcheck"]
PLAIN_RUNS = 3  # on a GPU, where a race may go either way

ROW = {"stage": str, "file": str, "line": int, "without": str, "statement?": str, "shape": str, "plain": str}
PLACES = OR([str], NULL)  # null where a tool was not run
GPU_ROW = {**ROW, "mended": bool, "killed?": [str], "last_shape?": bool, **{tool: PLACES for tool in TOOLS}}
CLEAN = {str: {str: {tool: [str] for tool in TOOLS}}}  # by variant and shape
ON_GPU = {"commit": str, "device": str, "cuda": str, "sanitizer": str, "clean": CLEAN}
EMULATED = records.Kind("record of `faults emulated`",
                        {"commit": str, "device": str, "rows": [{**ROW, "checked": str}]}, "rows")
GPU = records.Kind("record of `faults gpu`", {**ON_GPU, "rows": [GPU_ROW]}, "rows")


def by_statement(record):
    """Rows by their place among a file's statements of a kind: commits that only moved lines share it."""
    rows = {}
    for row in sorted(record["rows"], key=lambda row: row["line"]):
        rows.setdefault((row["stage"], row["file"], row["without"]), []).append(row)
    return rows


def pairs_of(emulated, gpu):
    """Each row of the emulated device's record with the GPU's row, or None. A kind of statement has none in a
    file where the two commits have another number of them, or other ones: which is which cannot be told."""
    on_gpu = by_statement(gpu) if gpu else {}
    for kind, rows in by_statement(emulated).items():
        others = on_gpu.get(kind, [])
        same = len(others) == len(rows) and all(
            row.get("statement") == other.get("statement", row.get("statement"))
            for row, other in zip(rows, others))
        yield from zip(rows, others if same else [None] * len(rows))


def gpu_cells(row):
    """What a GPU's row of the table says: of the plain runs, and of the tools."""
    return [row["plain"], ", ".join(tool for tool in TOOLS if row[tool])]


def gpu_notes(gpu, planted):
    mended, untried, rest = [], [], []
    for row in planted:
        if row["plain"] or any(row[tool] for tool in TOOLS):
            continue
        (mended if row["mended"] else rest if row.get("last_shape", True) else untried).append(row)
    notes = [f"GPU: {gpu['device']} (driver), CUDA {gpu['cuda']}, compute-sanitizer {gpu['sanitizer']}, "
             f"commit `{gpu['commit'][:12]}`; `faults gpu`, {PLAIN_RUNS} plain runs each, and no tool where "
             "the first does not end."]
    noisy = sorted({f"{tool} on {variant}" for variant, shapes in gpu["clean"].items()
                    for tools in shapes.values() for tool in TOOLS if tools[tool]})
    notes.append("A tool counts where it reports a place (of a race, a pair of places) that it does not "
                 "report of the unchanged variant too. Of unchanged ones there are reports by "
                 f"{', '.join(noisy)}." if noisy else "No tool reports anything of the unchanged variants.")
    notes.append(f"Of the {len(mended) + len(untried) + len(rest)} that nobody caught on the GPU, nvcc "
                 f"mended {len(mended)} (`*`): it sees registers of a `wgmma` used without the fence or the "
                 "wait, and puts one in or runs the products one by one.")
    if untried:
        notes.append(f"{len(untried)} of the others were not tried at the last of their shapes there.")
    return notes


def document(emulated, gpu):
    """Markdown: who catches what, mutant by mutant; `gpu` may be None."""
    columns = ["emulated, plain", "emulated, `--check-memory`"]
    columns += ["GPU, plain", "compute-sanitizer"] if gpu else []
    lines, planted, caught = [], [0] * len(columns), [0] * len(columns)
    pairs = sorted(pairs_of(emulated, gpu),
                   key=lambda pair: (pair[0]["stage"], pair[0]["file"], pair[0]["line"], pair[0]["without"]))
    for row, other in pairs:
        cells = [row["plain"], row["checked"]]
        if gpu:
            cells += gpu_cells(other) if other else [None, None]
        planted = [count + (cell is not None) for count, cell in zip(planted, cells)]
        caught = [count + bool(cell) for count, cell in zip(caught, cells)]
        mark = " `*`" if other and other["mended"] else ""
        lines.append(f"| `{row['stage']}/{row['file']}:{row['line']}` | {row['without']}{mark} | " +
                     " | ".join("not planted" if cell is None else cell or "-" for cell in cells) + " |")
    lines.append(f"| **{len(pairs)} faults** | | " +
                 " | ".join(f"**{count} caught**" if of == len(pairs) else f"**{count} of {of} caught**"
                            for count, of in zip(caught, planted)) + " |")
    shapes = ", ".join(f"`{shape}`" for shape in sorted({row["shape"] for row in emulated["rows"]}))
    notes = ["Lines are those of the commits named here. Emulated device: commit "
             f"`{emulated['commit'][:12]}`, `faults emulated`. Shapes: {shapes}."]
    if gpu:
        paired = [other for _, other in pairs if other]
        notes += gpu_notes(gpu, paired)
        if planted[-1] < len(pairs):
            notes.append("Not planted: the GPU's record has no such statement or kind of fault, or has "
                         "others of it in that file, so that which is which cannot be told.")
        if len(paired) < len(gpu["rows"]):
            notes.append(f"Of the GPU's record {len(gpu['rows']) - len(paired)} are not here, for the same "
                         "reasons.")
    heading = ["# Planted faults, and who catches them", "",
               "Each row is a copy of a stage's kernels without one statement that orders or waits. Made by "
               "`python3 common/tools faults table` from the records beside this file; not edited by hand.",
               "",
               "| planted in | without | " + " | ".join(columns) + " |",
               "| --- | --- |" + " --- |" * len(columns)]
    return "\n".join([*heading, *lines, "", *(line for note in notes for line in (note, ""))])
