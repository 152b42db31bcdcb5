"""A build's programs, one per stage."""

import json
import os
import pathlib
import re
import tempfile

from . import records
from .errors import BadInput, Failed
from .machine import last_line, output, printed
from .sources import stage_folders

# Written when the build is configured (evidence/CMakeLists.txt): the compilers by name and version, nvcc ""
# where there is none, and where nvcc's files of each stage are.
TOOLS = records.Kind("list of compilers", {"nvcc": str, "compiler": str, "code": {str: [str]}})


def check_build(build):
    """The build folder, whole path."""
    if not (build / "CMakeCache.txt").is_file():
        raise BadInput(f"{build} is no build folder: it has no CMakeCache.txt")
    return build.resolve()


def is_emulated(build):
    return cached(build, "ATTENTION_DEVICE") == "emulated"


def cached(build, name):
    """A variable of CMake's cache, "" where it has none."""
    found = re.search(rf"^{name}:\w+=(.*)$", (build / "CMakeCache.txt").read_text(errors="replace"), re.M)
    return found[1] if found else ""


def compiler(build):
    """What compiles kernels for the emulated device: "GNU 12.2.0 for x86_64"."""
    return tools(build)["compiler"]


def tools(build):
    return records.read(build / "evidence" / "tools.json", TOOLS)


def make(build, *targets):
    code, text = output(["cmake", "--build", build, "--target", *targets], merge_stderr=True)
    if code != 0:
        errors = re.findall(r"(?i).*error.*", text)
        reason = errors[0] if errors else last_line(text)
        raise Failed(f"{build} does not build {' '.join(targets)}: {reason}")


def make_counting(build, stages):
    """The stages' programs, and the traced kernels that they count with."""
    if not is_emulated(build):
        raise BadInput(f"{build} is no build for the emulated device")
    make(build, *stages, *(f"traced_{stage}" for stage in stages))


def chosen_stages(wanted):
    """Those named, or all, in ladder order."""
    known = [folder.name for folder in stage_folders()]
    for stage in wanted or ():
        if stage not in known:
            raise BadInput(f"no stage is named '{stage}'; there is {', '.join(known)}")
    return [stage for stage in known if not wanted or stage in wanted]


def programs(build):
    """Those of the stages that are built."""
    bin_folder = build / "bin"
    found = sorted(path for path in bin_folder.glob("*")
                   if re.fullmatch(r"\d\d_\w+", path.name) and os.access(path, os.X_OK))
    if not found:
        raise BadInput(f"{build} has no stages' programs; build it first")
    return found


def variants(program):
    """Names as `--list` prints them: a line for the stage, then one indented line per variant."""
    return [line.split()[0] for line in printed([program, "--list"]).splitlines() if line.startswith("  ")]


def results(program, *options):
    """The results that a run writes, one per variant."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "results.json"
        code, text = output([program, "--json", out, *options], merge_stderr=True)
        if code != 0:
            kind = BadInput if code == 2 else Failed
            raise kind(f"{program.name} {' '.join(options)}: exit {code}: {last_line(text)}")
        return json.loads(out.read_text())
