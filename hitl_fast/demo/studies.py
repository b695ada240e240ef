"""Demo step: both experiments at small size, as their commands run them with --quick."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import TYPE_CHECKING

from hitl_fast.experiments.calibration import command as calibration
from hitl_fast.experiments.guidance import command as guidance

if TYPE_CHECKING:
    from .context import Context

TITLE = "Does it work? Two experiments at small size"


def run(context: Context) -> None:
    """Run both experiments and print their answers."""
    for name, command in (("guidance", guidance), ("calibration", calibration)):
        folder = context.folder / name
        # The demo shows the computation, so results of an earlier run are not reused.
        (folder / "results.jsonl").unlink(missing_ok=True)
        _run(command, ["--quick", "--seed", str(context.seed), "--out", str(folder)])
        print()
    print("Grids this small only show the procedure; the README has the answers of the full ones.")


def _run(command: ModuleType, options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(options))
