"""What is known of each variant: read from a build folder's evidence/, where CMakeLists.txt has put it."""

import functools
import hashlib
import json
import pathlib
import re

from .. import machine, programs, records
from ..errors import BadInput
from ..machine_code import code_sections
from ..records import NUMBER, OR

NO_NVCC = "no nvcc of the CUDA Toolkit 13, so no machine code and no launches"

CALL = {"shape": str, "heads": int, "seq_q": int, "seq_kv": int, "head_dim": int}
COUNTERS = {str: NUMBER}
KERNEL = {"kernel": str, "launches": int, "blocks": int, "total": COUNTERS, "warps": [COUNTERS],
          "events": [list]}
COUNTED = {**CALL, "workspace_bytes": int, "kernels": [KERNEL], "k": int, "v": int, "kv_bytes": int}
RECORDED = {"calls": [{"call": str}]}
UNSUPPORTED = {"unsupported": str}


def kind_of(call):
    return records.Kind("record of the target evidence_facts", {"techniques": [str], "stages": [{
        "name": str, "variants": [{"name": str, "techniques": [str], "extra_roundings": NUMBER,
                                   "calls": [OR(UNSUPPORTED, call)]}]}]}, "stages")


KINDS = {"counted": kind_of(COUNTED), "recorded": kind_of(RECORDED)}


class Missing(Exception):
    """This machine lacks a tool that makes the fact: nobody can say."""


class Inapplicable(Exception):
    """No tool makes this fact of this variant: proof has to come from elsewhere."""


class Kernel:
    """One kernel's machine code for sm_90a."""

    def __init__(self, name, short_name, ptx, sass, code, spilled_bytes, arrays):
        self.name = name
        self.short_name = short_name
        self.ptx = ptx
        self.sass = sass  # None without a disassembler
        # The instructions as the chip reads them: no names; addresses of code and variables are filled in
        # when loaded.
        self.digest = hashlib.sha256(code).hexdigest()
        self.spilled_bytes = spilled_bytes
        self.arrays = arrays  # variables in global memory that the code names


class Variant:
    def __init__(self, stage, name):
        self.stage = stage
        self.name = name
        self.techniques = []
        self.extra_roundings = 0
        self.counted = []   # calls on the emulated device, a shape each
        self.recorded = []  # calls of nvcc's object files, a shape each

    def __str__(self):
        return f"{self.stage.name}/{self.name}"

    def counts(self):
        """The kernels of a call with what the emulated device counted for each."""
        call = self._call(self.counted, "the emulated device has counted nothing")
        return call["kernels"]

    def counted_problem(self):
        return self._call(self.counted, "the emulated device has counted nothing")

    def total(self, *counters):
        return sum(kernel["total"].get(counter, 0) for kernel in self.counts() for counter in counters)

    def calls(self):
        """What is asked of the CUDA runtime at each shape that the variant supports, in order."""
        self._call(self.recorded, NO_NVCC)
        return [call for call in self.recorded if "unsupported" not in call]

    def launches(self, call=None):
        call = call or self.calls()[0]
        return [event for event in call["calls"] if event["call"] == "launch"]

    def kernels(self, call=None):
        """The machine code of what a call launches, in order; of the headline shape unless told."""
        code = self.stage.code()
        return [code[launch["kernel"]] for launch in self.launches(call)]

    def fingerprint(self):
        """Equal for two variants exactly where they are the same machine code launched in the same way."""
        calls = []
        for call in self.recorded:
            events = [dict(event) for event in call.get("calls", [])]
            for event in events:
                if event["call"] == "launch":
                    event["kernel"] = self.stage.code()[event["kernel"]].digest
            calls.append(events)
        return hashlib.sha256(json.dumps(calls, sort_keys=True).encode()).hexdigest()

    @staticmethod
    def _call(calls, why_none):
        if not calls:
            raise Missing(why_none)
        supported = [call for call in calls if "unsupported" not in call]
        if not supported:
            raise Inapplicable(calls[0]["unsupported"])
        return supported[0]


