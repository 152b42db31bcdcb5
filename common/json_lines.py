"""Records that grow while something long runs: a JSON object a line, the first of which says what was recorded."""

import json
import os


def write_rows(path, rows):
    """Whole or not at all."""
    new = path.with_name(path.name + ".new")
    new.write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(new, path)


def why_not_gone_on_with(path, first, context):
    """A line for the user where the record at `path`, by its first row, is of something else than `context`; or None."""
    for key, value in context.items():
        if first.get(key) != value:
            return f"{path} cannot be gone on with: its {key} was {first.get(key)}, this is {value}"
    return None
