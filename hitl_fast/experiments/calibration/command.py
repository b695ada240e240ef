"""``hitl-fast experiment calibration``: how well do scores from one forward pass predict real retraining effort?"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..common.journal import Record
    from .jobs import Settings

EPILOG = """\
files:
  results.jsonl   one line for each model and each retraining; the same seed gives the same bytes, except for "measured"
  results.html    the answers: figures and tables in one file
  history.csv     one row for each retraining, what hitl_fast.CostModel.fit reads
  models/         the trained base models; may be removed when the grid is done
  modes.jsonl     with --modes: the scores of each retraining without pairs, and with fewer labels
  modes.csv       with --modes: how they rank the steps of results.jsonl
  sizes.jsonl     with --sizes: what some retrainings take from fewer samples and in smaller batches
  size_scores.jsonl  with --sizes: the scores of the same cells before retraining
  sizes.csv       with --sizes: in which unit their effort stays the same

Run the same command again to resume, or to draw the page again. --modes needs the results.jsonl of a grid that is
done, and takes its settings from there; models that are missing are trained again. --sizes needs no grid.

example:
  hitl-fast experiment calibration --quick
  hitl-fast experiment calibration --quick --modes
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a small grid in about a minute, too small for conclusions",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR",
        help="output folder (default: hitl-fast-experiment/calibration, or calibration-quick)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=int, metavar="N", help="processes (default: one per core; 1 also measures energy)"
    )
    parser.add_argument("--seed", type=int, default=0, help="first random seed (default: 0)")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="how many seeds (default: 3, quick and modes: 1)"
    )
    parser.add_argument(
        "--modes", action="store_true",
        help="of a grid that is done: what is predicted without pairs, and with 30 to 1,000 labels or none",
    )  # fmt: skip
    parser.add_argument(
        "--networks", nargs="+", metavar="NAME", help="with --modes or --sizes: of these only (default: all)"
    )
    parser.add_argument(
        "--sizes", action="store_true",
        help="retrain some shifts from a third of the samples and in half the batch: which unit of effort is the same",
    )  # fmt: skip
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def run(arguments: argparse.Namespace) -> int:
    from hitl_fast._common.files import write_bytes

    from ..common.journal import Journal
    from ..common.output_folder import folder, refuse_foreign
    from ..common.page import heading
    from ..common.runner import run_grid
    from .analysis import analyse
    from .effort_table import IDENTITY, history_csv
    from .jobs import grid, work
    from .report import TITLE, answer, page, unseen

    if arguments.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {arguments.seed}")
    if arguments.seeds is not None and arguments.seeds < 1:
        raise InputError(f"--seeds must be 1 or more, not {arguments.seeds}")
    out = folder(arguments.out, "calibration", arguments.quick)
    if arguments.modes and arguments.sizes:
        raise InputError("--modes and --sizes are two runs: give one of them")
    if arguments.modes:
        return _modes(arguments, out)
    if arguments.sizes:
        return _sizes(arguments, out)
    if arguments.networks is not None:
        raise InputError("--networks belongs to --modes and --sizes; the grid is of all networks")
    settings = chosen(arguments.quick, arguments.seed, arguments.seeds)
    refuse_foreign(out / "history.csv", ",".join(IDENTITY))
    refuse_foreign(out / "results.html", heading(TITLE))
    do = functools.partial(
        work, settings=settings, folder=str(out / "models"), energy=arguments.workers in (0, 1)
    )
    with Journal(out / "results.jsonl", "calibration", depends_on(settings), _command(arguments)) as journal:
        records = run_grid(
            do, grid(settings), journal, workers=arguments.workers, progress=not arguments.no_progress
        )
        header = journal.header
    write_bytes(out / "history.csv", history_csv(records).encode())
    findings = analyse(records)
    page(header, findings).write(out / "results.html")
    print(answer(findings))
    print(unseen(findings))
    for name in ("results.jsonl", "history.csv", "results.html"):
        print(f"  -> {out / name}")
    return 0


