"""The stages' kernel sources: a file per variant, in the order of the ladder, and the headers they share."""

import re

from .cli import ROOT

STAGES = ROOT / "stages"


def stage_folders(stages=STAGES):
    return sorted(path.parent for path in stages.glob("*/stage.cpp"))


def headers_of(folder):
    return sorted([*folder.glob("*.cuh"), *folder.glob("*.hpp")])


def variants_of(folder):
    """Names in the order of stage.cpp."""
    return re.findall(r"\.name = \"(\w+)\",", (folder / "stage.cpp").read_text())


def kernels_of(folder):
    """The .cu files, a variant's after that of the variant before it."""
    order = variants_of(folder)
    return sorted(folder.glob("*.cu"),
                  key=lambda path: (order.index(path.stem) if path.stem in order else -1, path.name))


def included(path):
    """The headers of its own folder that a source includes, in turn."""
    found, left = [], [path]
    while left:
        for name in re.findall(r'^#include "(\w+\.(?:cuh|hpp))"', left.pop().read_text(), re.M):
            header = path.parent / name
            if header.is_file() and header not in found:
                found.append(header)
                left.append(header)
    return sorted(found)


def compiled_in(path):
    """The .cu file in which to compile a file of a stage: itself, or the last variant that includes it."""
    if path.suffix == ".cu":
        return path
    users = [kernel for kernel in kernels_of(path.parent) if path in included(kernel)]
    return users[-1] if users else None
