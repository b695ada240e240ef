"""``hitl-fast compare-energy "COMMAND A" "COMMAND B"``: does B use less energy than A?"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import asdict

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import write_text

from .measuring.meter import EnergyMeter
from .reporting.comparison import Comparison, compare
from .reporting.results import Window
from .sensors import rapl


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = 'hitl-fast compare-energy [OPTIONS] "COMMAND A" "COMMAND B"'
    parser.add_argument("-n", "--runs", type=int, default=10, metavar="N", help="runs of each command (10)")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="samples a second (10)")
    parser.add_argument(
        "--gpus", default="visible", help="visible (default), all, none, or indices and UUIDs"
    )
    parser.add_argument("--rapl-root", default=rapl.ROOT, metavar="DIR", help=argparse.SUPPRESS)
    parser.add_argument(
        "--warm-up", type=int, default=1, metavar="N", help="runs of each that do not count (1)"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the comparison and every run, - for standard output"
    )
    parser.add_argument("a", metavar='"COMMAND A"', help="the baseline, quoted; no shell runs it")
    parser.add_argument("b", metavar='"COMMAND B"', help="the treatment, quoted")
    parser.epilog = (
        "The commands run alternately (A B B A A B ...), so that a machine that warms up is not taken for a\n"
        "change. Their standard output goes to standard error. Exit status 0 with a verdict, 1 where a command fails."
        '\n\nexample:\n  hitl-fast compare-energy -n 10 "python train.py" "python train.py --weights scores.csv"'
    )


def run(arguments: argparse.Namespace) -> int:
    commands = {side: _split(side, text) for side, text in (("A", arguments.a), ("B", arguments.b))}
    if arguments.runs < 2:
        raise InputError(f"-n must be at least 2, not {arguments.runs}")
    if arguments.warm_up < 0:
        raise InputError(f"--warm-up must be at least 0, not {arguments.warm_up}")
    gpus = arguments.gpus if arguments.gpus in ("visible", "all", "none") else arguments.gpus.split(",")
    meter = EnergyMeter(gpus, arguments.rate, arguments.rapl_root)
    runs: dict[str, list[Window]] = {"A": [], "B": []}
    with meter:
        if not any(domain.status == "measured" for domain in meter.domains.values()):
            reasons = "; ".join(map(str, meter.domains.values()))
            raise InputError(f"no energy can be measured here: {reasons}")
        for side in [*"AB" * arguments.warm_up, *alternating(arguments.runs)]:
            with meter.window(side):
                status = _run(commands[side])
            if status:
                sys.stderr.write(f"hitl-fast compare-energy: command {side} ended with status {status}\n")
                return 1
    windows = meter.windows[2 * arguments.warm_up :]
    for window in windows:
        runs[window.name].append(window)
    result = compare(runs["A"], runs["B"], order="".join(window.name for window in windows))
    _report(result, windows, arguments.json)
    return 0


def alternating(n: int) -> str:
    """A B B A A B ...: each pair the other way round than the one before, so that a steady drift hits both alike.

    >>> alternating(3)
    'ABBAAB'
    """
    return "".join("BA" if pair % 2 else "AB" for pair in range(n))


def _split(side: str, text: str) -> list[str]:
    try:
        words = shlex.split(text)
    except ValueError as problem:
        raise InputError(f"command {side} cannot be split into words ({problem}): {text}") from None
    if not words:
        raise InputError(f"command {side} is empty")
    return words


def _run(command: list[str]) -> int:
    try:
        return subprocess.run(command, stdout=sys.stderr, check=False).returncode
    except OSError as problem:
        raise InputError(f"{command[0]}: {problem.strerror}") from None


def _report(result: Comparison, windows: tuple[Window, ...], path: str | None) -> None:
    lines = [f"{'run':>4} {'joules':>12} {'+-':>10} {'seconds':>10}"]
    for window in windows:
        joules = "not measured" if window.total_joules is None else f"{window.total_joules:.3f}"
        doubt = window.uncertainty_joules or 0.0
        lines.append(f"{window.name:>4} {joules:>12} {doubt:>10.3g} {window.seconds:>10.3f}")
    text = "\n".join([*lines, "", f"B against A: {result}", ""])
    if path is None:
        sys.stdout.write(text)
        return
    data = json.dumps(
        {"comparison": asdict(result), "windows": [asdict(window) for window in windows]}, indent=2
    )
    if path == "-":
        sys.stdout.write(data + "\n")
        return
    write_text(path, data + "\n")
    sys.stdout.write(text)
