"""`Signals`: what features and labels alone say of every sample, before anybody is asked about one."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hitl_kernels.leave_one_out_ridge import leave_one_out_ridge

from hitl_fast._common.errors import InputError, InputTypeError, require
from hitl_fast._common.files import why_unreadable
from hitl_fast._common.seeds import checked_seed

from .neighbours import neighbours
from .priorities import Priorities
from .signal_data import SignalData

NEIGHBOURS = 10
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2)  # of the ridge; the likeliest is taken
TEMPERATURES = (0.1, 300.0)
UNIFORM = 0.02  # share of the uniform distribution in the ridge's probabilities
FLOOR_OF_VOTE = 0.05
# Near copies lie within a tenth of the median distance between two samples. Where samples form tight clusters that is
# too far, so that it is no more than a quarter of the median distance to the tenth neighbour.
NEAR, NEAR_TENTH = 0.1, 0.25
SAMPLED = 500  # rows that the latter median is taken of
EMBEDDED = 16
CLIP = 4.0
PAIRS = 20_000  # random pairs that the median distance is taken of
LIKELIHOOD_ROWS = 20_000
COLUMNS = (
    "logit_quality", "probability", "vote", "log_copies", "log_nearest", "log_class", "log_predicted_class", "entropy",
)  # fmt: skip
QUALITIES = ("own", "cleanlab")


@dataclass(frozen=True, eq=False)
class Signals(SignalData):
    """What is known of every sample without people.

    Attributes:
        labels: (n,) int64 codes of the given labels.
        classes: what the codes stand for.
        quality: (n,) in (0, 1): how likely the given label is, by the other samples.
        copies: (n,) int64: near copies in the sample's group, itself included.
        table: (n, 8) float32: `COLUMNS`, each standardised and clipped at 4.
        embedding: (n, 16 or fewer) float32: principal components of the features.
        temperature, penalty: of the ridge's probabilities.
        radius: distance under which samples are near copies.
        exact: whether neighbours are exact, see `hitl_fast.ratings.neighbours`.
    """

    @classmethod
    def of(
        cls,
        features: Any,
        labels: Any,
        *,
        metric: str = "euclidean",
        radius: float | None = None,
        groups: Any = None,
        quality: str = "own",
        seed: int = 0,
    ) -> Signals:
        """Signals from features and given labels.

        With s the leave-one-out scores of ridge regression on one-hot labels (the penalty and the temperature T are
        those of the largest leave-one-out likelihood)::

            P = 0.98 softmax(T s) + 0.02 / classes
            V = 0.05 + share of the 10 nearest neighbours with the class, weighted by exp(-(d / median d)^2)
            Q = P V / sum over classes of P V          quality = Q[given label]
            copies = size of the connected component under the radius

        Args:
            features: (n, d) finite numbers, array or tensor, such as those of `hitl_fast.embeddings`.
            labels: (n,) integers, booleans or text; two classes or more.
            metric: "euclidean", or "cosine": rows are then scaled to length 1.
            radius: of near copies, as a distance (for cosine: sqrt(2 - 2 cosine)); by default a tenth of the median
                distance between two samples.
            groups: (n,) integers: the group of near copies that each sample is in, where that is known better than by
                a radius.
            quality: "own", or "cleanlab" for that library's self-confidence scores of P.
            seed: of the pairs and samples that median distances are taken of.

        Raises:
            TypeError: features are no numbers, or labels neither integers nor text.
            ValueError: a feature is not finite (its position is named), a length does not fit, fewer than 12 samples,
                one class, a row of zeros with the cosine metric, or an argument out of range.
            ImportError: more than 200,000 samples without faiss, or quality="cleanlab" without cleanlab.

        Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, eq. 7.64 (leave-one-out).

        >>> x = np.concatenate([np.linspace(0, 1, 10), np.linspace(5, 6, 10)])[:, None]
        >>> y = np.repeat([0, 1], 10); y[0] = 1
        >>> Signals.of(x, y).quality.argmin()
        np.int64(0)
        """
        x, seed = checked_features(features), checked_seed(seed)
        codes, classes = checked_labels(labels, len(x))
        if len(classes) == len(x):
            raise InputError(
                f"labels name {len(x)} classes of {len(x)} samples: no sample shares its class with another, so that "
                "they say nothing of each other"
            )
        if metric not in ("euclidean", "cosine"):
            raise InputError(f"metric must be 'euclidean' or 'cosine', not {metric!r}")
        if quality not in QUALITIES:
            raise InputError(f"quality must be one of {', '.join(QUALITIES)}, not {quality!r}")
        if metric == "cosine":
            x = _unit_rows(x)
        if radius is None:
            radius = min(NEAR * _median_distance(x, seed), NEAR_TENTH * _tenth_distance(x, seed))
        elif not isinstance(radius, int | float | np.floating | np.integer) or not 0 <= radius < np.inf:
            raise InputError(f"radius must be finite and 0 or more, not {radius!r}")
        if groups is not None:
            groups = checked_labels(groups, len(x), "groups", fewest=1)[0]
        probability, temperature, penalty = probabilities(x, codes, len(classes))
        near = neighbours(x, NEIGHBOURS, radius)
        given, own = np.arange(len(x)), codes
        vote, agreement = _votes(near.distance, near.index, codes, probability)
        p = probability[given, own]
        q = p * vote / agreement
        if quality == "cleanlab":
            q = _cleanlab(codes, probability)
        members = near.group if groups is None else groups
        copies = np.bincount(members)[members]
        table = _table(q, p, vote, copies, near.distance[:, 0], codes, probability)
        return cls(
            codes, classes, q, copies, table, _embedded(x), temperature, penalty, float(radius), near.exact
        )

    def priorities(self) -> Priorities:
        """Priorities without people: label doubt, near copies and class balance, never doubt without balance.

        ::

            u = quality / copies          e_c = sum of u over class c
            u <- u (min e / e[label])^(1/2)
            score = min(1, u / 99 % quantile of u)

        Label doubt alone drops the samples of rare classes, which look doubtful because they are rare. The variance is
        0: it is not known how far these scores are off. `Priorities.propagate` says whether answers contradict them.
        """
        n = len(self)
        return Priorities(
            np.arange(n), self.automatic(), np.zeros(n), np.zeros(n, np.int64), (0.0, 1.0), "auto", n
        )


def probabilities(x: np.ndarray, codes: np.ndarray, classes: int) -> tuple[np.ndarray, float, float]:
    """(n, classes) leave-one-out probabilities of the classes, the temperature and the penalty.

    Both are of the largest mean log-likelihood of the given labels, over at most 20,000 evenly spaced samples.
    """
    best: tuple[float, float, float] | None = None
    scores = np.empty(0)
    rows = slice(None, None, -(-len(x) // LIKELIHOOD_ROWS))
    for penalty in PENALTIES:
        tried = leave_one_out_ridge(codes, penalty, features=x, n_classes=classes).scores
        temperature, likelihood = _temperature(tried[rows], codes[rows])
        if best is None or likelihood > best[0]:
            best, scores = (likelihood, temperature, penalty), tried
    assert best is not None
    scores = _softmax(scores, best[1])
    scores *= 1 - UNIFORM
    scores += UNIFORM / classes
    return scores, best[1], best[2]


def _temperature(scores: np.ndarray, codes: np.ndarray) -> tuple[float, float]:
    """The temperature of the largest mean log-likelihood, which has one maximum, by golden section; and that."""
    own = scores[np.arange(len(codes)), codes]

    def likelihood(log_t: float) -> float:
        t = np.exp(log_t)
        top = scores.max(1)
        return float((t * (own - top) - np.log(np.exp(t * (scores - top[:, None])).sum(1))).mean())

    low, high = np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1])
    ratio = (5**0.5 - 1) / 2
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    at_a, at_b = likelihood(a), likelihood(b)
    for _ in range(20):
        if at_a > at_b:
            high, b, at_b = b, a, at_a
            a = high - ratio * (high - low)
            at_a = likelihood(a)
        else:
            low, a, at_a = a, b, at_b
            b = low + ratio * (high - low)
            at_b = likelihood(b)
    middle = (low + high) / 2
    return float(np.exp(middle)), likelihood(middle)


def _softmax(scores: np.ndarray, temperature: float) -> np.ndarray:
    scores = scores * temperature
    scores -= scores.max(1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(1, keepdims=True)
    return scores


def _votes(
    distance: np.ndarray, index: np.ndarray, codes: np.ndarray, probability: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """V of the given label, and the sum of P V over all classes; V is never held for every class."""
    middle = np.median(distance)
    weight = np.exp(-((distance / middle) ** 2)) if middle > 0 else (distance == 0).astype(np.float64)
    total = weight.sum(1, keepdims=True)
    # Where all neighbours are so far that every weight is 0, they count alike.
    weight = np.where(total > 0, weight / np.where(total > 0, total, 1), 1 / distance.shape[1])
    voted = codes[index]
    own = (weight * (voted == codes[:, None])).sum(1)
    # The probabilities of a row sum to 1.
    every = FLOOR_OF_VOTE + (weight * np.take_along_axis(probability, voted, 1)).sum(1)
    return own + FLOOR_OF_VOTE, every


def _cleanlab(codes: np.ndarray, probability: np.ndarray) -> np.ndarray:
    rank = require("cleanlab.rank", "cleanlab", "quality='cleanlab'")
    return np.asarray(rank.get_label_quality_scores(codes, probability), dtype=np.float64)


def _table(
    q: np.ndarray, p: np.ndarray, vote: np.ndarray, copies: np.ndarray, nearest: np.ndarray, codes: np.ndarray,
    probability: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """The signals side by side, standardised and clipped."""
    predicted, sizes = probability.argmax(1), np.bincount(codes, minlength=probability.shape[1])
    apart = nearest[nearest > 0]
    least = 1e-3 * float(np.median(apart)) if apart.size else 1.0
    safe = np.clip(q, 1e-12, 1 - 1e-12)
    entropy = np.empty(len(q))
    step = max(1, (1 << 22) // probability.shape[1])
    for begin in range(0, len(q), step):
        part = probability[begin : begin + step]
        entropy[begin : begin + step] = -(part * np.log(part)).sum(1)
    columns = (
        np.log(safe / (1 - safe)), p, vote, np.log(copies), np.log(np.maximum(nearest, least)),
        np.log(sizes[codes]), np.log(np.maximum(sizes[predicted], 1)), entropy,
    )  # fmt: skip
    return np.stack([standardised(column) for column in columns], axis=1).astype(np.float32)


def standardised(column: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1, clipped at 4; zeros where the column does not vary."""
    spread = column.std()
    if not spread > 1e-12 * max(1.0, float(np.abs(column).max())):
        return np.zeros(len(column))
    return np.asarray(np.clip((column - column.mean()) / spread, -CLIP, CLIP))


