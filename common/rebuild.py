"""A stage's program with another text for one of its kernel sources, made by the build's own commands.

The build itself stays as it was. Needs CMake's Ninja generator and CMAKE_EXPORT_COMPILE_COMMANDS=ON, as the presets
make.
"""

import dataclasses
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess


class DoesNotCompile(Exception):
    """The compiler's or linker's words."""


@dataclasses.dataclass
class Source:
    """A kernel source of a stage, and the libraries of the build that it is in."""
    stage: str
    path: pathlib.Path
    targets: dict  # flavour, "plain" or "traced" -> the entry of compile_commands.json

    def name(self):
        return f"{self.stage}/{self.path.name}"


def sources_of(build):
    """All kernel sources of all stages."""
    found = {}
    for command in json.loads((build / "compile_commands.json").read_text()):
        match = re.search(r"/(?:kernels|hopper)_(\d\d_\w+?)(_traced)?\.dir/", command["command"])
        if not match:
            continue
        stage, path = match.group(1), pathlib.Path(command["file"])
        source = found.setdefault((stage, path), Source(stage, path, {}))
        source.targets["traced" if match.group(2) else "plain"] = command
    return [found[key] for key in sorted(found)]


def is_emulated(source):
    return "traced" in source.targets


def call(command, folder):
    result = subprocess.run(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        raise DoesNotCompile(result.stdout)
    return result.stdout


def compile_copy(source, text, flavour, folder, options=()):
    """Compiles `text` in place of the source; returns its object, the build's, which it stands for, and what the
    compiler printed."""
    command = source.targets[flavour]
    arguments = shlex.split(command["command"])
    copy = folder / source.path.name
    copy.write_text(text)
    out = folder / flavour / "copy.o"
    out.parent.mkdir()
    original = arguments[arguments.index("-o") + 1]
    arguments[arguments.index("-o") + 1] = str(out)
    arguments = [str(copy) if a == str(source.path) else a for a in arguments]
    words = call([*arguments, "-I", str(source.path.parent), "-w", *options], command["directory"])
    return out, original, words


def link(build, target, out, replace):
    """Links `target` again by the build's own command, with some of its inputs replaced, as `out`."""
    listing = subprocess.run(["ninja", "-C", str(build), "-t", "commands", target], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
    arguments = shlex.split(listing.splitlines()[-1].removeprefix(": && ").removesuffix(" && :"))
    arguments[arguments.index("-o") + 1] = str(out)
    linked = [new for a in arguments for new in replace.get(a, [a])]
    if linked == arguments:
        raise SystemExit(f"no copy of a source is an input of {target}")
    call(linked, build)


def emulated_libraries(build, source, text, folder):
    """Makes the source's library anew in both flavours; returns for each where the dynamic linker must look first."""
    paths = {}
    for flavour in ("plain", "traced"):
        copy, original, _ = compile_copy(source, text, flavour, folder)
        library = re.search(r"/((?:kernels|hopper)_\w+?)(?:_traced)?\.dir/", original).group(1)
        name = f"lib{library}.so"
        link(build, f"lib/traced/{name}" if flavour == "traced" else f"lib/{name}", copy.parent / name,
             {original: [str(copy)]})
        paths[flavour] = str(copy.parent)
    # The program's other libraries must be traced too.
    paths["traced"] += f":{build / 'lib' / 'traced'}"
    return paths


def gpu_program(build, source, text, folder, options=()):
    """Makes the stage's program anew in `folder`; returns it and what the compiler printed."""
    copy, original, words = compile_copy(source, text, "plain", folder, options)
    library = re.search(r"(\S+)/CMakeFiles/(\w+)\.dir/", original)
    archive = f"{library.group(1)}/lib{library.group(2)}.a"
    program = folder / source.stage
    # In front of the archive, whose member is then not needed.
    link(build, f"bin/{source.stage}", program, {archive: [str(copy), archive]})
    return program, words


def run(command, timeout, environment=None):
    """Returns (exit code, or None where it had to be killed; stdout; stderr)."""
    # A session of its own: a tool that is killed leaves the program that it started, and a kernel that hangs.
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, errors="replace",
                          start_new_session=True, env=environment and dict(os.environ, **environment)) as process:
        try:
            out, err = process.communicate(timeout=timeout)
            return process.returncode, out, err
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            return None, out, err
