"""A stage's program with other text in some of its kernel sources, made by the build's own commands.

The build itself stays as it was. Needs CMake's Ninja generator and CMAKE_EXPORT_COMPILE_COMMANDS=ON, as the
presets make. Each kernel source stages/<stage>/<stem>.cu is a library of its own, kernels_<stage>_<stem>.
"""

import dataclasses
import pathlib
import re
import shlex
import subprocess

from . import records
from .errors import BadInput
from .machine import printed
from .sources import headers_of

COMMANDS = records.Kind("list of compile commands", [{"command": str, "file": str, "directory": str}])


class DoesNotCompile(Exception):
    """The compiler's or linker's words."""


def first_error(words):
    """Of what a compiler or linker printed."""
    error = re.search(r"error.*", words)
    return error[0] if error else (words.strip().splitlines() or ["no reason given"])[-1]


@dataclasses.dataclass
class Source:
    """A kernel source of a stage, and the libraries of the build that it is in."""
    stage: str
    path: pathlib.Path
    targets: dict  # flavour, "plain" or "traced" -> the entry of compile_commands.json

    def name(self):
        return f"{self.stage}/{self.path.name}"

    def library(self):
        return f"kernels_{self.stage}_{self.path.stem}"

    def texts(self):
        """What may be changed: the source and the stage's headers, by their names."""
        return {path.name: path.read_text() for path in (self.path, *headers_of(self.path.parent))}


def sources_of(build):
    """All kernel sources of all stages."""
    if not (build / "compile_commands.json").is_file():
        raise BadInput(f"{build} is no build folder of this project: it has no compile_commands.json")
    found = {}
    for command in records.read(build / "compile_commands.json", COMMANDS):
        path = pathlib.Path(command["file"])
        in_stage = re.search(r"/stages/(\d\d_\w+)/(\w+)\.cu$", command["file"])
        if not in_stage:
            continue
        stage, stem = in_stage.groups()
        library = re.search(rf"/kernels_{stage}_{stem}(_traced)?\.dir/", command["command"])
        if library:
            source = found.setdefault((stage, path), Source(stage, path, {}))
            source.targets["traced" if library[1] else "plain"] = command
    if not found:
        raise BadInput(f"{build} builds no stage's kernels")
    return [found[key] for key in sorted(found)]


def is_emulated(source):
    return "traced" in source.targets


def call(command, folder):
    result = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise DoesNotCompile(result.stdout)
    return result.stdout


def compile_copy(source, texts, flavour, folder, options=()):
    """Compiles the source with `texts` in place of the files of these names; returns its object, the build's,
    which it stands for, and what the compiler printed."""
    command = source.targets[flavour]
    arguments = shlex.split(command["command"])
    # All headers of the stage: an #include in quotes is looked for beside the file that has it.
    for name, text in {**source.texts(), **texts}.items():
        (folder / name).write_text(text)
    out = folder / flavour / "copy.o"
    out.parent.mkdir()
    original = arguments[arguments.index("-o") + 1]
    arguments[arguments.index("-o") + 1] = str(out)
    copy = str(folder / source.path.name)
    arguments = [copy if a == str(source.path) else a for a in arguments]
    words = call([*arguments, "-I", str(source.path.parent), "-w", *options], command["directory"])
    return out, original, words


def link(build, target, out, replace):
    """Links `target` again by the build's own command, with some of its inputs replaced, as `out`."""
    listing = printed(["ninja", "-C", build, "-t", "commands", target])
    arguments = shlex.split(listing.splitlines()[-1].removeprefix(": && ").removesuffix(" && :"))
    arguments[arguments.index("-o") + 1] = str(out)
    linked = [new for a in arguments for new in replace.get(a, [a])]
    if linked == arguments:
        raise BadInput(f"{build}: {target} is linked to no object file of the kernel source that was changed")
    call(linked, build)


def emulated_libraries(build, source, texts, folder):
    """Makes the source's library anew in both flavours; returns where the dynamic linker finds each first."""
    paths = {}
    for flavour in ("plain", "traced"):
        copy, original, _ = compile_copy(source, texts, flavour, folder)
        name = f"lib{source.library()}.so"
        link(build, f"lib/traced/{name}" if flavour == "traced" else f"lib/{name}", copy.parent / name,
             {original: [str(copy)]})
        paths[flavour] = str(copy.parent)
    # The program's other libraries must be traced too.
    paths["traced"] += f":{build / 'lib' / 'traced'}"
    return paths


def gpu_program(build, source, texts, folder, options=()):
    """Makes the stage's program anew in `folder`; returns it and what the compiler printed."""
    copy, original, words = compile_copy(source, texts, "plain", folder, options)
    archive = f"{original.split('/CMakeFiles/')[0]}/lib{source.library()}.a"
    program = folder / source.stage
    # In front of the archive, whose member is then not needed.
    link(build, f"bin/{source.stage}", program, {archive: [str(copy), archive]})
    return program, words
