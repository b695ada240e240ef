"""The folder that a run writes into."""

from __future__ import annotations

from pathlib import Path

from hitl_fast._common.errors import InputError

BEGINNING = 4096  # bytes: what a file is stands in its first lines


def folder(out: Path | None, experiment: str, quick: bool) -> Path:
    """Where a run writes: the folder asked for, or one of its own for each experiment, in small and in full.

    >>> str(folder(None, "guidance", quick=True))
    'hitl-fast-experiment/guidance-quick'
    """
    return out or Path("hitl-fast-experiment") / (f"{experiment}-quick" if quick else experiment)


def refuse_foreign(path: Path, mark: str) -> None:
    """Before hours of work end in overwriting it: a file that no earlier run wrote there is left alone.

    Args:
        path: of a file that a run will write.
        mark: what stands near the beginning of every such file.

    Raises:
        ValueError: there is a file without it.
        OSError: it cannot be read.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        found = mark.encode() in file.read(BEGINNING)
    if not found:
        raise InputError(f"{path} is not of an earlier run, and would be written over: give another --out")
