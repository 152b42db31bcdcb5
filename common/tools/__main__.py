"""usage: python3 common/tools COMMAND ...

{commands}

`python3 common/tools COMMAND --help` says more of each. Exit codes of all: 0 done, 1 something is not as it
should be, 2 bad input, 3 no GPU or no such program here, 77 skipped, 130 interrupted.
"""

import importlib
import pathlib
import sys

if not __package__:  # run as a folder: the package is found beside it
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])
sys.dont_write_bytecode = True  # tools leave the sources alone

from tools.errors import BadInput, Stop  # noqa: E402

# Command -> its module, and what it does.
COMMANDS = {
    "counts": ("counts", "keeps what the emulated device counts of every variant, for the book's tables"),
    "cost": ("cost", "measures how long the emulated device takes"),
    "evidence": ("evidence.evidence", "holds what stages claim against machine code, launches and counters"),
    "faults": ("faults.faults", "plants faults in the stages' kernels and says who catches each"),
    "fidelity": ("fidelity", "compares the emulated device's counters with Nsight Compute's"),
    "search": ("search.search", "tunes a kernel by search"),
}


def usage():
    lines = [f"  {name:9} {line}" for name, (_, line) in COMMANDS.items()]
    return __doc__.format(commands="\n".join(lines))


def main(arguments):
    if not arguments:
        raise BadInput(f"name a command: {', '.join(COMMANDS)}")
    command, *rest = arguments
    if command in ("-h", "--help"):
        print(usage(), end="")
        return 0
    if command not in COMMANDS:
        raise BadInput(f"no command is named '{command}'; there is {', '.join(COMMANDS)}")
    return importlib.import_module(f"tools.{COMMANDS[command][0]}").main(rest)


def in_one_line(arguments):
    """main(), with one line on stderr for whatever the user can do something about."""
    try:
        return main(arguments)
    except Stop as reason:
        print(f"error: {reason}", file=sys.stderr)
        return reason.exit_code
    except OSError as reason:
        where = f"{reason.filename}: " if reason.filename else ""
        print(f"error: {where}{reason.strerror or reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(in_one_line(sys.argv[1:]))