def _modes(arguments: argparse.Namespace, out: Path) -> int:
    """The scores of every mode on the retrainings of a grid in the output folder."""
    from hitl_fast._common.files import write_bytes

    from ..common.journal import Journal, read
    from ..common.output_folder import refuse_foreign
    from ..common.runner import run_grid
    from . import label_modes
    from .label_mode_table import HEADINGS, answer, compare, modes_csv

    if arguments.seed:
        raise InputError("--seed belongs to the grid; --modes takes the first --seeds of its results")
    if not (out / "results.jsonl").exists():
        raise InputError(
            f"{out / 'results.jsonl'} is missing: run the same command without --modes first, or give the folder of a"
            " grid by --out"
        )
    refuse_foreign(out / "modes.csv", ",".join(HEADINGS))
    header, records = read(out / "results.jsonl")
    settings = label_modes.settings_of(header)
    jobs = label_modes.cells(records, arguments.seeds or 1, arguments.networks)
    do = functools.partial(label_modes.work, settings=settings, folder=str(out / "models"))
    depends = label_modes.depends_on(header)
    with Journal(out / "modes.jsonl", label_modes.EXPERIMENT, depends, _command(arguments)) as journal:
        modes = run_grid(do, jobs, journal, workers=arguments.workers, progress=not arguments.no_progress)
    found = compare(records, modes)
    write_bytes(out / "modes.csv", modes_csv(found).encode())
    print(answer(found))
    for name in ("modes.jsonl", "modes.csv"):
        print(f"  -> {out / name}")
    return 0


def _sizes(arguments: argparse.Namespace, out: Path) -> int:
    """The effort of some retrainings at two sizes of the training set and of the batch."""
    from hitl_fast._common.files import write_bytes

    from ..common.journal import Journal
    from ..common.output_folder import refuse_foreign
    from ..common.runner import run_grid
    from . import sizes
    from .size_table import HEADINGS, answer, compare, sizes_csv

    if arguments.seed or arguments.seeds is not None:
        raise InputError("--seed and --seeds belong to the grid; --sizes has a seed of its own")
    refuse_foreign(out / "sizes.csv", ",".join(HEADINGS))
    settings = sizes.settings(arguments.quick)
    do = functools.partial(sizes.work, settings=settings, folder=str(out / "models"))
    jobs = sizes.cells(settings, arguments.networks)
    depends = sizes.depends_on(settings)
    with Journal(out / "sizes.jsonl", sizes.EXPERIMENT, depends, _command(arguments)) as journal:
        records = run_grid(do, jobs, journal, workers=arguments.workers, progress=not arguments.no_progress)
    _size_scores(arguments, out, settings, records)
    found = compare(records)
    write_bytes(out / "sizes.csv", sizes_csv(found).encode())
    print(answer(found))
    for name in ("sizes.jsonl", "size_scores.jsonl", "sizes.csv"):
        print(f"  -> {out / name}")
    return 0


def _size_scores(
    arguments: argparse.Namespace, out: Path, settings: Settings, records: Sequence[Record]
) -> None:
    """What one pass says of the same cells before they are retrained."""
    from ..common.journal import Journal
    from ..common.runner import run_grid
    from . import size_scores

    do = functools.partial(size_scores.work, settings=settings, folder=str(out / "models"))
    jobs, depends = size_scores.cells(records), size_scores.depends_on(settings)
    with Journal(out / "size_scores.jsonl", size_scores.EXPERIMENT, depends, _command(arguments)) as journal:
        run_grid(do, jobs, journal, workers=arguments.workers, progress=not arguments.no_progress)


def chosen(quick: bool, seed: int, seeds: int | None = None) -> Settings:
    """The grid, or a small one that shows what it does."""
    from .jobs import Settings

    if quick:
        return Settings(
            datasets=("mnist", "digits8"), architectures=("cnn", "mlp"), sizes=(900, 400, 400),
            shifts=("noise", "inversion", "patches", "speckle", "shear", "local_shuffle"), strengths=(0, 2),
            seeds=tuple(range(seed, seed + (seeds or 1))), cap=100,
        )  # fmt: skip
    return Settings(seeds=tuple(range(seed, seed + (seeds or 3))))


def depends_on(settings: Settings) -> dict[str, Any]:
    """Everything that the results depend on, besides the code; a file of results is resumed if it equals this."""
    from .datasets import dataset
    from .retraining import BATCH, LEARNING_RATE, MARGINS, MOMENTUM, SGD_LEARNING_RATE

    amounts = {
        name: {shift: list(strengths) for shift, (_, strengths) in dataset(name).shifts.items()}
        for name in settings.datasets
    }
    return dataclasses.asdict(settings) | {
        "amounts": amounts, "margins": MARGINS, "batch": BATCH, "learning_rate": LEARNING_RATE,
        "sgd": [SGD_LEARNING_RATE, MOMENTUM],
    }  # fmt: skip


def _command(arguments: argparse.Namespace) -> str:
    words = ["hitl-fast experiment calibration"]
    words += ["--quick"] * arguments.quick + [f"--seed {arguments.seed}"] * (arguments.seed != 0)
    words += [] if arguments.seeds is None else [f"--seeds {arguments.seeds}"]
    words += ["--modes"] * arguments.modes + ["--sizes"] * arguments.sizes
    words += [] if arguments.networks is None else ["--networks", *arguments.networks]
    return " ".join(words)
