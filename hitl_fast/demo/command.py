"""``hitl-fast demo``: run the chapters one after the other."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import ModuleType


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--folder", type=Path, default=Path("hitl-fast-demo"), help="where files go (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn (default: 0)")
    parser.epilog = (
        "Needs the extra 'demo': pip install 'hitl-fast[demo]'. No network, under two minutes on two cores."
    )


def run(arguments: argparse.Namespace) -> int:
    from hitl_fast.energy import EnergyMeter

    from .context import Stage

    arguments.folder.mkdir(parents=True, exist_ok=True)
    stage = Stage(arguments.folder, arguments.seed)
    start = time.perf_counter()
    told = chapters()
    with EnergyMeter() as meter:
        for number, chapter in enumerate(told, 1):
            _print_title(f"{number}. {chapter.TITLE}")
            with meter.window(chapter.__name__.rpartition(".")[2]):
                chapter.tell(stage)
    _print_title(f"{len(told) + 1}. Energy: what the chapters above took")
    print(meter.report())
    print(f"\nAll of it took {time.perf_counter() - start:.0f} s.")
    return 0


def chapters() -> tuple[ModuleType, ...]:
    """Modules with a TITLE and ``tell(stage)``, in the order of the story."""
    from . import rating as rated
    from . import shifts
    from . import studies as asked
    from . import training as weighted

    return shifts, rated, weighted, asked


def _print_title(title: str) -> None:
    print(f"\n{title}\n{'=' * len(title)}")
