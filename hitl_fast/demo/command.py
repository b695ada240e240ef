"""``hitl-fast demo``: run the demo steps one after the other."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import ModuleType

from hitl_fast._common.errors import require


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=Path("hitl-fast-demo"), help="output folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.epilog = """\
Needs the extra 'demo': pip install 'hitl-fast[demo]'. No network, three to four minutes on two cores.

example:
  hitl-fast demo --folder hitl-fast-demo
"""


def run(arguments: argparse.Namespace) -> int:
    for module in ("torch", "mlxtend", "matplotlib", "jinja2", "pandas"):
        require(module, "demo", "the demo")  # before anything is printed or written
    from hitl_fast.energy import EnergyMeter

    from .context import Context

    arguments.folder.mkdir(parents=True, exist_ok=True)
    context = Context(arguments.folder, arguments.seed)
    start = time.perf_counter()
    modules = steps()
    with EnergyMeter() as meter:
        for number, step in enumerate(modules, 1):
            _print_title(f"{number}. {step.TITLE}")
            with meter.window(step.__name__.rpartition(".")[2]):
                step.run(context)
    _print_title(f"{len(modules) + 1}. Energy of the steps above")
    print(meter.report())
    print(f"\nThe demo took {time.perf_counter() - start:.0f} s.")
    return 0


def steps() -> tuple[ModuleType, ...]:
    """The demo's modules in order; each has a TITLE and ``run(context)``."""
    from . import rating, shifts, studies, training

    return shifts, rating, training, studies


def _print_title(title: str) -> None:
    print(f"\n{title}\n{'=' * len(title)}")