def _embedded(x: np.ndarray) -> np.ndarray:
    """(n, 16 or fewer) principal components, divided by the standard deviation of the first."""
    centred = x - x.mean(0, dtype=np.float64)
    if centred.shape[1] <= len(centred):
        values, vectors = np.linalg.eigh(centred.T @ centred)
        kept = vectors[:, ::-1][:, :EMBEDDED]
        found = centred @ kept
    else:
        values, vectors = np.linalg.eigh(centred @ centred.T)
        found = vectors[:, ::-1][:, :EMBEDDED] * np.sqrt(np.maximum(values[::-1][:EMBEDDED], 0))
    spread = found[:, 0].std()
    return np.asarray(found / spread if spread > 0 else found * 0, dtype=np.float32)


def _median_distance(x: np.ndarray, seed: int) -> float:
    generator = np.random.default_rng(seed)
    a = generator.integers(0, len(x), PAIRS)
    b = (a + generator.integers(1, len(x), PAIRS)) % len(x)
    parts = [
        np.linalg.norm(x[a[i : i + 2048]].astype(np.float64) - x[b[i : i + 2048]], axis=1)
        for i in range(0, PAIRS, 2048)
    ]
    return float(np.median(np.concatenate(parts)))


def _tenth_distance(x: np.ndarray, seed: int) -> float:
    """Median distance of some rows to their tenth neighbour, by differences from centred float64 rows."""
    chosen = np.random.default_rng([seed, 1]).choice(len(x), min(len(x), SAMPLED), replace=False)
    middle = np.median(x[chosen].astype(np.float64), axis=0)
    rows = x[chosen] - middle
    square = (rows**2).sum(1)
    best = np.full((len(rows), NEIGHBOURS + 1), np.inf)  # the row itself among them
    for begin in range(0, len(x), 65_536):
        part = x[begin : begin + 65_536] - middle
        gap = np.maximum(square[:, None] + (part**2).sum(1) - 2 * rows @ part.T, 0)
        both = np.concatenate([best, gap], axis=1)
        best = np.partition(both, NEIGHBOURS, axis=1)[:, : NEIGHBOURS + 1]
    return float(np.median(np.sqrt(best.max(1))))


