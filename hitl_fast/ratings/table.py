"""`Ratings`: who rated what how, and what can be said of it before anything is trained."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from hitl_kernels.dawid_skene import dawid_skene
from hitl_kernels.rater_model import RaterModel, rater_model

from hitl_fast._common.errors import InputError, InputTypeError

from . import formats
from .agreement import Agreement, krippendorff
from .formats.answers import UNKNOWN
from .identity import Positions, frame, ids, pandas_module
from .priorities import Priorities
from .scores import read_scores

if TYPE_CHECKING:
    import pandas

    from .signals import Signals

METHODS = ("mean", "calibrated", "dawid_skene")
# A second answer of the same person replaces the first in a tool's export; a table may mean both.
REPLACED_IN = ("Label Studio", "Argilla", "Prodigy")
Items = Mapping[Any, int] | Sequence[Any] | np.ndarray


@dataclass(frozen=True, eq=False)
class Ratings:
    """Ratings of items, or of features of items, by people.

    Attributes:
        frame: one row a rating, with the columns item, rater, score (float64), seconds (float64, NaN where
            unknown; of the whole form where one form asks several questions) and feature (None where the item
            itself was rated). item is a position in the data set if ``items`` was given, else the id in the file;
            None for the rating of a feature for the whole task.
        skipped: answers that are no ratings, with item, rater, reason (skipped, cancelled, draft, discarded,
            rejected, empty, replaced) and seconds.
        ground_truth: item, feature and score of answers known to be true.
        predictions: item, model, feature and score of what models said.
        scale: lowest and highest possible score: as declared, else as found.
        categories: names of the categories that the scores are codes of; None for graded scores.
        unknown: ratings of each item id that ``items`` does not know; those ratings are left out.
        unrated: items that the file or ``items`` names and nobody rated.
        unread: questions of the file that were not read, and why.
        num_items: length of the data set, if ``items`` was given.
        source: where it comes from.
    """

    frame: pandas.DataFrame
    skipped: pandas.DataFrame
    ground_truth: pandas.DataFrame
    predictions: pandas.DataFrame
    scale: tuple[float, float]
    categories: tuple[str, ...] | None
    unknown: dict[Any, int]
    unrated: list[Any]
    unread: dict[str, str]
    num_items: int | None
    source: str

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        format: str | None = None,
        *,
        items: Items | None = None,
        item: str | None = None,
        question: str | Sequence[str] | None = None,
        labels: Mapping[str, float] | None = None,
        columns: Mapping[str, str] | None = None,
        scale: tuple[float, float] | None = None,
        repeats: str | None = None,
    ) -> Ratings:
        r"""Read an export of Label Studio, Argilla or Prodigy, or a table, whatever it is called.

        Skipped and cancelled answers, drafts, ground truth and predictions are never scores. Every question that
        people answer in numbers (ratings, numbers, thumbs, labels such as "4 - good") is read: one question
        leaves the feature empty, several are features by their names. Where there is none and one question is a
        choice, its labels are categories; ticks of a list of options are 1 or 0 for each option as a feature.

        "3,5" is 3.5, "1,234.5" is 1234.5 and "80%" is 80. "1,000" may be a thousand or one with a decimal comma and
        is refused; between semicolons every comma is a decimal one.

        A table is long (a row a rating) or wide (a column a rater). Every other column of numbers in a wide table
        is a rater, but for names such as "mean", "consensus" or "model" (they are in ``unread``; format="wide" makes
        raters of them too, and of columns of words where there are no numbers). Columns that may be either, such as
        image, label, anna, ben, are refused until format= says "wide" or "long". A column "gold" or "prediction" of
        0 and 1 holds truths or predictions where the scores are 0 and 1, and else says which rows are.

        A JSON record may hold its ratings: {"id": 7, "ratings": {"anna": 3, "ben": 4}} names raters, or questions
        where the record or the map names the rater; in a list of objects the record's item id goes before the
        ratings' own, unless it is the record that names the rater.

        Args:
            path: JSON, JSON lines, CSV or Parquet, gzipped or not.
            format: one of label_studio, label_studio_min, argilla, argilla_flat, prodigy, long, wide, csv, jsonl,
                parquet; None recognises it by what is in it.
            items: ids of the data set's items in order, or a mapping of id to position: scores are then filed
                by position, and ids that it does not know are counted in ``unknown``.
            item: where the item id is, if not where the format has it, such as "data.image" or "meta.id".
            question: the question or questions to read.
            labels: what the labels of a choice are worth, such as {"low": 0, "high": 2}.
            columns: names of a table's columns by role: item, rater, score, feature, seconds, milliseconds,
                status, gold, prediction.
            scale: lowest and highest possible score; a score outside it is an error.
            repeats: "last": a person's later rating of an item replaces the earlier; "keep": both count. By
                default the former for the three tools and the latter for tables.

        Raises:
            ValueError: the file is damaged or foreign, an answer is not what its question asks for or may be two
                different numbers, or a score is outside the scale (the line is named); or nothing in it is a rating,
                or it may be long or wide.
            OSError: it cannot be opened.
            ImportError: pandas (or pyarrow for Parquet) is not installed.

        >>> _ = Path("ratings.csv").write_text("item,rater,score\n0,anna,4\n0,ben,5\n1,anna,2\n1,ben,2\n")
        >>> Ratings.read("ratings.csv").aggregate("mean").score
        array([4.5, 2. ])
        """
        wanted = [question] if isinstance(question, str) else question
        answers = formats.read(Path(path), format, item, wanted, columns)
        scores = read_scores(answers, wanted, labels)
        from_tool = answers.format.startswith(REPLACED_IN)
        return _build(
            scores.item, scores.rater, np.array(scores.score, np.float64), np.array(scores.seconds, np.float64),
            scores.feature, items=items, scale=scale, source=f"{answers.source} ({answers.format})",
            repeats=repeats or ("last" if from_tool else "keep"), from_text=not from_tool or answers.untyped,
            where=lambda row: answers.at(scores.line[row]), time=scores.time, categories=scores.categories,
            skipped=answers.apart, gold=scores.gold, predictions=scores.predictions, seen=list(answers.seen),
            unread=scores.unread,
        )  # fmt: skip

    @classmethod
    def from_arrays(
        cls,
        items: Any,
        raters: Any,
        scores: Any,
        *,
        seconds: Any = None,
        features: Any = None,
        positions: Items | None = None,
        scale: tuple[float, float] | None = None,
        repeats: str = "keep",
    ) -> Ratings:
        """Ratings from one array each of items, raters and scores: entry i is one rating.

        Args:
            items: (n,) integers or text.
            raters: (n,) integers or text.
            scores: (n,) finite numbers.
            seconds: (n,) seconds spent; None where unknown.
            features: (n,) names of the features rated; None for ratings of items.
            positions: as ``items`` of `read`: where each item id is in the data set.
            scale: lowest and highest possible score.
            repeats: "keep" or "last", as in `read`.

        Raises:
            TypeError: scores are not numbers.
            ValueError: lengths differ, there are none, or a score is not finite or outside the scale.

        >>> Ratings.from_arrays([0, 0, 1], ["anna", "ben", "anna"], [1, 2, 5]).frame.score.tolist()
        [1.0, 2.0, 5.0]
        """
        score = _numbers(scores, "scores")
        bad = np.flatnonzero(~np.isfinite(score))
        if bad.size:
            raise InputError(f"scores[{bad[0]}] is {score[bad[0]]}: every score must be finite")
        spent = np.full(score.size, np.nan) if seconds is None else _numbers(seconds, "seconds")
        return _build(
            items,
            raters,
            score,
            spent,
            features,
            items=positions,
            scale=scale,
            source="arrays",
            repeats=repeats,
        )

    @classmethod
    def from_frame(
        cls,
        table: pandas.DataFrame,
        *,
        items: Items | None = None,
        scale: tuple[float, float] | None = None,
        repeats: str = "keep",
    ) -> Ratings:
        """Ratings from a long frame: columns item, rater, score and, if there, seconds and feature.

        A row whose score is missing is an empty answer, counted in ``skipped``.

        Args:
            table: the frame.
            items: as in `read`.
            scale: as in `read`.
            repeats: "keep" or "last", as in `read`.

        Raises:
            ValueError: a column is missing, or as in `from_arrays`.
        """
        for name in ("rater", "score"):
            if name not in table.columns:
                raise InputError(
                    f"the frame has no column {name!r}, only {', '.join(map(repr, table.columns))}"
                )
        if "item" not in table.columns and "feature" not in table.columns:
            raise InputError("the frame has neither a column 'item' nor a column 'feature'")
        given = table["score"].notna().to_numpy()
        rated, empty = table[given], table[~given]
        size = len(rated)
        score = _numbers(rated["score"].to_numpy(), "score")
        bad = np.flatnonzero(~np.isfinite(score))
        if bad.size:
            raise InputError(
                f"score of row {rated.index[bad[0]]!r} is {score[bad[0]]}: every score must be finite"
            )
        seconds = (
            _numbers(rated["seconds"].to_numpy(dtype=float, na_value=np.nan), "seconds")
            if "seconds" in table.columns
            else np.full(size, np.nan)
        )
        return _build(
            rated["item"] if "item" in table.columns else [None] * size,
            rated["rater"],
            score,
            seconds,
            rated["feature"] if "feature" in table.columns else None,
            items=items,
            scale=scale,
            source="frame",
            repeats=repeats,
            skipped=[
                (item, rater, "empty", math.nan)
                for item, rater in zip(empty.get("item", [None] * len(empty)), empty["rater"], strict=True)
            ],
        )

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        f = self.frame
        return f"Ratings({self.source}: {len(f):,} of {f.item.nunique():,} items by {f.rater.nunique():,} raters)"

    @property
    def features(self) -> list[str]:
        """Names of the features rated, numbers in their order."""
        return sorted({f for f in self.frame.feature if f is not None}, key=_natural)

    def only(self, feature: str | None) -> Ratings:
        """The ratings of one feature, as ratings of items; those of items themselves for None.

        Raises:
            ValueError: there are none.
        """
        return _replace_feature(self, feature)

    def agreement(
        self, level: str = "interval", *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
    ) -> Agreement:
        """Krippendorff's alpha of the raters, with a bootstrap interval over items.

        The unit of agreement is the item, or the item and feature. Of a rater's several ratings of one unit the
        last counts. See `hitl_fast.ratings.agreement.krippendorff` for the formula.

        Args:
            level: "nominal", "ordinal", "interval" or "ratio".
            replicates: resamples of the interval.
            confidence: its probability.
            seed: of the resampling.

        Raises:
            ValueError: agreement is undefined, and why: one rater only, no item with two raters, or every score
                the same; or categories are compared as numbers.

        >>> ratings = Ratings.from_arrays([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], [1, 1, 2, 2, 3, 4])
        >>> round(ratings.agreement().alpha, 3)
        0.878
        """
        if self.categories is not None and level != "nominal" and len(self.categories) > 2:
            raise InputError(
                f"level {level!r} compares numbers, but the scores are categories: use level='nominal'"
            )
        units, raters, _ = self._codes()
        if raters.max() == 0:
            raise InputError(f"agreement is undefined: {self.frame.rater.iloc[0]!r} is the only rater")
        last = _last_of(units * (int(raters.max()) + 1) + raters)
        scores = self.frame.score.to_numpy()
        return krippendorff(
            units[last], scores[last], level, replicates=replicates, confidence=confidence, seed=seed
        )

    def raters(self) -> pandas.DataFrame:
        """A row for each rater, most ratings first.

        Columns: n (ratings); bias (how much higher than the consensus, for the average item), scale (step for
        one step of the consensus) and reliability (share of the variance that comes from the items; near 0 for
        answers at random) from `hitl_kernels.rater_model`, NaN where nobody shares an item with another or the
        scores are categories; seconds (median per answer); gold_n and gold (how near to the ground truth:
        1 - mean |score - truth| / width of the scale; share of right answers for categories); constant (the same
        score three times or more and never another).
        """
        pd = pandas_module()
        units, rater_codes, names = self._codes()
        score = self.frame.score
        groups = score.groupby(rater_codes)
        n = groups.count().to_numpy()
        table = pd.DataFrame({"n": n}, index=pd.Index(names, name="rater"))
        model = self._model(units, rater_codes) if self._calibrates(units, rater_codes) else None
        for column in ("bias", "scale", "reliability"):
            table[column] = np.nan if model is None else getattr(model, column)
        table["seconds"] = self.frame.seconds.groupby(rater_codes).median().to_numpy()
        table["gold_n"], table["gold"] = self._against_gold(rater_codes, len(names))
        table["constant"] = (n >= 3) & (groups.min().to_numpy() == groups.max().to_numpy())
        return table.sort_values("n", ascending=False, kind="stable")

    def aggregate(
        self, method: str = "calibrated", *, labels: Mapping[str, float] | None = None
    ) -> Priorities:
        """One score for each item, with its variance.

        ``mean`` is the plain mean, its variance that of the ratings about their items' means over the number of
        ratings. ``calibrated`` (for graded scores) gives each rater a bias, a scale and a reliability, and is
        `hitl_kernels.rater_model.rater_model`. ``dawid_skene`` (for categories, or few different scores) gives
        each rater a confusion matrix: the score is the expected worth of the category; where categories have no
        worth, the probability of the likeliest one.

        Args:
            method: "mean", "calibrated" or "dawid_skene".
            labels: what each category is worth.

        Raises:
            ValueError: the method does not fit the scores, features were rated (choose one with `only`, or use
                `importance`), or no item has two raters, which ``calibrated`` needs.

        >>> Ratings.from_arrays([7, 7, 9], [0, 1, 0], [1.0, 2.0, 4.0]).aggregate("mean").items
        array([7, 9])
        """
        if method not in METHODS:
            raise InputError(f"method must be one of {', '.join(METHODS)}, not {method!r}")
        if self.frame.feature.notna().any():
            raise InputError(
                f"these are ratings of features ({', '.join(self.features[:5])}): choose one with "
                "ratings.only(feature), or use ratings.importance()"
            )
        worth = self._worth(labels)
        units, raters, _ = self._codes()
        items = _distinct(self.frame.item.to_numpy())
        count = np.bincount(units)
        if method == "dawid_skene":
            return self._by_category(items, units, raters, worth)
        if worth is not None and any(math.isnan(w) for w in worth.values()):
            raise InputError(
                f"method {method!r} needs graded scores, and these are categories ({', '.join(worth)}): use "
                "method='dawid_skene', or say what each is worth with labels={...}"
            )
        values = self._values(worth)
        scale = self.scale if worth is None else (min(worth.values()), max(worth.values()))
        if method == "mean":
            score, variance = _means(units, values, count)
        else:
            self._refuse_uncalibrated(units, raters)
            model = rater_model(units, raters, values)
            score, variance = model.score, model.variance
        return Priorities(items, score, variance, count, scale, method, self.num_items)

    def importance(
        self,
        method: str = "mean",
        *,
        num_items: int | None = None,
        features: Sequence[Any] | None = None,
        missing: str | float = "mean",
    ) -> torch.Tensor:
        """Importance of features in [0, 1] from ratings of (item, feature), or of features for the whole task.

        A score is (score - low) / (high - low) of the scale. What nobody rated is filled: an item's feature from
        the rating of that feature for the whole task if there is one, else as ``missing`` says.

        Args:
            method: "mean" or "calibrated", over the raters of each (item, feature).
            num_items: length of the data set; not needed where ``items`` was given or only the whole task was
                rated.
            features: their order in the result; by default `features`.
            missing: "mean" (of the feature over rated items, else of everything), "error", or a number in [0, 1].

        Returns:
            float32, (num_items, features); (features,) where only the whole task was rated and num_items is None.

        Raises:
            ValueError: no feature was rated, an item is not a position below num_items, a feature is not known,
                or something is missing and ``missing`` is "error".

        >>> features = ["ear", "tail", "ear"]
        >>> ratings = Ratings.from_arrays([0, 0, 1], [0, 0, 0], [1, 5, 3], features=features, scale=(1, 5))
        >>> ratings.importance(num_items=2, missing=0.0)
        tensor([[0.0000, 1.0000],
                [0.5000, 0.0000]])
        """
        rated = self.frame.feature.notna().to_numpy()
        if not rated.any():
            raise InputError("no feature was rated: every rating is of an item")
        if method not in ("mean", "calibrated"):
            raise InputError(f"method must be mean or calibrated, not {method!r}")
        names = self.features if features is None else [str(f) for f in features]
        if len(set(names)) < len(names):
            raise InputError("features names one twice")
        column = {name: i for i, name in enumerate(names)}
        stray = [f for f in self.features if f not in column]
        if stray:
            raise InputError(f"{len(stray)} rated features are not in features: {', '.join(stray[:5])}")
        item, feature, level = self._feature_levels(rated, method)
        whole = np.array([i is None for i in item])
        size = num_items if num_items is not None else self.num_items
        places = np.array([column[f] for f in feature])
        task = np.full(len(names), np.nan)
        task[places[whole]] = level[whole]
        if whole.all() and size is None:
            return torch.from_numpy(_filled(task[None], missing, names, None)[0]).float()
        position = _positions(np.array([i for i in item if i is not None], dtype=object), size)
        if size is None:
            raise InputError("num_items is needed: the length of the data set")
        table = np.full((size, len(names)), np.nan)
        table[position, places[~whole]] = level[~whole]
        table = np.where(np.isnan(table), task, table)
        return torch.from_numpy(_filled(table, missing, names, size)).float()

    def ask_next(self, signals: Signals, n: int, *, diversity: float = 0.0, seed: int = 0) -> np.ndarray:
        """Positions of the n samples to ask about next, given these answers.

        See `hitl_fast.ratings.questions.ask_next` for the formula, arguments and errors.
        """
        from .questions import ask_next

        answered = self.frame.item.dropna().to_numpy()
        return ask_next(signals, n, answered=answered, diversity=diversity, seed=seed)

    def summary(self) -> str:
        """The questions that one asks first, answered on one screen."""
        from .summary import summary

        return summary(self)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw scores, ratings an item, and raters into a PNG or SVG file (needs the extra ``plots``)."""
        from .plot import plot

        plot(self, Path(path))

    def _codes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit (item, or item and feature) and rater of each rating as integers from 0, and the raters."""
        items = _codes_of(self.frame.item.to_numpy())[0]
        if self.frame.feature.notna().any():
            features, names = _codes_of(self.frame.feature.to_numpy())
            items = np.unique(items * len(names) + features, return_inverse=True)[1]
        raters, names = _codes_of(self.frame.rater.to_numpy())
        return items, raters, names

    def _calibrates(self, units: np.ndarray, raters: np.ndarray) -> bool:
        return self.categories is None and _shared(units, raters)

    def _refuse_uncalibrated(self, units: np.ndarray, raters: np.ndarray) -> None:
        if not _shared(units, raters):
            n = int(raters.max()) + 1
            why = "there is only one rater" if n == 1 else f"no item was rated by two of the {n} raters"
            raise InputError(f"method 'calibrated' cannot tell raters from items: {why}; use method='mean'")

    def _model(self, units: np.ndarray, raters: np.ndarray) -> RaterModel:
        return rater_model(units, raters, self.frame.score.to_numpy())

    def _worth(self, labels: Mapping[str, float] | None) -> dict[str, float] | None:
        """What each category is worth, NaN where that is not said; None for graded scores."""
        if self.categories is None:
            if labels is not None:
                raise InputError("labels are for categories, and these scores are graded")
            return None
        if labels is None:
            known = len(self.categories) == 2
            return {c: float(i) if known else math.nan for i, c in enumerate(self.categories)}
        absent = [c for c in self.categories if c not in labels]
        if absent:
            raise InputError(
                f"labels does not say what {absent[0]!r} is worth; categories: {self.categories}"
            )
        return {c: float(labels[c]) for c in self.categories}

    def _values(self, worth: dict[str, float] | None) -> np.ndarray:
        score = self.frame.score.to_numpy()
        return np.asarray(score if worth is None else np.array(list(worth.values()))[score.astype(np.int64)])

    def _by_category(
        self, items: np.ndarray, units: np.ndarray, raters: np.ndarray, worth: dict[str, float] | None
    ) -> Priorities:
        score = self.frame.score.to_numpy()
        if worth is None:
            levels, codes = np.unique(score, return_inverse=True)
            if levels.size > 64:
                raise InputError(
                    f"method 'dawid_skene' takes categories, and there are {levels.size} different scores: use "
                    "method='calibrated'"
                )
            names = tuple(f"{level:g}" for level in levels)
        else:
            levels, codes = np.array(list(worth.values())), score.astype(np.int64)
            names = tuple(worth)
        model = dawid_skene(units, raters, codes, num_labels=len(names))
        p = model.posterior
        if np.isnan(levels).any():
            top = p.max(1)
            return Priorities(
                items,
                top,
                top * (1 - top),
                np.bincount(units),
                (0.0, 1.0),
                "dawid_skene",
                self.num_items,
                names,
                p,
            )
        expected = p @ levels
        scale = self.scale if worth is None else (float(levels.min()), float(levels.max()))
        variance = np.maximum(p @ levels**2 - expected**2, 0)
        return Priorities(
            items, expected, variance, np.bincount(units), scale, "dawid_skene", self.num_items, names, p
        )

    def _against_gold(self, rater_codes: np.ndarray, n_raters: int) -> tuple[np.ndarray, np.ndarray]:
        truth = self.ground_truth.dropna(subset=["score"]).drop_duplicates(["item", "feature"], keep="last")
        known = dict(zip(zip(truth.item, truth.feature, strict=True), truth.score, strict=True))
        if not known:
            return np.zeros(n_raters, np.int64), np.full(n_raters, np.nan)
        pairs = zip(self.frame.item, self.frame.feature, strict=True)
        gold = np.array([known.get(pair, np.nan) for pair in pairs])
        has = ~np.isnan(gold)
        off = np.abs(self.frame.score.to_numpy()[has] - gold[has])
        width = self.scale[1] - self.scale[0]
        far = off > 0 if self.categories is not None else np.minimum(off / width, 1) if width > 0 else off * 0
        n = np.bincount(rater_codes[has], minlength=n_raters)
        near = n - np.bincount(rater_codes[has], far.astype(np.float64), minlength=n_raters)
        return n, np.where(n > 0, near / np.maximum(n, 1), np.nan)

    def _feature_levels(self, rated: np.ndarray, method: str) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Item (None: the whole task), feature and level in [0, 1] of every rated pair."""
        part = self.frame[rated]
        items, item_names = _codes_of(part.item.to_numpy())
        features, feature_names = _codes_of(part.feature.to_numpy())
        pairs, units = np.unique(items * len(feature_names) + features, return_inverse=True)
        raters = _codes_of(part.rater.to_numpy())[0]
        score = part.score.to_numpy()
        if method == "calibrated":
            self._refuse_uncalibrated(units, raters)
            value = rater_model(units, raters, score).score
        else:
            value = np.bincount(units, score) / np.bincount(units)
        low, high = self.scale
        level = np.clip((value - low) / (high - low), 0, 1) if high > low else np.ones_like(value)
        return (
            item_names[pairs // len(feature_names)].astype(object),
            [str(f) for f in feature_names[pairs % len(feature_names)]],
            level,
        )


def _build(
    item: Any,
    rater: Any,
    score: np.ndarray,
    seconds: np.ndarray,
    feature: Any,
    *,
    items: Items | None,
    scale: tuple[float, float] | None,
    source: str,
    repeats: str,
    from_text: bool = False,
    where: Any = None,
    time: Sequence[Any] | None = None,
    categories: tuple[str, ...] | None = None,
    skipped: Sequence[tuple[Any, Any, str, float]] = (),
    gold: Sequence[tuple[Any, str | None, float]] = (),
    predictions: Sequence[tuple[Any, Any, str | None, float]] = (),
    seen: Sequence[Any] = (),
    unread: dict[str, str] | None = None,
) -> Ratings:
    """Check the columns, map items to positions, and set apart what is no rating."""
    if repeats not in ("keep", "last"):
        raise InputError(f"repeats must be 'keep' or 'last', not {repeats!r}")
    feature_ids = _features(feature, score.size)
    of_task = np.array([f is not None for f in feature_ids])
    item_ids = ids(item, "items", from_text=from_text, may_miss=bool(of_task.any()))
    rater_ids = ids(rater, "raters", from_text=from_text)
    for name, column in (
        ("raters", rater_ids),
        ("scores", score),
        ("seconds", seconds),
        ("features", feature_ids),
    ):
        if column.size != item_ids.size:
            raise InputError(f"{item_ids.size} items but {column.size} {name}: one of each per rating")
    if item_ids.size == 0:
        raise InputError(f"{source}: there are no ratings")
    absent = (
        np.array([i is None for i in item_ids]) if item_ids.dtype == object else np.zeros(score.size, bool)
    )
    if (absent & ~of_task).any():
        raise InputError(
            f"items[{int((absent & ~of_task).argmax())}] is missing, and no feature is named either"
        )
    declared = _check_scale(scale, score, where or (lambda row: f"scores[{row}]"))
    apart = _Apart(skipped, gold, predictions, from_text)
    names = ids(list(seen), "items", from_text=from_text) if seen else np.empty(0, np.int64)
    keep, unknown, unrated, num_items = np.ones(score.size, bool), dict[Any, int](), list[Any](), None
    if items is not None:
        positions = Positions(items)
        num_items = positions.count
        places = positions.places(item_ids)
        keep = (places >= 0) | absent
        unknown = _count(item_ids[~keep])
        if not keep.any():
            raise InputError(
                f"{source}: none of its {len(unknown)} rated items is in items: {next(iter(unknown))!r} is not, nor "
                f"is any other; items has {next(iter(positions.of))!r}"
            )
        item_ids = _with_none(places, absent)
        apart.place(positions)
        rated = {p for p in places.tolist() if p >= 0}
        unrated = [p for p in sorted(set(positions.of.values())) if p not in rated]
    elif seen:
        rated = set(item_ids.tolist())
        unrated = [i for i in names.tolist() if i not in rated]
    kept = np.flatnonzero(keep)
    if repeats == "last":
        later = _latest(
            item_ids[kept],
            rater_ids[kept],
            feature_ids[kept],
            [time[i] for i in kept.tolist()] if time else None,
        )
        gone = np.setdiff1d(kept, kept[later])
        apart.skipped += [(item_ids[i], rater_ids[i], "replaced", float(seconds[i])) for i in gone]
        kept = kept[later]
    return Ratings(
        frame({
            "item": item_ids[kept], "rater": rater_ids[kept], "score": score[kept], "seconds": seconds[kept],
            "feature": feature_ids[kept],
        }),
        *apart.frames(), declared, categories, unknown, unrated, unread or {}, num_items, source,
    )  # fmt: skip


class _Apart:
    """The three tables of what is not a rating."""

    def __init__(self, skipped: Any, gold: Any, predictions: Any, from_text: bool) -> None:
        self.skipped, self.gold, self.predictions = list(skipped), list(gold), list(predictions)
        for rows in (self.skipped, self.gold, self.predictions):
            named = ids([row[0] for row in rows], "items", from_text=from_text, may_miss=True) if rows else ()
            rows[:] = [(name, *row[1:]) for name, row in zip(named, rows, strict=True)]

    def place(self, positions: Positions) -> None:
        for rows in (self.skipped, self.gold, self.predictions):
            found = positions.places(np.array([row[0] for row in rows], dtype=object))
            rows[:] = [(int(p), *row[1:]) for p, row in zip(found, rows, strict=True) if p >= 0]

    def frames(self) -> tuple[Any, Any, Any]:
        return (
            _frame_of(self.skipped, ("item", "rater", "reason", "seconds")),
            _frame_of(self.gold, ("item", "feature", "score")),
            _frame_of(self.predictions, ("item", "model", "feature", "score")),
        )


def _frame_of(rows: list[Any], names: tuple[str, ...]) -> Any:
    columns: dict[str, np.ndarray] = {}
    for i, name in enumerate(names):
        column = np.empty(len(rows), np.float64 if name in ("seconds", "score") else object)
        column[:] = [row[i] for row in rows]
        whole = name == "item" and len(rows) > 0 and all(isinstance(v, int | np.integer) for v in column)
        columns[name] = column.astype(np.int64) if whole else column
    return frame(columns)


def _features(values: Any, n: int) -> np.ndarray:
    if values is None:
        return np.full(n, None, dtype=object)
    names = ids(values, "features", may_miss=True)
    return np.array([None if f is None else str(f) for f in names.tolist()], dtype=object)


def _check_scale(scale: tuple[float, float] | None, score: np.ndarray, where: Any) -> tuple[float, float]:
    if scale is None:
        return float(score.min()), float(score.max())
    low, high = float(scale[0]), float(scale[1])
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"scale must be (low, high) with low < high, not {scale}")
    outside = np.flatnonzero((score < low) | (score > high))
    if outside.size:
        first = int(outside[0])
        more = f" ({outside.size} such scores)" if outside.size > 1 else ""
        raise InputError(f"{where(first)}: {score[first]:g} is outside the scale {low:g} to {high:g}{more}")
    return low, high


