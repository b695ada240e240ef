"""`Ratings`: who gave which item what score, and what follows from it before anything is trained."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hitl_fast._common.trackers import flat

from . import formats
from .aggregation import aggregate
from .agreement import Agreement, agreement_table, question_agreement
from .answer_scores import read_scores
from .columns import BuildOptions, Items, RatingColumns, Scale, build
from .formats.request import Request
from .given import answered_items, columns_of_arrays, columns_of_frame
from .importance import importance
from .priorities import Priorities
from .questions import ask_next
from .rater_table import rater_table
from .rating_data import RatingData
from .selection import by_question, only, without

if TYPE_CHECKING:
    import pandas
    import torch

    from .signals import Signals


class Ratings(RatingData):
    """Ratings of items, or of features of items, by people.

    Several questions (quality, relevance; or features of items) are kept apart: agreement, raters, scale and
    aggregation are of one question each.

    Attributes:
        frame: one row a rating, with the columns item, rater, score (float64), seconds (float64, NaN where
            unknown; of the whole form where one form asks several questions) and feature (the question or feature
            that was rated; None where the item itself was). item is a position in the data set if ``items`` was
            given, else the id in the file; None for the rating of a feature for the whole task.
        skipped: answers that are no ratings, with item, rater, reason (skipped, cancelled, draft, discarded,
            rejected, empty, replaced) and seconds.
        ground_truth: item, feature and score of answers known to be true.
        predictions: item, model, feature and score of what models said.
        scale: lowest and highest possible score, as declared, else as found; of all questions together.
        categories: names of the categories that the scores are codes of; None for graded scores, and where there
            are several questions: see ``questions``.
        unknown: ratings of each item id that ``items`` does not know; those ratings are left out.
        unrated: items that the file or ``items`` names and nobody rated.
        unread: questions and columns of the file that were not read, and why.
        num_items: length of the data set, if ``items`` was given or the file says it (a database of `collect`).
        source: where it comes from.
        comparisons: pairwise preferences, with first, second, rater, outcome (1: first, 0: second, 0.5: tie),
            seconds and question.
        questions: scale and categories of each question; None is the item itself.
    """

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str] | Any,
        format: str | None = None,
        *,
        items: Items | None = None,
        item: str | None = None,
        question: str | Sequence[str] | None = None,
        labels: Mapping[str, float] | None = None,
        columns: Mapping[str, str | int | None] | None = None,
        scale: Scale = None,
        repeats: str | None = None,
        raters: Sequence[str] | None = None,
    ) -> Ratings:
        r"""Read an export of an annotation tool or a crowdsourcing platform, or a table, recognised by its content.

        Skipped and cancelled answers, drafts, ground truth and predictions are never scores. Every question that
        people answer in numbers (ratings, numbers, thumbs, labels such as "4 - good") is read: one question
        leaves the feature empty, several are features by their names. Where there is none and one question is a
        choice, its labels are categories; ticks of a list of options are 1 or 0 for each option as a feature.

        Options that an MTurk batch has as a column of true and false each are one choice where exactly one is true in
        every row that counts, and a yes or no each where a row has several. Several choices in a cell are ticks in
        Appen reports (lines) and MTurk batches (good|blurry), and are refused in other tables where a choice
        stands in two of them.

        Ratings inside a record are read where its keys say what they are: {"annotators": ["ann", "ben"], "labels":
        [1, 0]}, or a list of objects with a rater and a score. Keys of a map {"votes": {"ann": 1, "ben": 0}} may be
        raters, items or questions: ``columns`` says which, such as {"rater": "votes"}.

        "3,5" is 3.5, "1,234.5" is 1234.5 and "80%" is 80. "1,000" may be a thousand or one with a decimal comma and
        is refused; between semicolons every comma is a decimal one.

        A long table (a row a rating) is read where a column is called like an item, one like a rater and one like a
        score; where no name or several fit, the message has the call to make. A wide table (a column a rater) is
        read only when told so, by ``raters`` or format="wide": nothing in it tells a rater from an attribute.

        Args:
            path: JSON, JSON lines, CSV or Parquet file, gzipped or not; or a table of pandas, polars or pyarrow, or
                a Hugging Face Dataset.
            format: one of label_studio, label_studio_storage, label_studio_min, argilla, argilla_flat, argilla_1,
                prodigy, doccano, mturk, appen, toloka, respondents (one row a respondent, ``question`` naming the
                columns that are items), pairwise, long, wide, csv, jsonl, parquet; None recognises it.
            items: ids of the data set's items in order, or a mapping of id to position: scores are then filed
                by position, and ids that it does not know are counted in ``unknown``.
            item: where the item id is, if not where the format has it, such as "data.image" or "meta.id".
            question: the question or questions to read.
            labels: what the labels of a choice are worth, such as {"low": 0, "high": 2}.
            columns: names of a table's columns by role: item, rater, score, feature, seconds, milliseconds,
                status, gold, prediction, and first, second, winner of pairwise comparisons. None says that a role
                has no column; a position (0 is the first column) that a CSV file has no header.
            scale: lowest and highest possible score, or a mapping of questions to them; a score outside it is an
                error.
            repeats: "last": a person's later rating of an item replaces the earlier; "keep": both count (in models
                of raters as one, see `aggregate`). By default the former for annotation tools and the latter for
                tables.
            raters: columns of a wide table that are a rater each.

        Raises:
            ValueError: the file is damaged or foreign, an answer is not what its question asks for or may be two
                different numbers, a score is outside the scale (the line is named); nothing in it is a rating, or
                more than one reading is possible (the call to make is in the message).
            TypeError: ``path`` is neither a path nor a table.
            OSError: it cannot be opened.
            ImportError: pandas (or pyarrow for Parquet) is not installed.

        >>> _ = Path("ratings.csv").write_text("item,rater,score\n0,anna,4\n0,ben,5\n1,anna,2\n1,ben,2\n")
        >>> Ratings.read("ratings.csv").aggregate("mean").score
        array([4.5, 2. ])
        """
        wanted = [question] if isinstance(question, str) else None if question is None else list(question)
        named = [raters] if isinstance(raters, str) else None if raters is None else list(raters)
        request = Request(format, item, wanted, dict(columns or {}), named, labels, repeats)
        answers = formats.read(Path(path) if isinstance(path, str | os.PathLike) else path, request)
        wanted = wanted if answers.asked is None else answers.asked
        if answers.comparisons and not len(answers.columns.item):  # labels say what outcomes mean
            answers.comparisons = [c for c in answers.comparisons if wanted is None or c.question in wanted]
            wanted = labels = None
        scores = read_scores(answers, wanted, labels)
        given = RatingColumns(
            scores.item, scores.rater, scores.score, scores.seconds, scores.feature, scores.time, scores.categories,
            answers.skipped, scores.gold, scores.predictions, answers.comparisons, list(answers.seen), scores.unread,
            from_text=not answers.later_replaces or answers.untyped,
            where=lambda row: answers.at(int(scores.line[row])), told=scores.told,
        )  # fmt: skip
        repeats = repeats or ("last" if answers.later_replaces else "keep")
        source = f"{answers.source} ({answers.format})"
        return cls(
            **build(
                given,
                BuildOptions(
                    items, answers.scale if scale is None else scale, repeats, source, answers.num_items
                ),
            )
        )

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
        scale: Scale = None,
        repeats: str = "keep",
    ) -> Ratings:
        """Ratings from one array each of items, raters and scores: entry i is one rating.

        Args:
            items: (n,) integers or text.
            raters: (n,) integers or text.
            scores: (n,) finite numbers.
            seconds: (n,) seconds spent; None where unknown.
            features: (n,) names of the features or questions rated; None for ratings of items.
            positions: as ``items`` of `read`: where each item id is in the data set.
            scale: as in `read`.
            repeats: "keep" or "last", as in `read`.

        Raises:
            TypeError: scores are not numbers.
            ValueError: lengths differ, there are none, or a score is not finite or outside the scale.

        >>> Ratings.from_arrays([0, 0, 1], ["anna", "ben", "anna"], [1, 2, 5]).frame.score.tolist()
        [1.0, 2.0, 5.0]
        """
        given = columns_of_arrays(items, raters, scores, seconds, features)
        return cls(**build(given, BuildOptions(positions, scale, repeats, "arrays")))

    @classmethod
    def from_frame(
        cls,
        table: pandas.DataFrame,
        *,
        items: Items | None = None,
        scale: Scale = None,
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
        return cls(**build(columns_of_frame(table), BuildOptions(items, scale, repeats, "frame")))

    def __repr__(self) -> str:
        f = self.frame
        if f.empty:
            return f"Ratings({self.source}: {len(self.comparisons):,} comparisons)"
        return f"Ratings({self.source}: {len(f):,} of {f.item.nunique():,} items by {f.rater.nunique():,} raters)"

    def only(self, feature: str | None) -> Ratings:
        """The ratings of one feature or question, as ratings of items, with its scale; of items themselves for None.

        Raises:
            ValueError: there are none.
        """
        return only(self, feature)

    def without(self, raters: str | Sequence[str]) -> Ratings:
        """The ratings of all but these raters.

        For models with names such as "gpt-4", which nothing tells from a person's, and for those whom `raters` says to
        drop. Scales stay; items that nobody else rated are in ``unrated``.

        Raises:
            ValueError: nobody is called so (near names are listed), or nobody else has rated anything.
        """
        return without(self, raters)

    def by_question(self) -> dict[str | None, Ratings]:
        """The ratings of each question, numbers and names in order; their ``feature`` stays as it is.

        Ratings of features for the whole task are one question, whose units are the features.
        """
        return by_question(self)

    def agreement(
        self, level: str = "interval", *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
    ) -> Agreement:
        """Krippendorff's alpha of the raters, with a bootstrap interval over items.

        Of a rater's several ratings of one item the last counts. See `hitl_fast.ratings.agreement.krippendorff` for
        the formula.

        Args:
            level: "nominal", "ordinal", "interval" or "ratio".
            replicates: resamples of the interval.
            confidence: its probability.
            seed: of the resampling.

        Raises:
            ValueError: agreement is undefined, and why: one rater only, no item with two raters, every score
                the same; categories are compared as numbers; or there are several questions, whose ratings are
                not of one scale: `agreement_table` has a row for each.

        >>> ratings = Ratings.from_arrays([0, 0, 1, 1, 2, 2], [0, 1, 0, 1, 0, 1], [1, 1, 2, 2, 3, 4])
        >>> round(ratings.agreement().alpha, 3)
        0.878
        """
        return question_agreement(self, level, replicates=replicates, confidence=confidence, seed=seed)

    def agreement_table(
        self, level: str | None = None, *, replicates: int = 1000, confidence: float = 0.95, seed: int = 0
    ) -> pandas.DataFrame:
        """Krippendorff's alpha of each question: a row with alpha, low, high, level, units, ratings and problem.

        Args:
            level: as in `agreement`; None is nominal for categories and interval for graded scores.
            replicates: resamples of the interval.
            confidence: its probability.
            seed: of the resampling.

        >>> two = Ratings.from_arrays([0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 2, 2], features=["a"] * 4)
        >>> two.agreement_table(replicates=10).alpha.tolist()
        [1.0]
        """
        return agreement_table(self, level, replicates=replicates, confidence=confidence, seed=seed)

    def raters(self) -> pandas.DataFrame:
        """A row for each rater and question, most ratings first, with whom to re-train or drop.

        Columns: question (None where there is one); n (ratings); bias (how much higher than the consensus, for the
        average item), scale (step for one step of the consensus) and reliability (share of the variance that comes
        from the items; near 0 for answers at random) from `hitl_kernels.rater_model`, NaN where nobody shares an
        item with another or the scores are categories; seconds (median per answer); gold_n and gold (how near to
        the ground truth: 1 - mean |score - truth| / width of the scale; share of right answers for categories);
        constant (the same score three times or more and never another); agreed and chance (of categories: share of
        the others' answers on the same items that are the same, and what the shares of answers give by chance);
        action ("", "re-train" or "drop") and evidence (why).
        """
        return rater_table(self)

    def aggregate(
        self,
        method: str = "calibrated",
        *,
        labels: Mapping[str, float] | None = None,
        question: str | None = None,
        combine: Mapping[str, float] | None = None,
    ) -> Priorities:
        """One score for each item, with its variance.

        ``mean`` is the plain mean, its variance that of the ratings about their items' means over the number of
        ratings. ``calibrated`` (for graded scores) gives each rater a bias, a scale and a reliability, and is
        `hitl_kernels.rater_model.rater_model`; where no item has two raters, it is the mean with the noise of one
        rating put at 0.9 points squared on a scale of 1 to 5, and ``notes`` say so; and the mean, with a note, where
        about as many raters score one way as the other way round. ``dawid_skene`` (for categories,
        or few different scores) gives each rater a confusion matrix: the score is the expected worth of the
        category; where categories have no worth, the probability of the likeliest one. ``bradley_terry`` is of
        pairwise `comparisons`: see `hitl_kernels.bradley_terry`.

        Variances assume that raters err independently of each other given the item: see `Priorities`. Several answers
        of one person to an item are not independent: for ``calibrated`` their mean is one answer, for ``dawid_skene``
        the last is, and for ``bradley_terry`` of several raters what most of them say of two items.

        Args:
            method: "mean", "calibrated", "dawid_skene" or "bradley_terry".
            labels: what each category is worth.
            question: the question whose ratings count, where there are several.
            combine: weights of questions: the score is the weighted mean of their scores, each as a part of its
                scale, from 0 to 1; what nobody answered of an item counts as the question's mean.

        Raises:
            ValueError: the method does not fit the scores, or there are several questions and neither ``question``
                nor ``combine`` is given.

        >>> Ratings.from_arrays([7, 7, 9], [0, 1, 0], [1.0, 2.0, 4.0]).aggregate("mean").items
        array([7, 9])
        """
        return aggregate(self, method, labels=labels, question=question, combine=combine)

    def importance(
        self,
        method: str = "mean",
        *,
        num_items: int | None = None,
        features: Sequence[Any] | None = None,
        missing: str | float = "mean",
    ) -> torch.Tensor:
        """Importance of features in [0, 1] from ratings of (item, feature), or of features for the whole task.

        A score is (score - low) / (high - low) of the feature's scale. What nobody rated is filled: an item's
        feature from the rating of that feature for the whole task if there is one, else as ``missing`` says.

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
                something is missing and ``missing`` is "error", or no scale was declared and features' scores lie
                so far apart that they cannot be of one scale.

        >>> features = ["ear", "tail", "ear"]
        >>> ratings = Ratings.from_arrays([0, 0, 1], [0, 0, 0], [1, 5, 3], features=features, scale=(1, 5))
        >>> ratings.importance(num_items=2, missing=0.0)
        tensor([[0.0000, 1.0000],
                [0.5000, 0.0000]])
        """
        return importance(self, method, num_items=num_items, features=features, missing=missing)

    def ask_next(self, signals: Signals, n: int, *, diversity: float = 0.0, seed: int = 0) -> np.ndarray:
        """Positions of the n samples to ask about next, given these answers.

        See `hitl_fast.ratings.questions.ask_next` for the formula, arguments and errors.
        """
        return ask_next(
            signals, n, answered=answered_items(self, len(signals)), diversity=diversity, seed=seed
        )

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracker: how many ratings, items, raters, what was set apart, and alpha of each question.

        Alpha is left out where it is undefined.
        """
        found = {
            "ratings": float(len(self.frame)),
            "items": float(self.frame.item.nunique()),
            "raters": float(self.frame.rater.nunique()),
            "comparisons": float(len(self.comparisons)),
            "skipped": float(len(self.skipped)),
            "unrated": float(len(self.unrated)),
            "questions": float(len(self.questions)),
        }
        table = self.agreement_table(replicates=0)
        for name, alpha in zip(table.index, table.alpha, strict=True):
            found["alpha" if len(table) == 1 else f"alpha/{name}"] = float(alpha)
        return flat(found)

    def summary(self) -> str:
        """Agreement, raters and what is missing, on one screen."""
        from .summary import summary

        return summary(self)

    def _repr_html_(self) -> str:
        from .summary import html

        return html(self)

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw scores, ratings an item, and raters into a PNG or SVG file (needs the extra ``plots``)."""
        from .plot import plot

        plot(self, Path(path))