def _unit_rows(x: np.ndarray) -> np.ndarray:
    largest = np.abs(x).max(1, keepdims=True)
    if not (largest > 0).all():
        raise InputError(
            f"features[{int((largest == 0).argmax())}] is all zeros, and has no direction for the cosine metric"
        )
    x = x / largest  # squares of it do not vanish
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def checked_features(features: Any) -> np.ndarray:
    """(n, d) finite float32 or float64.

    Raises:
        TypeError: they are no numbers.
        ValueError: another shape, too few, or not finite.
    """
    if hasattr(features, "detach"):
        half = features.is_floating_point() and features.element_size() < 4
        features = (features.float() if half else features).detach().cpu().numpy()
    if np.ma.isMaskedArray(features) and np.ma.getmaskarray(features).any():
        raise InputError("features are masked in places: fill them, or leave these samples out")
    x = np.asarray(features)
    if x.dtype.kind not in "fiu":
        raise InputTypeError(f"features must hold real numbers, not {x.dtype}")
    if x.ndim != 2 or x.shape[1] == 0:
        raise InputError(f"features must be (n, d) with d of 1 or more, not of shape {x.shape}")
    if len(x) < NEIGHBOURS + 2:
        raise InputError(f"features are of {len(x)} samples: {NEIGHBOURS + 2} or more are needed")
    x = x.astype(np.float32 if x.dtype.itemsize <= 4 and x.dtype.kind == "f" else np.float64, copy=False)
    for begin in range(0, len(x), 65_536):
        wrong = np.argwhere(~np.isfinite(x[begin : begin + 65_536]))
        if wrong.size:
            row, column = wrong[0] + [begin, 0]
            raise InputError(f"features[{row}, {column}] is {x[row, column]}: every feature must be finite")
    largest = float(np.abs(x).max())
    if largest > 1e15 or 0 < largest < 1e-15:
        raise InputError(
            f"features reach {largest:g}: scale them so that squares of distances can be computed"
        )
    return x


