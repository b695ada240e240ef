"""From columns of ratings to the fields of `Ratings`: ids, positions in the data set, repeats, scales."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError

from .apart import Apart
from .formats.answers import UNKNOWN, Comparison
from .identity import Positions, codes_of, frame, ids
from .missing_codes import CODES, missing_code, possible_scale

WHOLE_TASK = "(whole task)"  # the question of ratings of features that name no item
Items = Mapping[Any, int] | Sequence[Any] | np.ndarray
Scale = tuple[float, float] | Mapping[str, tuple[float, float]] | None


@dataclass(frozen=True)
class QuestionScale:
    """What the scores of one question are.

    Attributes:
        low: lowest possible score, as declared, else as found.
        high: highest possible score.
        declared: whether the scale was declared.
        categories: names that the scores are codes of; None for graded scores.
    """

    low: float
    high: float
    declared: bool = False
    categories: tuple[str, ...] | None = None

    @property
    def scale(self) -> tuple[float, float]:
        return self.low, self.high


@dataclass
class RatingColumns:
    """One entry a rating, and beside them what is no rating. ``where`` names the place of a rating in messages."""

    item: Any
    rater: Any
    score: np.ndarray
    seconds: np.ndarray
    feature: Any = None
    time: Sequence[Any] | None = None
    categories: Mapping[str | None, tuple[str, ...]] = field(default_factory=dict)
    skipped: Sequence[tuple[Any, Any, str, float]] = ()
    gold: Sequence[tuple[Any, str | None, float]] = ()
    predictions: Sequence[tuple[Any, Any, str | None, float]] = ()
    comparisons: Sequence[Comparison] = ()
    seen: Sequence[Any] = ()
    unread: dict[str, str] = field(default_factory=dict)
    from_text: bool = False
    where: Callable[[int], str] = "scores[{}]".format
    told: Mapping[str | None, Collection[float]] = field(
        default_factory=dict
    )  # scores that the caller gave to labels


@dataclass(frozen=True)
class BuildOptions:
    """How columns become `Ratings`: positions of items, the scale, what a repeated rating means, where it is from."""

    items: Items | None
    scale: Scale
    repeats: str
    source: str
    num_items: int | None = None  # length of the data set, where the file says it


def build(columns: RatingColumns, options: BuildOptions) -> dict[str, Any]:
    """The fields of `Ratings`.

    Raises:
        ValueError: lengths differ, there are no ratings, an id is missing, no item is known, or a score is outside
            the scale.
    """
    if options.repeats not in ("keep", "last"):
        raise InputError(f"repeats must be 'keep' or 'last', not {options.repeats!r}")
    item, rater, feature = _checked_ids(columns, options.source)
    absent = (
        np.array([i is None for i in item], dtype=bool) if item.dtype == object else np.zeros(item.size, bool)
    )
    of_task = feature != None  # noqa: E711
    if (absent & ~of_task).any():
        raise InputError(
            f"items[{int((absent & ~of_task).argmax())}] is missing, and no feature is named either"
        )

    apart = Apart(columns.skipped, columns.gold, columns.predictions, columns.comparisons, columns.from_text)
    keep, unknown, unrated, num_items = (
        np.ones(item.size, bool),
        dict[Any, int](),
        list[Any](),
        options.num_items,
    )
    if options.items is not None:
        positions = Positions(options.items)
        num_items = positions.count
        places = positions.places(item)
        keep = (places >= 0) | absent
        unknown = _counted(item[~keep])
        compared = apart.place(positions)
        if not keep.any() and not compared:
            raise InputError(
                f"{options.source}: none of its {len(unknown)} rated items is in items: "
                f"{next(iter(unknown), None)!r} is not, nor is any other; items has {next(iter(positions.of))!r}"
            )
        item = _with_none(places, absent)
        rated = {p for p in places.tolist() if p >= 0} | compared
        unrated = [p for p in sorted(set(positions.of.values())) if p not in rated]
    elif columns.seen:
        names = ids(list(columns.seen), "items", from_text=columns.from_text)
        rated = set(item.tolist()) | apart.compared()
        unrated = [i for i in names.tolist() if i not in rated]
    kept = np.flatnonzero(keep)
    if options.repeats == "last":
        later = _latest(item[kept], rater[kept], feature[kept], _times(columns.time, kept))
        gone = np.setdiff1d(kept, kept[later])
        apart.skipped += [(item[i], rater[i], "replaced", float(columns.seconds[i])) for i in gone]
        kept = kept[later]
    table = frame({
        "item": item[kept], "rater": rater[kept], "score": columns.score[kept], "seconds": columns.seconds[kept],
        "feature": feature[kept],
    })  # fmt: skip
    questions = _scales(columns, item, feature, options.scale)
    return {
        "frame": table, **apart.frames(), "unknown": unknown, "unrated": unrated, "unread": dict(columns.unread),
        "num_items": num_items, "source": options.source, "questions": questions,
        "scale": overall_scale(questions), "categories": overall_categories(questions),
    }  # fmt: skip


def _checked_ids(columns: RatingColumns, source: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Items, raters and features as arrays of one length."""
    feature = _features(columns.feature, columns.score.size)
    may_miss = bool((feature != None).any())  # noqa: E711
    item = ids(columns.item, "items", from_text=columns.from_text, may_miss=may_miss)
    rater = ids(columns.rater, "raters", from_text=columns.from_text)
    for name, column in (
        ("raters", rater),
        ("scores", columns.score),
        ("seconds", columns.seconds),
        ("features", feature),
    ):
        if column.size != item.size:
            raise InputError(f"{item.size} items but {column.size} {name}: one of each per rating")
    if item.size == 0 and not columns.comparisons:
        raise InputError(f"{source}: there are no ratings")
    return item, rater, feature


