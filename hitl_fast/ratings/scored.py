"""`ScoredItems`: a score and a variance for each item, and the weights that samplers and losses take."""

from __future__ import annotations

import json
import math
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from hitl_fast._common.errors import InputError
from hitl_fast._common.files import atomic_path, why_unreadable
from hitl_fast._common.trackers import flat

UNDECLARED = (
    "no scale was declared: the lowest and highest score given stand for the lowest and highest possible"
)
VERSION = 2  # 2 added notes and overdispersion


@dataclass(frozen=True, eq=False)
class ScoredItems:
    """A score and a variance for each item: see `hitl_fast.Priorities`, which adds what follows for other items."""

    items: np.ndarray
    score: np.ndarray
    variance: np.ndarray
    count: np.ndarray
    scale: tuple[float, float]
    method: str
    num_items: int | None = None
    categories: tuple[str, ...] | None = None
    probability: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    overdispersion: float = 1.0

    def __len__(self) -> int:
        return int(self.items.size)

    @property
    def labels(self) -> list[str]:
        """The likeliest category of each item.

        Raises:
            ValueError: the scores are graded.
        """
        if self.categories is None or self.probability is None:
            raise InputError(
                f"method {self.method!r} gives scores, not categories: aggregate with 'dawid_skene'"
            )
        return [self.categories[k] for k in self.probability.argmax(1)]

    @property
    def unweighed(self) -> bool:
        """Whether scores are how likely the likeliest category is, as nobody said what categories are worth."""
        if self.probability is None or self.categories is None or len(self.categories) < 3:
            return False
        return self.scale == (0.0, 1.0) and np.array_equal(self.score, self.probability.max(1))

    def metrics(self) -> dict[str, float]:
        """Flat numbers for a tracker: how many items, ratings an item, scores, their doubt, and the overdispersion.

        >>> found = ScoredItems(np.arange(2), np.array([1.0, 3.0]), np.ones(2), np.ones(2), (1.0, 5.0), "mean")
        >>> found.metrics()["score_mean"], found.metrics()["standard_error_mean"]
        (2.0, 1.0)
        """
        return flat(
            {
                "items": float(len(self)),
                "ratings_per_item": float(self.count.mean()),
                "score_mean": float(self.score.mean()),
                "score_std": float(self.score.std()),
                "standard_error_mean": float(np.sqrt(self.variance).mean()),
                "overdispersion": self.overdispersion,
            }
        )

    def weights(
        self,
        num_items: int | None = None,
        power: float = 1.0,
        floor: float = 0.1,
        missing: str | float = "mean",
        temper: float = 0.0,
    ) -> np.ndarray:
        """A weight for each position of the data set, from ``floor`` to 1.

        With u the score as a part of the scale, (score - low) / (high - low) within [0, 1]::

            u' = mean(u) + (u - mean(u)) V / (V + temper variance),   V = variance of the scores of the items
            weight = floor + (1 - floor) u' ** power

        Args:
            num_items: length of the data set; by default as known from ``items`` of `Ratings.read`.
            power: 0 makes all rated items equal, above 1 favours the top.
            floor: weight of the lowest possible score. 0 lets a sampler leave it out for good.
            missing: weight of what nobody rated: "mean" of the rated, "floor", or a number of 0 or more. A missing
                rating is never a score of 0.
            temper: 0 takes scores as they are; 1 draws each to the mean as far as its variance says.

        Returns:
            (num_items,) float64, finite and not negative.

        Raises:
            ValueError: an argument is out of range, or an item is not a position below num_items.

        >>> scores = np.array([1.0, 3.0, 5.0])
        >>> priorities = ScoredItems(np.array([0, 1, 3]), scores, np.zeros(3), np.ones(3), (1.0, 5.0), "mean")
        >>> priorities.weights(num_items=4, floor=0.1, missing="floor")
        array([0.1 , 0.55, 0.1 , 1.  ])
        """
        size = self._size(num_items)
        for name, value in (("power", power), ("temper", temper)):
            if not (value >= 0 and math.isfinite(value)):
                raise InputError(f"{name} must be 0 or more and finite, not {value}")
        if not 0 <= floor <= 1:
            raise InputError(f"floor must be within 0 and 1, not {floor}")
        low, high = self.scale
        u = np.clip((self.score - low) / (high - low), 0, 1) if high > low else np.ones(len(self))
        spread = float(u.var())
        if temper > 0 and spread > 0:
            noise = self.variance / (high - low) ** 2
            # Between the mean and what it was, but for rounding, and a power of less than 0 is NaN.
            u = np.clip(u.mean() + (u - u.mean()) * spread / (spread + temper * noise), 0, 1)
        rated = floor + (1 - floor) * u**power
        weights = np.full(size, self._missing(missing, floor, rated))
        weights[self.items] = rated
        return weights

    def _size(self, num_items: int | None) -> int:
        size = self.num_items if num_items is None else num_items
        if size is None:
            raise InputError("num_items is needed: the length of the data set")
        if self.items.dtype.kind not in "iu":
            raise InputError(
                f"item {self.items[0]!r} is an id, not a position: give items= to Ratings.read, which maps ids to "
                "positions in the data set"
            )
        outside = (self.items < 0) | (self.items >= size)
        if outside.any():
            raise InputError(
                f"item {self.items[outside][0]} is no position below num_items = {size} ({int(outside.sum())} such "
                "items): if items are ids of a tool, give items= to Ratings.read"
            )
        return size

    @staticmethod
    def _missing(missing: str | float, floor: float, rated: np.ndarray) -> float:
        if missing == "mean":
            return float(rated.mean())
        if missing == "floor":
            return floor
        if isinstance(missing, str) or not (missing >= 0 and math.isfinite(missing)):
            raise InputError(
                f"missing must be 'mean', 'floor' or a finite number of 0 or more, not {missing!r}"
            )
        return float(missing)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an ``.npz`` file atomically."""
        path = Path(path)
        about = {
            "version": VERSION, "method": self.method, "scale": list(self.scale), "num_items": self.num_items,
            "categories": self.categories, "notes": list(self.notes), "overdispersion": self.overdispersion,
        }  # fmt: skip
        arrays = {
            "about": np.array(json.dumps(about)),
            "items": self.items if self.items.dtype.kind in "iu" else self.items.astype(str),
            "score": self.score,
            "variance": self.variance,
            "count": self.count,
        }
        if self.probability is not None:
            arrays["probability"] = self.probability
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote, this version or an earlier one of the package; nothing in the file is executed.

        Raises:
            ValueError: it is another kind of file, damaged, or of a later version of the format.
            OSError: it cannot be opened.
        """
        path = Path(path)
        try:
            # NumPy leaves a file open that it opened and cannot read.
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            about = json.loads(str(arrays["about"]))
            version = about["version"]
        except (ValueError, KeyError, TypeError, EOFError, AttributeError, zipfile.BadZipFile) as problem:
            raise InputError(f"{path.name} is not a file of priorities: {why_unreadable(problem)}") from None
        if not isinstance(version, int) or version < 1:
            raise InputError(f"{path.name} is not a file of priorities: its version is {version!r}")
        if version > VERSION:
            raise InputError(
                f"{path.name} is of version {version} of the format of priorities, and this package reads up to "
                f"{VERSION}: upgrade hitl-fast to read it"
            )
        try:
            items, score, variance, count = (arrays[k] for k in ("items", "score", "variance", "count"))
            low, high = about["scale"]
        except (KeyError, ValueError) as problem:
            raise InputError(f"{path.name} is not a whole file of priorities: {problem}") from None
        if not (items.shape == score.shape == variance.shape == count.shape) or not np.isfinite(score).all():
            raise InputError(f"{path.name} is not a whole file of priorities: its columns do not fit")
        categories = about.get("categories")
        return cls(
            items if items.dtype.kind in "iu" else items.astype(object),
            score,
            variance,
            count,
            (float(low), float(high)),
            str(about["method"]),
            about.get("num_items"),
            None if categories is None else tuple(categories),
            arrays.get("probability"),
            tuple(map(str, about.get("notes") or ())),
            float(about.get("overdispersion") or 1.0),
        )
