"""The command line: one command, a sub-command for each room. Only the room that is asked for is imported."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from hitl_fast import __version__

# name: (module with `configure(parser)` and `run(arguments) -> exit status`, what --help says of it)
COMMANDS = {
    "collect": (
        "hitl_fast.ratings.collect.command",
        "a page on which people rate samples, in the browser",
    ),
    "decide": (
        "hitl_fast.cost.command",
        "retrain, keep, or use another model: a table for several models and shifts",
    ),
    "demo": ("hitl_fast.demo.command", "the whole story on real data that comes with the install"),
    "doctor": ("hitl_fast.doctor", "what this machine has, and why not where it has not"),
    "energy": ("hitl_fast.energy.command", "run a command and tell its joules, per domain"),
    "experiment": (
        "hitl_fast.experiments.command",
        "does it work? What was tried on real data, to be repeated",
    ),
    "preindex": ("hitl_fast.shift.command", "estimate what retraining a model to shifted data will cost"),
    "ratings": (
        "hitl_fast.ratings.command",
        "what people's ratings say: agreement, raters, and what is missing",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hitl-fast``; returns the exit status: 0 done, 2 wrong usage or input, 130 interrupted."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="hitl-fast", description="Make training cost less, and measure it.")
    parser.add_argument("--version", action="version", version=f"hitl-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    wanted = next((a for a in arguments if not a.startswith("-")), None)
    for name, (home, line) in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=line[0].upper() + line[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if name == wanted:
            importlib.import_module(home).configure(command)
    parsed = parser.parse_args(arguments)
    try:
        return int(importlib.import_module(COMMANDS[parsed.command][0]).run(parsed))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as problem:
        print(f"hitl-fast {parsed.command}: {problem}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