def question_of(item: np.ndarray, feature: np.ndarray) -> np.ndarray:
    """(n,) objects: the question of each rating; None for the item itself.

    It is the feature, but ratings of features for the whole task are answers to one question, of which the features
    are the items.
    """
    found = feature.copy()
    if item.dtype == object:
        found[(item == None) & (feature != None)] = WHOLE_TASK  # noqa: E711
    return found


def _scales(
    columns: RatingColumns, item: np.ndarray, feature: np.ndarray, scale: Scale
) -> dict[str | None, QuestionScale]:
    """The scale of each question: as declared, else the range of its scores.

    Raises:
        ValueError: a score is outside the declared scale.
    """
    codes, names = codes_of(question_of(item, feature))
    if not codes.size:
        return {}
    lows, highs = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    np.minimum.at(lows, codes, columns.score)
    np.maximum.at(highs, codes, columns.score)
    declared = [_declared(scale, name) for name in names.tolist()]
    given = np.array([d or (-np.inf, np.inf) for d in declared])
    outside = np.flatnonzero((columns.score < given[codes, 0]) | (columns.score > given[codes, 1]))
    if outside.size:
        first = int(outside[0])
        low, high = given[codes[first]]
        more = f" ({outside.size} such scores)" if outside.size > 1 else ""
        raise InputError(
            f"{columns.where(first)}: {columns.score[first]:g} is outside the scale {low:g} to {high:g}{more}"
        )
    open_ended = np.array(
        [d is None and n not in columns.categories for d, n in zip(declared, names.tolist(), strict=True)]
    )
    doubtful = np.flatnonzero(open_ended & np.isin([lows, highs], CODES).any(0))
    _refuse_missing_codes(columns, codes, {int(i): names[i] for i in doubtful})
    found = {}
    for i, name in enumerate(names.tolist()):
        low, high = declared[i] or (float(lows[i]), float(highs[i]))
        found[name] = QuestionScale(low, high, declared[i] is not None, columns.categories.get(name))
    if isinstance(scale, Mapping):
        stray = [name for name in scale if name not in found]
        if stray:
            raise InputError(
                f"scale names the question {stray[0]!r}, and there are {', '.join(map(repr, found))}"
            )
    return found