def _latest(
    items: np.ndarray, raters: np.ndarray, features: np.ndarray, time: list[Any] | None
) -> np.ndarray:
    """Positions, rising, of the last rating of each (item, rater, feature): by time where all tell it.

    Ratings by nobody in particular may be by several people, and none of them replaces another.
    """
    key = np.zeros(items.size, np.int64)
    for column in (items, raters, features):
        codes, names = _codes_of(column)
        key = np.unique(key * len(names) + codes, return_inverse=True)[1]
    nobody = np.flatnonzero(raters == UNKNOWN)
    key[nobody] = key.max() + 1 + np.arange(nobody.size)
    texts = time is not None and all(isinstance(t, str) for t in time)
    numbers = time is not None and all(isinstance(t, int | float) for t in time)
    if time is None or not (texts or numbers):
        return _last_of(key)
    order = np.array(sorted(range(len(time)), key=lambda i: time[i]), dtype=np.int64)
    return np.sort(order[_last_of(key[order])])


def _last_of(keys: np.ndarray) -> np.ndarray:
    """Positions, rising, of the last entry of each key."""
    _, first_from_end = np.unique(keys[::-1], return_index=True)
    return np.sort(keys.size - 1 - first_from_end)


def _codes_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes from 0 in the order of the sorted names, None last, and the names."""
    pd = pandas_module()
    codes, names = pd.factorize(values)
    order = (
        sorted(range(len(names)), key=lambda i: _natural(names[i]))
        if names.dtype == object
        else names.argsort()
    )
    rank = np.empty(len(names) + 1, np.int64)
    rank[list(order)] = np.arange(len(names))
    rank[-1] = len(names)
    named = np.empty(len(names) + int((codes < 0).any()), dtype=names.dtype if (codes >= 0).all() else object)
    named[: len(names)] = names[list(order)]
    if (codes < 0).any():
        named[-1] = None
    return rank[codes], named


def _natural(name: Any) -> tuple[int, float, str]:
    """Numbers in their order, then text."""
    try:
        return 0, float(name), str(name)
    except ValueError:
        return 1, 0.0, str(name)


def _distinct(items: np.ndarray) -> np.ndarray:
    return _codes_of(items)[1]


def _shared(units: np.ndarray, raters: np.ndarray) -> bool:
    """Whether some unit has two raters."""
    pairs = np.unique(units * (int(raters.max()) + 1) + raters)
    return pairs.size > np.unique(units).size


def _means(units: np.ndarray, values: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of each unit and its variance: pooled about the units' means where some unit has two ratings."""
    mean = np.bincount(units, values) / count
    spare = values.size - count.size
    within = float(((values - mean[units]) ** 2).sum() / spare) if spare else float(values.var())
    return mean, within / count


