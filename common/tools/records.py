"""Files of results: one reader and one writer for all tools.

A kind of file is described by a shape, and a file of another shape is refused in one line that names it.
Shapes:

  str, int, NUMBER       a value of that type
  [shape]                a list, each element of that shape
  {"key": shape, ...}    an object that has at least these keys; "key?" may be missing
  {str: shape}           an object whose keys are data, each value of that shape
  OR(shape, ...)         one of them

Records that grow while something long runs have a JSON object per line. The first line says what is recorded.
"""

import dataclasses
import json
import os
import typing

from .errors import BadInput

NUMBER = (int, float)
NULL = type(None)


class OR(tuple):
    """OR(a, b): a value of shape a or of shape b."""

    def __new__(cls, *shapes):
        return super().__new__(cls, shapes)


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file."""
    name: str         # after "is no": "record of `fidelity gpu`"
    shape: object
    filled: str = ""  # a key whose list or object must not be empty
    row: typing.Optional[object] = None  # of files with an object per line: shape of every line but the first


def misfit(value, shape, where=""):
    """Why the value is not of the shape, naming the place; "" where it is."""
    place = where or "it"
    if isinstance(shape, OR):
        reasons = [misfit(value, one, where) for one in shape]
        return min(reasons, key=len) if all(reasons) else ""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{place} is no list"
        return first_misfit((one, shape[0], f"{where}[{i}]") for i, one in enumerate(value))
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{place} is no object"
        if str in shape:
            return first_misfit((one, shape[str], joined(where, key)) for key, one in value.items())
        for key, one in shape.items():
            name = key.rstrip("?")
            if name in value:
                reason = misfit(value[name], one, joined(where, name))
            else:
                reason = "" if key.endswith("?") else f"{joined(where, name)} is missing"
            if reason:
                return reason
        return ""
    if isinstance(value, shape) and not (isinstance(value, bool) and shape is not bool):
        return ""
    names = {str: "text", int: "a whole number", NUMBER: "a number", bool: "true or false", NULL: "null"}
    return f"{place} is not {names[shape]}"


def first_misfit(triples):
    return next(filter(None, (misfit(*triple) for triple in triples)), "")


def joined(where, key):
    return f"{where}.{key}" if where else key


def read_text(path):
    try:
        return path.read_text()
    except UnicodeDecodeError:
        raise BadInput(f"{path} is not text") from None
    except OSError as reason:
        raise BadInput(f"{path}: {reason.strerror}") from None


def parse(text, path, kind):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise BadInput(f"{path} is no {kind.name}: it is not JSON") from None


def require_shape(value, shape, path, kind):
    reason = misfit(value, shape)
    if reason:
        raise BadInput(f"{path} is no {kind.name}: {reason}")


def read(path, kind):
    """A file that is one JSON value of the kind."""
    value = parse(read_text(path), path, kind)
    require_shape(value, kind.shape, path, kind)
    if kind.filled and not value[kind.filled]:
        raise BadInput(f"{path} is an empty {kind.name}: {kind.filled} has nothing in it")
    return value


def write(path, value):
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path, text):
    """Whole or not at all."""
    if path.exists() and not path.is_file():  # /dev/stdout, say
        path.write_text(text)
        return
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.replace(new, path)


# ---- An object per line ----

def read_rows(path, kind, half_a_line=False):
    """The first row and the others. A last line without its end is dropped where `half_a_line` says so:
    whoever wrote it was interrupted."""
    lines = read_text(path).splitlines(True)
    if half_a_line:
        lines = [line for line in lines if line.endswith("\n")]
    if not lines:
        raise BadInput(f"{path} is no {kind.name}: it is empty")
    rows = [parse(line, path, kind) for line in lines]
    require_shape(rows[0], kind.shape, path, kind)
    for i, row in enumerate(rows[1:], 2):
        reason = misfit(row, kind.row)
        if reason:
            raise BadInput(f"{path} is no {kind.name}: line {i}: {reason}")
    return rows[0], rows[1:]


def write_rows(path, rows):
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def require_same(path, first, context):
    """Refuses to continue the record at `path` where its first row says that it is of something else."""
    for key, value in context.items():
        if first.get(key) != value:
            raise BadInput(f"{path} cannot be continued: its {key} was {first.get(key)}, this is {value}")


def partial_of(out, resume):
    """Where a record grows until it is whole; refuses to overwrite one, and to continue none."""
    partial = out.with_name(out.name + ".partial")
    if partial.exists() and not resume:
        raise BadInput(f"there is {partial} of a run that was interrupted: continue it with --resume, or "
                       "remove it")
    if resume and not partial.exists():
        raise BadInput(f"there is no {partial} to continue")
    return partial
