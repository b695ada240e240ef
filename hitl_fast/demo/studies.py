"""Chapter: does it work? Both experiments in small, as their commands run them with --quick."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import TYPE_CHECKING

from hitl_fast.experiments.calibration import command as calibration
from hitl_fast.experiments.guidance import command as guidance

if TYPE_CHECKING:
    from .context import Stage

TITLE = "Does it work? Two experiments, in small"


def tell(stage: Stage) -> None:
    """Run both anew and print their answers."""
    for name, command in (("guidance", guidance), ("calibration", calibration)):
        folder = stage.folder / name
        # A demo shows the work, so what an earlier one left is done again.
        (folder / "results.jsonl").unlink(missing_ok=True)
        _run(command, ["--quick", "--seed", str(stage.seed), "--out", str(folder)])
        print()
    print("A grid this small shows how, and proves nothing; the README has the answers of the full ones.")


def _run(command: ModuleType, options: list[str]) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(options))
