# PYTHON_ARGCOMPLETE_OK
"""The command line ``hitl-fast``: one sub-command per task. Only the module of the requested one is imported."""

from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
from collections.abc import Sequence

from hitl_fast import __version__
from hitl_fast._common.errors import MissingExtraError, UserError
from hitl_fast._common.extras import missing

# name: (module with `configure(parser)` and `run(arguments) -> exit status`, summary for --help)
COMMANDS = {
    "ask": ("hitl_fast.ratings.ask_command", "which samples to ask people about next"),
    "collect": (
        "hitl_fast.ratings.collect.command",
        "a page on which people rate samples, in the browser",
    ),
    "compare-energy": (
        "hitl_fast.energy.compare_command",
        "run two commands alternately and report whether their energy differs",
    ),
    "decide": (
        "hitl_fast.cost.command",
        "retrain, keep, or use another model: a table for several models and shifts",
    ),
    "demo": ("hitl_fast.demo.command", "shifts, ratings, weights and energy on handwritten digits"),
    "doctor": (
        "hitl_fast.doctor",
        "list hardware, libraries and energy sensors, and why something is missing",
    ),
    "energy": ("hitl_fast.energy.command", "run a command and report its energy per device"),
    "experiment": ("hitl_fast.experiments.command", "repeat the studies behind the README's results"),
    "preindex": ("hitl_fast.shift.command", "estimate what retraining a model to shifted data will cost"),
    "ratings": (
        "hitl_fast.ratings.command",
        "summarise people's ratings: agreement, raters, missing answers",
    ),
    "warm": ("hitl_fast.warm", "compile the kernels at installation time, instead of at the first calls"),
}

# Commands that cannot start without an extra. Commands that need one only for some options check it there.
EXTRAS = {"decide": "cost", "demo": "demo", "experiment": "experiment"}

# Import name of a required library -> what to install, where the installation is incomplete.
LIBRARIES = {
    "numba": "numba",
    "numpy": "numpy",
    "safetensors": "safetensors",
    "torch": "torch",
    "tqdm": "tqdm",
}

FRONT_PAGE = """\
hitl-fast {version}: estimate retraining cost, train with people's ratings, measure energy

Estimate what retraining a model to shifted data will cost:
  hitl-fast preindex --model networks:SmallCNN --weights cnn.safetensors --clean clean.npz --shifted noisy.npz

Check people's ratings before they become sample weights:
  hitl-fast ratings summary export.json

Measure the energy of any command:
  hitl-fast energy -- python train.py

Try everything on real data: hitl-fast demo. Check this machine: hitl-fast doctor. All commands: hitl-fast --help."""

EPILOG = """\
examples:
  hitl-fast doctor
  hitl-fast energy -- python train.py
  hitl-fast preindex --help

Completion in bash and zsh: pip install 'hitl-fast[completion]', then eval "$(register-python-argcomplete hitl-fast)".
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``hitl-fast``; returns the exit status: 0 done, 2 wrong usage or input, 130 interrupted.

    An error that the user can repair (`UserError`, `OSError`, a missing library) is one line on standard error.
    Every other exception is a defect of this package and keeps its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if "_ARGCOMPLETE" in os.environ:
        _complete()
    if not arguments:
        print(FRONT_PAGE.format(version=__version__))
        return 0
    wanted = next((a for a in arguments if not a.startswith("-")), "")
    try:
        parsed = build_parser(wanted).parse_args(arguments)
        extra = EXTRAS.get(parsed.command)
        absent = missing(extra) if extra else []
        if absent:
            raise MissingExtraError(f"needs {', '.join(absent)}: run pip install 'hitl-fast[{extra}]'")
        return int(importlib.import_module(COMMANDS[parsed.command][0]).run(parsed))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ModuleNotFoundError as problem:
        library = LIBRARIES.get((problem.name or "").partition(".")[0])
        if library is None:
            raise
        return _refuse(wanted, f"needs {library}: run pip install {library}")
    except OSError as problem:
        known = problem.filename is not None and problem.strerror is not None
        return _refuse(wanted, f"{problem.filename}: {problem.strerror}" if known else problem)
    except UserError as problem:
        return _refuse(wanted, problem)


def build_parser(*wanted: str) -> argparse.ArgumentParser:
    """The parser of all commands; only those named in ``wanted`` are imported and have their options."""
    parser = argparse.ArgumentParser(
        prog="hitl-fast", description="Estimate retraining cost, train with people's ratings, measure energy.",
        epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"hitl-fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (home, line) in COMMANDS.items():
        command = commands.add_parser(
            name, help=line, description=line[0].upper() + line[1:] + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        if name in wanted:
            importlib.import_module(home).configure(command)
    return parser


def _complete() -> None:
    """Answer the shell's request for completions and exit; return where argcomplete is not installed."""
    try:
        import argcomplete
    except ImportError:
        return
    try:
        words = shlex.split(os.environ.get("COMP_LINE", ""))
    except ValueError:  # an open quotation mark
        words = []
    argcomplete.autocomplete(build_parser(*words[1:2]))


def _refuse(command: str, problem: object) -> int:
    print(f"hitl-fast {command}: {problem}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
