"""The output folder of an experiment."""

from __future__ import annotations

from pathlib import Path

from hitl_fast._common.errors import InputError

BEGINNING = 4096  # bytes; the first lines identify a file


def folder(out: Path | None, experiment: str, quick: bool) -> Path:
    """The output folder: the given one, or a default for each experiment and size.

    >>> str(folder(None, "guidance", quick=True))
    'hitl-fast-experiment/guidance-quick'
    """
    return out or Path("hitl-fast-experiment") / (f"{experiment}-quick" if quick else experiment)


def refuse_foreign(path: Path, mark: str) -> None:
    """Refuse to overwrite a file that no earlier run wrote, before hours of work.

    Args:
        path: a file that the run will write.
        mark: text near the beginning of every such file.

    Raises:
        ValueError: the file exists and lacks the mark.
        OSError: it cannot be read.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        found = mark.encode() in file.read(BEGINNING)
    if not found:
        raise InputError(
            f"{path} was not written by an earlier run and would be overwritten: choose another --out"
        )
