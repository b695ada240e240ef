"""``hitl-fast experiment``: the studies; one sub-command each."""

from __future__ import annotations

import argparse
import importlib
import sys

from .common.runner import WorkerDiedError

# name: (module with `configure(parser)` and `run(arguments) -> exit status`, what --help says of it)
PARTS = {
    "calibration": ("hitl_fast.experiments.calibration.command", "does PreIndex predict retraining cost?"),
    "guidance": ("hitl_fast.experiments.guidance.command", "does human guidance save energy?"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = """\
Needs the extra 'experiment': pip install 'hitl-fast[experiment]'.

example:
  hitl-fast experiment calibration --quick
"""
    parts = parser.add_subparsers(dest="experiment", required=True, metavar="EXPERIMENT")
    for name, (home, line) in PARTS.items():
        part = parts.add_parser(
            name, help=line, description=line[0].upper() + line[1:],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        importlib.import_module(home).configure(part)


def run(arguments: argparse.Namespace) -> int:
    try:
        return int(importlib.import_module(PARTS[arguments.experiment][0]).run(arguments))
    except WorkerDiedError as problem:
        print(f"hitl-fast experiment {arguments.experiment}: {problem}", file=sys.stderr)
        return 1
