"""What one asks of a file of ratings first, on one screen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .table import Ratings

MOST_RATERS = 15
MOST_NAMES = 5
RANDOM = 0.05  # reliability below which answers look random, given enough of them
ENOUGH = 20


def summary(ratings: Ratings) -> str:
    return "\n".join(
        [ratings.source, *(f"  {name:<11} {text}" for name, text in _lines(ratings)), "", *_raters(ratings)]
    )


def _lines(ratings: Ratings) -> Iterator[tuple[str, str]]:
    frame = ratings.frame
    n_items = frame.item.nunique()
    of = f"{_n(n_items, 'item')} by {_n(frame.rater.nunique(), 'rater')}"
    if ratings.categories is None:
        low, high = ratings.scale
        of += f"; scores {low:g} to {high:g}, mean {frame.score.mean():.2f}"
    yield "ratings", f"{len(frame):,} of {of}"
    if ratings.categories is not None:
        counts = np.bincount(frame.score.to_numpy().astype(int), minlength=len(ratings.categories))
        yield "categories", _names([f"{c} {n:,}" for c, n in zip(ratings.categories, counts, strict=True)])
    if ratings.features:
        yield "features", f"{len(ratings.features)}: {_names(ratings.features)}"
    each = frame.groupby(["item", "feature"], dropna=False).size()
    once = int((each == 1).sum())
    alone = f"; {once:,} rated once" if once else ""
    yield "per item", f"{each.min()} to {each.max()} ratings, median {each.median():g}{alone}"
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
    yield "agreement", _agreement(ratings)
    seconds = frame.seconds.dropna()
    yield "seconds", f"median {seconds.median():.1f} an answer" if len(seconds) else "not recorded"


def _agreement(ratings: Ratings) -> str:
    try:
        found = ratings.agreement("interval" if ratings.categories is None else "nominal")
    except ValueError as undefined:
        return str(undefined).removeprefix("agreement is ")
    if found.alpha >= 0.8:
        word = "reliable"
    else:
        word = "good for tentative conclusions" if found.alpha >= 0.667 else "too low to rely on one rater"
    return f"{found}: {word}"


def _raters(ratings: Ratings) -> Iterator[str]:
    table = ratings.raters()
    known = [c for c in ("bias", "scale", "reliability", "seconds", "gold") if table[c].notna().any()]
    width = max(5, *(len(str(name)) for name in table.index[:MOST_RATERS]))
    yield f"  {'rater':<{width}} {'n':>8}" + "".join(f" {c:>11}" for c in known)
    for name, row in table.head(MOST_RATERS).iterrows():
        cells = "".join(f" {'' if np.isnan(row[c]) else format(row[c], '.2f'):>11}" for c in known)
        yield f"  {name!s:<{width}} {row['n']:>8,}{cells}{_remark(row)}"
    if len(table) > MOST_RATERS:
        yield f"  and {len(table) - MOST_RATERS} more"


def _remark(row: Any) -> str:
    if row["constant"]:
        return "  always the same score"
    return "  like random answers" if row["n"] >= ENOUGH and row["reliability"] < RANDOM else ""


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _names(names: list[Any]) -> str:
    shown = ", ".join(str(n) for n in names[:MOST_NAMES])
    return shown + (f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else "")