def _replace_feature(ratings: Ratings, feature: str | None) -> Ratings:
    def rows(table: pandas.DataFrame) -> pandas.DataFrame:
        chosen = table.feature.isna() if feature is None else table.feature == str(feature)
        return (
            table[chosen.to_numpy(dtype=bool)]
            .assign(feature=None)
            .reset_index(drop=True)
            .astype({"feature": object})
        )

    part = rows(ratings.frame)
    if part.empty:
        names = ", ".join(map(repr, ratings.features)) or "none"
        raise InputError(f"no ratings of the feature {feature!r}; features: {names}")
    part["feature"] = pandas_module().Series([None] * len(part), dtype=object)
    if not part["item"].isna().any():  # positions again, where ratings of the whole task had left gaps
        part["item"] = ids(part["item"], "items")
    return Ratings(
        part, ratings.skipped, rows(ratings.ground_truth), rows(ratings.predictions), ratings.scale,
        ratings.categories, ratings.unknown, ratings.unrated, ratings.unread, ratings.num_items, ratings.source,
    )  # fmt: skip


def _numbers(values: Any, name: str) -> np.ndarray:
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
    return array.astype(np.float64)


def _count(values: np.ndarray) -> dict[Any, int]:
    codes, names = _codes_of(values)
    return dict(zip(names.tolist(), np.bincount(codes, minlength=len(names)).tolist(), strict=True))


