"""Agreement, raters and what is missing, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hitl_fast._common.notebook import html_table

from .agreement import question_agreement
from .rater_table import rater_table
from .rating_data import RatingData
from .selection import by_question

MOST_RATERS = 15
MOST_NAMES = 5
MOST_QUESTIONS = 8


def summary(ratings: RatingData) -> str:
    lines = [f"  {name:<11} {text}" for name, text in _lines(ratings)]
    if len(ratings.questions) > 1:
        return "\n".join([ratings.source, *lines, "", *_questions(ratings)])
    return "\n".join([ratings.source, *lines, "", *_raters(ratings)])


def html(ratings: RatingData) -> str:
    """The lines about all ratings as a table for notebooks."""
    return html_table(ratings.source, _lines(ratings))


def _lines(ratings: RatingData) -> Iterator[tuple[str, str]]:
    frame = ratings.frame
    if len(frame):
        yield from _about_ratings(ratings)
    if len(ratings.comparisons):
        table = ratings.comparisons
        sides = {*table["first"], *table["second"]}
        ties = int((table.outcome == 0.5).sum())
        yield (
            "comparisons",
            (
                f"{len(table):,} of {_n(len(sides), 'item')} by {_n(table.rater.nunique(), 'rater')}; {_n(ties, 'tie')}"
            ),
        )
    if ratings.unrated:
        yield "missing", f"{_n(len(ratings.unrated), 'item')} without a rating: {_names(ratings.unrated)}"
    if ratings.unknown:
        count = sum(ratings.unknown.values())
        unknown = f"{_n(count, 'rating')} of {_n(len(ratings.unknown), 'item')} not in items: "
        yield "unknown", unknown + _names(list(ratings.unknown))
    apart = [f"{n:,} {reason}" for reason, n in ratings.skipped.reason.value_counts().items()]
    for name, table in (("ground truth", ratings.ground_truth), ("predictions", ratings.predictions)):
        if len(table):
            apart.append(f"{len(table):,} {name}")
    yield "set apart", ", ".join(apart) or "nothing"
    if ratings.unread:
        yield (
            "not read",
            "; ".join(f"{name!r}: {why}" for name, why in list(ratings.unread.items())[:MOST_NAMES]),
        )
    if len(ratings.questions) == 1 and len(frame):
        yield "agreement", _agreement(ratings)
    if len(ratings.questions) <= 1 and len(frame) and not len(ratings.ground_truth):
        yield "intervals", "assume that raters err independently; no ground truth to check that"
    seconds = frame.seconds.dropna()
    yield "seconds", f"median {seconds.median():.1f} an answer" if len(seconds) else "not recorded"


def _about_ratings(ratings: RatingData) -> Iterator[tuple[str, str]]:
    frame = ratings.frame
    of = f"{_n(frame.item.nunique(), 'item')} by {_n(frame.rater.nunique(), 'rater')}"
    if len(ratings.questions) > 1:
        of += f"; {len(ratings.questions):,} questions"
    elif ratings.categories is None:
        low, high = ratings.scale
        of += f"; scores {low:g} to {high:g}, mean {frame.score.mean():.2f}"
    yield "ratings", f"{len(frame):,} of {of}"
    if ratings.categories is not None:
        counts = np.bincount(frame.score.to_numpy().astype(int), minlength=len(ratings.categories))
        yield "categories", _names([f"{c} {n:,}" for c, n in zip(ratings.categories, counts, strict=True)])
    if ratings.features:
        yield "features", f"{len(ratings.features):,}: {_names(ratings.features)}"
    each = frame.groupby(["item", "feature"], dropna=False).size()
    once = int((each == 1).sum())
    alone = f"; {once:,} rated once" if once else ""
    yield "per item", f"{each.min()} to {each.max()} ratings, median {each.median():g}{alone}"


def _agreement(ratings: RatingData) -> str:
    try:
        found = question_agreement(ratings, "interval" if ratings.categories is None else "nominal")
    except ValueError as undefined:
        return str(undefined).removeprefix("agreement is ")
    return f"{found}: {_word(found.alpha)}"


def _word(alpha: float) -> str:
    if alpha >= 0.8:
        return "reliable"
    return "good for tentative conclusions" if alpha >= 0.667 else "too low to rely on one rater"


def _questions(ratings: RatingData) -> Iterator[str]:
    """A line for each question, and the raters of each on whom something is to be done."""
    parts = list(by_question(ratings).items())
    shown = parts[:MOST_QUESTIONS]
    width = max(8, *(len(str(name)) for name, _ in shown))
    yield f"  {'question':<{width}} {'ratings':>8} {'scale':>12}  agreement"
    for name, part in shown:
        low, high = part.scale
        scale = f"{low:g} to {high:g}" if part.categories is None else f"{len(part.categories)} labels"
        yield f"  {name or '(the item)'!s:<{width}} {len(part):>8,} {scale:>12}  {_agreement(part)}"
    if len(parts) > len(shown):
        yield f"  and {len(parts) - len(shown):,} more"
    doubts = [
        f"  {row['action']} {rater!s} ({name}): {row['evidence']}"
        for name, part in shown
        for rater, row in rater_table(part).iterrows()
        if row["action"]
    ]
    if doubts:
        yield ""
        yield from doubts[:MOST_RATERS]


def _raters(ratings: RatingData) -> Iterator[str]:
    table = rater_table(ratings)
    wanted = ("bias", "scale", "reliability", "agreed", "discrimination", "seconds", "gold")
    known = [c for c in wanted if c in table and table[c].notna().any()]
    width = max(5, *(len(str(name)) for name in table.index[:MOST_RATERS]))
    yield f"  {'rater':<{width}} {'n':>8}" + "".join(f" {c:>14}" for c in known)
    for name, row in table.head(MOST_RATERS).iterrows():
        cells = "".join(f" {'' if np.isnan(row[c]) else format(row[c], '.2f'):>14}" for c in known)
        yield f"  {name!s:<{width}} {row['n']:>8,}{cells}{_remark(row)}"
    if len(table) > MOST_RATERS:
        yield f"  and {len(table) - MOST_RATERS} more"


def _remark(row: Any) -> str:
    if row["action"]:
        return f"  {row['action']}: {row['evidence']}"
    return "  always the same score" if row.get("constant", False) else ""


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _names(names: list[Any]) -> str:
    shown = ", ".join(str(n) for n in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else "")
