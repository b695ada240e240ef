"""``hitl-fast ask DATA --ratings R -n 54``: which samples to ask people about next."""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import refuse_overwriting, write_text

from .collect.items import Items
from .collect.opening import open_items
from .given import answered_items
from .questions import ask_next
from .ratings import Ratings
from .signals import read_signals

FORMATS = ("csv", "jsonl", "label_studio", "argilla")
ENDINGS = {"": "csv", ".csv": "csv", ".txt": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def configure(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("data", help=".npz file with the arrays features (n, d) and labels (n,) of all samples")
    add("--ratings", metavar="FILE", help="answers that there are: ratings.db, an export or a table")
    add("-n", type=int, default=54, metavar="N", help="questions to choose (54)")
    add("--diversity", type=float, default=0.0, help="above 0: questions less alike (0)")
    add("--metric", choices=("euclidean", "cosine"), default="euclidean", help="distance of features")
    add("--seed", type=int, default=0, help="of the candidates (0)")
    add(
        "--items",
        metavar="DATA",
        help="data set to show: folder, .npz, .txt, .jsonl or .csv, in the same order",
    )
    add("--out", metavar="FILE", help="write the questions instead of printing their positions")
    add("--format", choices=FORMATS, help="of the file (csv, or by its ending)")
    parser.epilog = "example: hitl-fast ask signals.npz --ratings ratings.db -n 54"


def run(arguments: argparse.Namespace) -> int:
    if arguments.out is not None:
        refuse_overwriting("--out", arguments.out, arguments.data, arguments.ratings, arguments.items)
    form = _format(arguments)
    signals = read_signals(Path(arguments.data), metric=arguments.metric)
    answered: Any = ()
    if arguments.ratings is not None:
        answered = answered_items(Ratings.read(arguments.ratings), len(signals))
    chosen = ask_next(
        signals, arguments.n, answered=answered, diversity=arguments.diversity, seed=arguments.seed
    )
    if arguments.out is None and arguments.items is arguments.format is None:
        print("\n".join(map(str, chosen.tolist())))
        return 0
    items = None if arguments.items is None else open_items(arguments.items)
    if items is not None and len(items) != len(signals):
        raise InputError(f"--items has {len(items)} items, and {arguments.data} is of {len(signals)} samples")
    text = questions_as(form, chosen, items)
    if arguments.out is None:
        print(text, end="")
        return 0
    write_text(arguments.out, text)
    print(f"{len(chosen)} questions written to {arguments.out}")
    return 0


def _format(arguments: argparse.Namespace) -> str:
    if arguments.format is not None:
        return str(arguments.format)
    ending = Path(arguments.out or "").suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"--out {arguments.out}: say with --format which of {', '.join(FORMATS)} it is to be"
        )
    return ENDINGS[ending]


def questions_as(form: str, chosen: np.ndarray | Sequence[int], items: Items | None = None) -> str:
    """Questions as text: CSV, JSON lines, Label Studio tasks or Argilla records, each with the position as "item".

    Answers come back under that position: in Label Studio with ``item="data.item"`` of `Ratings.read`, in Argilla the
    record's id is the position.
    """
    rows: list[dict[str, Any]] = [{"item": int(i), **_content(int(i), items)} for i in chosen]
    if form == "label_studio":
        return json.dumps([{"data": row} for row in rows], ensure_ascii=False, indent=1) + "\n"
    if form == "argilla":
        records = [{"id": str(row["item"]), "fields": {k: str(v) for k, v in row.items()}} for row in rows]
        return json.dumps(records, ensure_ascii=False, indent=1) + "\n"
    if form == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _content(item: int, items: Items | None) -> dict[str, Any]:
    if items is None:
        return {}
    content = items.content(item)
    row = dict(content.pop("row", []))
    return {**content, **{name: value for name, value in row.items() if name != "item"}}