def _with_none(places: np.ndarray, absent: np.ndarray) -> np.ndarray:
    if not absent.any():
        return places
    column = places.astype(object)
    column[absent] = None
    return column


def _positions(items: np.ndarray, size: int | None) -> np.ndarray:
    if not all(isinstance(i, int | np.integer) for i in items):
        first = next(i for i in items if not isinstance(i, int | np.integer))
        raise InputError(f"item {first!r} is no position: give items= when reading, to map ids to positions")
    places = items.astype(np.int64)
    outside = (places < 0) | (places >= (size if size is not None else np.iinfo(np.int64).max))
    if outside.any():
        raise InputError(f"item {places[outside][0]} is not a position below num_items = {size}")
    return places


def _filled(table: np.ndarray, missing: str | float, names: list[str], size: int | None) -> np.ndarray:
    gaps = np.isnan(table)
    if not gaps.any():
        return table
    row, column = np.argwhere(gaps)[0]
    if missing == "error":
        of = "" if size is None else f" of item {row}"
        raise InputError(
            f"{int(gaps.sum())} importances are missing, the first that of {names[column]!r}{of}"
        )
    if missing == "mean":
        known = np.where(gaps, 0.0, table).sum(0)
        count = (~gaps).sum(0)
        overall = known.sum() / max(int(count.sum()), 1)
        fill = np.where(count > 0, known / np.maximum(count, 1), overall)
        return np.where(gaps, fill, table)
    if isinstance(missing, str) or not 0 <= missing <= 1:
        raise InputError(f"missing must be 'mean', 'error' or a number in [0, 1], not {missing!r}")
    return np.where(gaps, float(missing), table)
