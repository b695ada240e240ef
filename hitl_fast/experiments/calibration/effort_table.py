"""The retrainings of a grid as a table, for models of cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from ..common.journal import Record

IDENTITY = ("architecture", "shift", "strength", "amount", "seed", "dataset", "optimizer")
EFFORT = ("epochs", "samples", "flops")


def retrainings(records: Sequence[Record]) -> list[Record]:
    """The records that are retrainings, not base models."""
    return [record for record in records if "effort" in record]


def history_csv(records: Sequence[Record]) -> str:
    """One row for each retraining: what it was, every score before it, and what it took.

    Scores are named as the attributes of ``PreIndexReport`` and its measures are; ``censored`` is 1 where the cap came
    before the target, so that the effort is at least what stands there; ``joules`` is empty where there was no sensor.
    """
    rows = retrainings(records)
    scores = list(rows[0]["scores"]) if rows else []
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*IDENTITY, *scores, *EFFORT, "joules", "censored"])
    for row in rows:
        effort = row["effort"]
        values = [row[name] for name in IDENTITY] + [row["scores"][name] for name in scores]
        values += [effort[name] for name in EFFORT]
        values += [row["measured"].get("joules"), int(effort["censored"])]
        writer.writerow(["" if value is None else value for value in values])
    return file.getvalue()
