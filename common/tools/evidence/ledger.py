"""The ledger: what proves each technique of each variant, and what it bought, as tables in Markdown files.

A file says where with a pair of lines, `<!-- evidence: 02_tiled -->` (one stage) or `<!-- evidence: all -->`,
and `<!-- /evidence -->`; what is between them is written here.
"""

import re

from .. import records
from ..errors import BadInput
from ..records import NUMBER
from .checkers import Refuted, check

# The roadmap's numbers.
NUMBERS = {
    "custom_kernel": 1, "coalesced_access": 2, "shared_memory_tiling": 3, "wide_loads": 4,
    "no_bank_conflicts": 5, "l2_persistence": 6, "wmma": 7, "fp16_accumulation": 8, "double_buffering": 9,
    "warp_specialization": 10, "fusion": 11, "cp_async": 12, "xor_swizzle": 13, "multi_stage_pipeline": 14,
    "multi_kernel": 15, "cluster_reduction": 15, "programmatic_dependent_launch": 16, "graphs": 16,
    "streams": 16, "wgmma": 17, "tma": 17, "setmaxnreg": 17, "tuned_by_search": 18,
}

HEADLINE = "B1_H8_S512_D64"
RESULTS = records.Kind("record of `bench`",
                       {"context": {"gpu": str}, "benchmarks": [{"name": str, "real_time?": NUMBER}]},
                       "benchmarks")


def digits(microseconds):
    """Three of them, as the tables of times have: 0.604, 13.6, 1252."""
    return f"{microseconds:.{max(0, 3 - len(str(int(microseconds))))}f}"


class Times:
    """Medians of the first recorded results, a call in a chain at the headline shape."""

    def __init__(self, root):
        self.of = {}
        self.source = None
        for path in sorted((root / "docs" / "results").glob("*.json"))[:1]:
            results = records.read(path, RESULTS)
            self.source = f"{results['context']['gpu']}, `docs/results/{path.name}`"
            for benchmark in results["benchmarks"]:
                stage, variant, *way = [*benchmark["name"].split("/"), ""][:4]
                if way == [HEADLINE, "chain"] and "real_time" in benchmark:
                    self.of[f"{stage}/{variant}"] = benchmark["real_time"]

    def effect(self, variant, before):
        if variant.stage.name == "harness":
            return ""
        now = self.of.get(str(variant))
        if now is None:
            return "not measured yet"
        then = self.of.get(str(before))
        return f"{digits(then)} to {digits(now)} us" if then else f"{digits(now)} us"


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |\n"


def heading(*cells):
    return row(*cells) + row(*["---"] * len(cells))


def proof(technique, variant):
    """The quote, or None. Tables are made where everything can be proven."""
    try:
        # Doxygen takes what follows `::` for a name to link to, even in code.
        return re.sub(r"`([^`]*?)::[^`]*`", r"`\1...`", check(technique, variant))
    except Refuted:
        return None


def undeclared(variant, techniques):
    return [(technique, quote) for technique in techniques if technique not in variant.techniques
            for quote in [proof(technique, variant)] if quote]


def stage_table(variants, stage, techniques, times):
    text = heading("variant", "technique", "proof", "from the row before")
    for i, variant in enumerate(variants):
        if variant.stage is not stage:
            continue
        before = variants[i - 1] if i else None
        same_stage = before and before.stage is stage
        old = before.techniques if same_stage else []
        rows = [(f"`{technique}`", proof(technique, variant) or "**none**") for technique in techniques
                if technique in variant.techniques and technique not in old]
        gone = [f"`{technique}`" for technique in old if technique not in variant.techniques]
        if gone:
            rows.append(("no longer " + ", ".join(gone), ""))
        rows += [(f"`{technique}`, not declared", quote)
                 for technique, quote in undeclared(variant, techniques)]
        if not rows:
            rows = [("those of the variant before", "")]
        for j, (technique, quote) in enumerate(rows):
            first = (f"`{variant.name}`", times.effect(variant, before)) if j == 0 else ("", "")
            text += row(first[0], technique, quote, first[1])
    return text


def whole_table(variants, techniques, times):
    text = heading("#", "technique", "where it comes in", "proof", "from the variant before", "proven too of")
    for technique in techniques:
        users = [i for i, variant in enumerate(variants) if technique in variant.techniques]
        # Where the variant before, in the same stage, does not have it.
        first = [i for i in users if i - 1 not in users or variants[i - 1].stage is not variants[i].stage]
        # Stages that start with what they have from others add nothing to the table.
        adds = [i for i in first if i == users[0] or i and variants[i - 1].stage is variants[i].stage]
        if not users:
            text += row(NUMBERS[technique], f"`{technique}`", "no stage yet",
                        "its checker believes `common/tools/evidence/examples`", "", "")
        for j, i in enumerate(adds):
            variant, before = variants[i], variants[i - 1] if i else None
            others = ", ".join(f"`{variants[k]}`" for k in users if k not in adds) if j == 0 else ""
            text += row(NUMBERS[technique] if j == 0 else "", f"`{technique}`" if j == 0 else "",
                        f"`{variant}`",
                        proof(technique, variant) or "**none**", times.effect(variant, before), others)
    return text


def where_from(tools, variants, times):
    shape = variants[0].counted_problem()["shape"]
    return (f"\nMachine code and launches: {tools['nvcc']} for sm_90a, headline shape. Counts: emulated "
            f"device at {shape}, kernels compiled by {tools['compiler']}. Times: "
            f"{times.source or 'none recorded'}. Written by `python3 common/tools evidence report "
            "--update`.\n")


def documents(root):
    return sorted([*(root / "stages").glob("*/README.md"), *(root / "book").glob("*.md")])


BLOCK = re.compile(r"(<!-- evidence: (\w+) -->\n)(.*?)(<!-- /evidence -->)", re.S)


def write(root, stages, techniques, tools, update):
    """Yields a line for each file that was updated, or is stale."""
    missing_number = [technique for technique in techniques if technique not in NUMBERS]
    if missing_number:
        raise BadInput(f"ledger.py has no number for {', '.join(missing_number)}")
    variants = [variant for name in sorted(stages) for variant in stages[name].variants]
    times = Times(root)

    def block(match, path):
        name = match[2]
        if name != "all" and name not in stages:
            raise BadInput(f"{path.relative_to(root)}: no evidence is called '{name}'; there is all, "
                           f"{', '.join(stages)}")
        table = whole_table(variants, techniques, times) if name == "all" \
            else stage_table(variants, stages[name], techniques, times)
        return match[1] + table + where_from(tools, variants, times) + match[4]

    written = set()
    for path in documents(root):
        markdown = path.read_text()
        if markdown.count("<!-- evidence: ") != len(BLOCK.findall(markdown)):
            raise BadInput(f"{path.relative_to(root)}: an evidence block is not closed")
        written.update(match[1] for match in BLOCK.findall(markdown))
        fresh = BLOCK.sub(lambda match: block(match, path), markdown)
        if fresh != markdown:
            if update:
                path.write_text(fresh)
            yield path.relative_to(root)
    for name in ["all", *(name for name in stages if name != "harness")]:
        if name not in written:
            raise BadInput(f"no page has the evidence of '{name}': a line `<!-- evidence: {name} -->` and "
                           "one `<!-- /evidence -->` say where it goes")


def tools_of_tables(root):
    """The compilers that the written tables name."""
    found = set()
    for path in documents(root):
        for match in BLOCK.findall(path.read_text()):
            found.update(re.findall(r"launches: (.*?) for sm_90a.*compiled by (.*?)\. Times", match[2]))
    return found
