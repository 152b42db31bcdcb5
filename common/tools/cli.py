"""Command lines: argparse, with errors of one line."""

import argparse
import os
import pathlib

from .errors import BadInput

ROOT = pathlib.Path(__file__).resolve().parents[2]


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise BadInput(f"{message}; see {self.prog} --help")


def parser_of(command, description):
    return Parser(prog=f"python3 common/tools {command}", description=description,
                  formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def steps_of(parser, **lines):
    """A subcommand for each name, with its line of help; returns them by name."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    return {name: steps.add_parser(name, help=line, description=line) for name, line in lines.items()}


def add_out(step, metavar="FILE"):
    step.add_argument("--out", type=out_file, required=True, metavar=metavar)


def add_jobs(step):
    step.add_argument("--jobs", type=positive, default=os.cpu_count(), metavar="N",
                      help="programs to compile or run at a time [one per core]")


def positive(text):
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no positive number")
    return number


def out_file(text):
    """A path that can be written to: said before work begins whose result would go there."""
    path = pathlib.Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def split_options(arguments):
    """(arguments of the tool, what follows `--`: options of the stages' programs)."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1:]


def empty_folder(text):
    path = pathlib.Path(text)
    if not path.is_dir() or any(path.iterdir()):
        raise argparse.ArgumentTypeError(f"{path} is no empty folder")
    return path


def short(path):
    """As seen from the root of the checkout, where it is in there."""
    return path.relative_to(ROOT) if ROOT in path.parents else path