class Stage:
    def __init__(self, name, sources, nvcc):
        self.name = name
        self.nvcc = nvcc  # "nvcc 13.0.88", "" where there is none
        self.sources = sources  # paths in the build folder that nvcc's files of each source begin with
        self.variants = []

    @functools.lru_cache(maxsize=None)
    def code(self):
        """Kernels by the names that they have in machine code."""
        if not self.sources:
            raise Missing(NO_NVCC)
        kernels = {}
        for source in self.sources:
            kernels.update(read_kernels(source))
        return kernels

    @functools.lru_cache(maxsize=None)
    def imports(self):
        """Functions that the stage's object files call and do not define."""
        if not self.sources:
            raise Missing(NO_NVCC)
        defined, undefined = set(), set()
        for line in machine.printed(["nm", "-P", *(f"{source}.o" for source in self.sources)]).splitlines():
            if line.endswith(":"):
                continue  # the name of an object file
            name, kind, *_ = line.split()
            (undefined if kind in "Uw" else defined).add(name)
        return sorted(undefined - defined)


def read_kernels(source):
    files = {kind: pathlib.Path(f"{source}.{kind}") for kind in ("cubin", "ptx", "ptxas", "sass")}
    ptx = records.read_text(files["ptx"])
    # From `.entry name(` to the next function: a closing brace does not tell, inline assembly has its own.
    bodies = dict(re.findall(r"^(?:\.visible )?\.entry (\w+)\((.*?)"
                             r"(?=^\.(?:visible|weak|extern|func|entry)|\Z)", ptx, re.S | re.M))
    spilled = dict(re.findall(r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores",
                              records.read_text(files["ptxas"]), re.S))
    code = code_sections(files["cubin"].read_bytes())
    sass = dict.fromkeys(code)
    if files["sass"].exists():
        sass = dict(re.findall(r"^\s*Function : (\w+)\n(.*?)(?=^\s*Function : |\Z)",
                               records.read_text(files["sass"]), re.S | re.M))
    if not set(code) == set(bodies) == set(spilled) == set(sass):
        raise BadInput(f"the files {source}.* are not of one compilation; build the target evidence_facts "
                       "again")
    arrays = re.findall(r"^\.(?:visible \.)?global [^;\n]* (\w+)\[\d+\]", ptx, re.M)
    return {name: Kernel(name, short_name(name), bodies[name], sass[name], code[name], int(spilled[name]),
                         [array for array in arrays if re.search(rf"\b{array}\b", bodies[name])])
            for name in code}


@functools.lru_cache(maxsize=None)
def short_name(mangled):
    """attention::wmma::scores_kernel<64, ...>(...) -> scores_kernel. The last name with its length."""
    at, names = mangled.find("N") + 1, []
    while match := re.match(r"\d+", mangled[at:]):
        start = at + match.end()
        names.append(mangled[start:start + int(match[0])])
        at = start + int(match[0])
    return names[-1] if names else mangled


def read(build):
    """The stages, with those of this folder itself, and the names of all techniques."""
    folder = build / "evidence"
    if not (folder / "counted.json").exists():
        raise BadInput(f"{folder} has no facts; build the target evidence_facts there")
    tools = programs.tools(build)
    stages, techniques = {}, []
    for name, kind in KINDS.items():
        path = folder / f"{name}.json"
        if not path.exists():
            continue
        facts = records.read(path, kind)
        techniques = facts["techniques"]
        for stage_facts in facts["stages"]:
            of_stage = stage_facts["name"]
            stage = stages.setdefault(of_stage, Stage(of_stage, tools["code"].get(of_stage), tools["nvcc"]))
            for variant_facts in stage_facts["variants"]:
                variant = next((v for v in stage.variants if v.name == variant_facts["name"]), None)
                if not variant:
                    variant = Variant(stage, variant_facts["name"])
                    variant.techniques = variant_facts["techniques"]
                    variant.extra_roundings = variant_facts["extra_roundings"]
                    stage.variants.append(variant)
                setattr(variant, name, variant_facts["calls"])
    return stages, techniques