def _refuse_missing_codes(columns: RatingColumns, codes: np.ndarray, doubtful: dict[int, str | None]) -> None:
    """Refuse a -1 or 99 among the scores of a question without a declared scale that likely means no answer."""
    for question, name in doubtful.items():
        told = np.isin(columns.score, list(columns.told.get(name, ())))
        scores = columns.score[(codes == question) & ~told]
        code = missing_code(scores)
        if code is not None:
            first = int(np.flatnonzero((codes == question) & (columns.score == code))[0])
            others = scores[scores != code]
            low, high = possible_scale(scores)
            raise InputError(
                f"{columns.where(first)}: {code:g} may stand for no answer, as other scores are {others.min():g} to "
                f"{others.max():g}. Leave such cells empty; or if it is a rating, declare the lowest and highest "
                f"possible score, such as scale=({low:g}, {high:g}) (--scale {low:g} {high:g})"
            )


def _declared(scale: Scale, question: str | None) -> tuple[float, float] | None:
    given = scale.get(str(question)) if isinstance(scale, Mapping) else scale
    if given is None:
        return None
    low, high = float(given[0]), float(given[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"scale must be (low, high) with low < high, not {given}")
    return low, high


def overall_scale(questions: Mapping[str | None, QuestionScale]) -> tuple[float, float]:
    """Lowest and highest score of all questions together; NaN where there is none."""
    if not questions:
        return math.nan, math.nan
    return min(q.low for q in questions.values()), max(q.high for q in questions.values())


def overall_categories(questions: Mapping[str | None, QuestionScale]) -> tuple[str, ...] | None:
    """The categories of the only question; None where it is graded or there are several."""
    return next(iter(questions.values())).categories if len(questions) == 1 else None


def _features(values: Any, n: int) -> np.ndarray:
    if values is None:
        return np.full(n, None, dtype=object)
    codes, names = codes_of(ids(values, "features", may_miss=True), ordered=False)
    table = np.empty(len(names), dtype=object)
    table[:] = [None if f is None else str(f) for f in names.tolist()]
    return np.asarray(table[codes]) if len(names) else np.empty(0, dtype=object)


def _times(time: Sequence[Any] | None, kept: np.ndarray) -> list[Any] | None:
    return [time[i] for i in kept.tolist()] if time else None


def _latest(
    items: np.ndarray, raters: np.ndarray, features: np.ndarray, time: list[Any] | None
) -> np.ndarray:
    """Positions, rising, of the last rating of each (item, rater, feature): by time where all have one.

    Ratings by nobody in particular may be by several people, and none of them replaces another.
    """
    key = np.zeros(items.size, np.int64)
    for column in (items, raters, features):
        codes, names = codes_of(column, ordered=False)
        key = np.unique(key * max(len(names), 1) + codes, return_inverse=True)[1]
    nobody = np.flatnonzero(raters == UNKNOWN)
    key[nobody] = key.max(initial=0) + 1 + np.arange(nobody.size)
    texts = time is not None and all(isinstance(t, str) for t in time)
    numbers = time is not None and all(isinstance(t, int | float) for t in time)
    if time is None or not (texts or numbers):
        return last_of(key)
    order = np.array(sorted(range(len(time)), key=lambda i: time[i]), dtype=np.int64)
    return np.sort(order[last_of(key[order])])


def last_of(keys: np.ndarray) -> np.ndarray:
    """Positions, rising, of the last entry of each key."""
    _, first_from_end = np.unique(keys[::-1], return_index=True)
    return np.sort(keys.size - 1 - first_from_end)


def checked_numbers(values: Any, name: str) -> np.ndarray:
    """(n,) float64.

    Raises:
        TypeError: they are not numbers.
        ValueError: they have more than one dimension.
    """
    array = values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputTypeError(f"{name} must hold numbers") from None
    if array.dtype.kind not in "fiub":
        raise InputTypeError(f"{name} must hold numbers, not {array.dtype}")
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, not of shape {array.shape}")
    return np.asarray(array.astype(np.float64))


def _counted(values: np.ndarray) -> dict[Any, int]:
    codes, names = codes_of(values)
    return dict(zip(names.tolist(), np.bincount(codes, minlength=len(names)).tolist(), strict=True))


def _with_none(places: np.ndarray, absent: np.ndarray) -> np.ndarray:
    if not absent.any():
        return places
    column = places.astype(object)
    column[absent] = None
    return column
