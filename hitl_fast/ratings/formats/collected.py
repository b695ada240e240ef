"""Databases of ``hitl-fast collect``."""

from __future__ import annotations

import math
from pathlib import Path

from hitl_fast._common.errors import InputError

from ..collect.reading import VALUES, read_collection
from .answers import AnswerList, Answers, Comparison

MAGIC = b"SQLi"


def read(path: Path) -> Answers:
    """Answers that count, also while people answer; items are positions in the data set.

    Answers about pairs are comparisons; the scale is that of the question.

    Raises:
        ValueError: it is another database, or nobody has answered yet.
    """
    about, given = read_collection(path)
    if not given:
        raise InputError(f"{path.name}: nobody has answered yet")
    values = VALUES[about["question"]]
    answers = AnswerList(path.name, "hitl-fast collect")
    comparisons = []
    for line, a in enumerate(given, 1):
        seconds = math.nan if a.seconds is None else a.seconds
        if a.value is None:
            answers.skip(a.item, a.rater, "skipped", seconds)
        elif a.other is not None:
            comparisons.append(Comparison(a.item, a.other, a.rater, a.value, seconds, ""))
        else:
            answers.add(a.item, a.rater, "", a.value, seconds, line, a.at)
    found = answers.finish()
    found.num_items = about["items"]
    found.comparisons = comparisons
    found.later_replaces = False  # a repeat for the test-retest reliability counts too
    if not comparisons:
        found.scale = (values[0], values[-1])
    return found
