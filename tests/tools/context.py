"""What every test of the tools needs: the package on the path, and where things are."""

import contextlib
import io
import os
import pathlib
import sys

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
BUILD = pathlib.Path(os.environ.get("ATTENTION_BUILD", ROOT / "build" / "emulated"))
sys.path.insert(0, str(ROOT / "common"))


def outcome(*arguments):
    """(exit code, stdout, stderr) of a command line."""
    from tools.__main__ import in_one_line
    with contextlib.redirect_stdout(io.StringIO()) as out, \
         contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            code = in_one_line([str(argument) for argument in arguments])
        except SystemExit as ended:  # --help
            code = ended.code
    return code, out.getvalue(), errors.getvalue()