def checked_labels(
    labels: Any, n: int, name: str = "labels", fewest: int = 2
) -> tuple[np.ndarray, tuple[Any, ...]]:
    """(n,) codes from 0, and the classes that they stand for.

    Raises:
        TypeError: labels are neither integers nor text.
        ValueError: another length, a missing label, or one class alone.
    """
    if hasattr(labels, "detach"):
        labels = labels.detach().cpu().numpy()
    _refuse_order_of_index(labels, name)
    y = np.asarray(labels)
    if y.ndim != 1 or len(y) != n:
        raise InputError(
            f"{name} have shape {y.shape}, and there are features of {n} samples: one label each"
        )
    if y.dtype == object:
        wrong = next((i for i, v in enumerate(y.tolist()) if not isinstance(v, str | int)), None)
        if wrong is not None:
            raise InputTypeError(f"{name}[{wrong}] is {y[wrong]!r}: a label is text or an integer")
        mixed = len({type(v) for v in y.tolist()}) > 1
        y = np.array([str(v) if mixed else v for v in y.tolist()])
    if y.dtype.kind not in "iubUS":
        raise InputTypeError(f"{name} must be integers or text, not {y.dtype}")
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < fewest:
        raise InputError(f"{name} name one class alone, {classes[0].item()!r}: two or more are needed")
    return codes.astype(np.int64), tuple(classes.tolist())


def _refuse_order_of_index(labels: Any, name: str) -> None:
    """Refuse a pandas Series whose index numbers the samples in another order than its values stand in."""
    if type(labels).__module__.partition(".")[0] != "pandas" or not hasattr(labels, "index"):
        return
    index, in_order = np.asarray(labels.index), np.arange(len(labels))
    if index.dtype.kind in "iu" and not np.array_equal(index, in_order):
        order = np.sort(index)
        if np.array_equal(order, in_order):
            raise InputError(
                f"{name} are a Series whose value {int((index != in_order).argmax())} belongs to another sample by its "
                f"index: give {name}.sort_index(), or {name}.to_numpy() where samples stand in the order of its values"
            )


def read_signals(path: str | os.PathLike[str], **options: Any) -> Signals:
    """Signals from an ``.npz`` file with the arrays ``features`` and ``labels``.

    Raises:
        ValueError: it is another file, or as `Signals.of` says.
        OSError: it cannot be opened.
    """
    path = Path(path)
    try:
        with path.open("rb") as handle, np.load(handle, allow_pickle=False) as file:
            missing = [name for name in ("features", "labels") if name not in file.files]
            if missing:
                raise InputError(
                    f"{path.name} has no array {missing[0]!r}, only {', '.join(file.files) or 'nothing'}: save one "
                    "with numpy.savez(path, features=..., labels=...)"
                )
            features, labels = file["features"], file["labels"]
    except InputError:
        raise
    except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as problem:
        raise InputError(
            f"{path.name} is no .npz file of features and labels: {why_unreadable(problem)}"
        ) from None
    return Signals.of(features, labels, **options)
