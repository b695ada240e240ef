"""Synthetic data defects in known amounts: wrong labels, rare classes, near copies and tell-tale marks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hitl_fast._common.errors import InputError

LOWEST, COPY, PLAIN, RARE = 1.0, 2.0, 4.0, 5.0
SCALE = (1.0, 5.0)
CONFUSED = 3  # classes that are taken for another where errors are systematic


@dataclass(frozen=True)
class Defects:
    """What is wrong with a pool of samples, on purpose.

    Attributes:
        label_noise: share of the pool whose label is replaced by another class, each other class being as likely.
        imbalance: samples of a common class for one of a rare class. Half of the classes, drawn from the seed, are
            rare.
        redundancy: share of the pool that are near copies of a few of its other samples.
        marks: share of the pool that carries a mark telling its label. Validation and test samples carry
            marks of random classes, so that what is learnt from marks is of no use there.
        systematic: share of each of three classes whose label is replaced by one other class, the same for the whole
            class.
        unbalanced_test: whether validation and test samples have the pool's shares of rare and common classes.
    """

    label_noise: float = 0.2
    imbalance: float = 5.0
    redundancy: float = 0.3
    marks: float = 0.0
    systematic: float = 0.0
    unbalanced_test: bool = False


@dataclass(frozen=True)
class Split:
    """Where each sample of the pool comes from, what it is labelled, and how important it is in truth.

    Attributes:
        source: (n,) row of the whole data set.
        label: (n,) as given to the training, sometimes wrong.
        copy: (n,) whether it is a near copy of another sample in the pool.
        wrong: (n,) whether the label is wrong.
        rare: (n,) whether its true class is rare.
        marked: (n,) whether it carries a mark of its label.
        importance: (n,) truth on the raters' scale of 1 to 5, see `plant`.
        validation, test: rows of the whole data set, rightly labelled and with all classes alike.
    """

    source: np.ndarray
    label: np.ndarray
    copy: np.ndarray
    wrong: np.ndarray
    rare: np.ndarray
    marked: np.ndarray
    importance: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def plant(
    labels: np.ndarray,
    defects: Defects,
    *,
    pool: int,
    validation: int,
    test: int,
    originals: int = 20,
    seed: int = 0,
) -> Split:
    """Choose a pool, a validation and a test set, and add the defects.

    The true importance of a sample is a definition, not a discovery: 1 for a wrong label, 2 for a near copy,
    4 for a right label of a common class, 5 for one of a rare class. A training set is better without
    the first, hardly changes without the second, and has too few of the last.

    Args:
        labels: (rows,) true classes of the whole data set, 0 to classes - 1.
        defects: how much of what.
        pool, validation, test: samples in each; no row is in two of them. Under ``unbalanced_test``, validation and
            test are smaller in the same proportion where there are too few rows of a common class.
        originals: how many samples the near copies are copies of.
        seed: of every choice.

    Raises:
        ValueError: there are not enough rows of a class, or an amount is out of range.

    >>> split = plant(np.arange(300) % 3, Defects(0.5, 1.0, 0.25), pool=60, validation=30, test=30)
    >>> int(split.wrong.sum()), int(split.copy.sum()), np.bincount(labels := split.test % 3).tolist()
    (30, 15, [10, 10, 10])
    """
    _refuse(defects)
    classes = int(labels.max()) + 1
    generator = np.random.default_rng(seed)
    left = [generator.permutation(np.flatnonzero(labels == c)) for c in range(classes)]
    if defects.unbalanced_test:
        is_rare = _rare(defects, classes, generator)
        held = np.where(is_rare, 1.0, defects.imbalance)
        wanted = _shares(pool - round(defects.redundancy * pool), held)
        validation, test = _fitting(
            (validation, test), held, [r.size - n for r, n in zip(left, wanted, strict=True)]
        )
    else:
        held = np.ones(classes)
    test_rows = _take(left, _shares(test, held), generator)
    validation_rows = _take(left, _shares(validation, held), generator)
    if not defects.unbalanced_test:  # drawn after the sets, as in the first edition
        is_rare = _rare(defects, classes, generator)
    copies = round(defects.redundancy * pool)
    share = np.where(is_rare, 1.0, defects.imbalance)
    rows = _take(left, _shares(pool - copies, share), generator)
    common = np.flatnonzero(~is_rare[labels[rows]])
    few = generator.choice(common, min(originals, common.size), replace=False)
    source = np.concatenate([rows, rows[generator.choice(few, copies)]])
    order = generator.permutation(pool)
    copy = (np.arange(pool) >= pool - copies)[order]
    source = source[order]
    wrong = np.zeros(pool, bool)
    wrong[generator.choice(pool, round(defects.label_noise * pool), replace=False)] = True
    label = labels[source].copy()
    label[wrong] = (label[wrong] + generator.integers(1, classes, int(wrong.sum()))) % classes
    for c, other in _confused(classes, generator) if defects.systematic > 0 else ():
        members = np.flatnonzero((labels[source] == c) & ~wrong)
        moved = generator.choice(members, round(defects.systematic * members.size), replace=False)
        label[moved], wrong[moved] = other, True
    marked = np.zeros(pool, bool)
    marked[generator.choice(pool, round(defects.marks * pool), replace=False)] = True
    rare = is_rare[labels[source]]
    importance = np.where(wrong, LOWEST, np.where(copy, COPY, np.where(rare, RARE, PLAIN)))
    return Split(source, label, copy, wrong, rare, marked, importance, validation_rows, test_rows)


def between_classes(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How important each feature is in truth, on the raters' scale, before defects are added.

    ``1 + 4 sqrt(v / max v)`` with v the variance of the feature's class means.

    >>> between_classes(np.array([[0.0, 5.0], [1.0, 5.0]]), np.array([0, 1]))
    array([5., 1.])
    """
    means = np.stack([values[labels == c].mean(0) for c in np.unique(labels)])
    variance = means.var(0)
    low, high = SCALE
    return np.asarray(low + (high - low) * np.sqrt(variance / max(variance.max(), np.finfo(float).tiny)))


def _refuse(defects: Defects) -> None:
    for name in ("label_noise", "redundancy", "marks", "systematic"):
        value = getattr(defects, name)
        if not 0 <= value < 1:
            raise InputError(f"{name} must be from 0 to below 1, not {value}")
    if not defects.imbalance >= 1:
        raise InputError(f"imbalance must be 1 or more, not {defects.imbalance}")


def _rare(defects: Defects, classes: int, generator: np.random.Generator) -> np.ndarray:
    rare = np.zeros(classes, bool)
    if defects.imbalance > 1:
        rare[generator.permutation(classes)[: classes // 2]] = True
    return rare


def _confused(classes: int, generator: np.random.Generator) -> list[tuple[int, int]]:
    """Three classes, fewer where there are fewer, and the class that each is taken for."""
    order = generator.permutation(classes)
    count = min(CONFUSED, classes // 2)
    return [(int(c), int(other)) for c, other in zip(order[:count], order[count : 2 * count], strict=True)]


def _shares(total: int, share: np.ndarray) -> np.ndarray:
    """Whole numbers in proportion to ``share`` whose sum is ``total``."""
    edges = np.round(np.cumsum(share) / share.sum() * total).astype(int)
    return np.diff(edges, prepend=0)


def _fitting(sizes: tuple[int, int], share: np.ndarray, rows: list[int]) -> tuple[int, int]:
    """The two sizes, or the largest in the same proportion that need no more than a class's rows.

    Raises:
        ValueError: a set would have fewer samples than there are classes.
    """
    largest = max(*sizes, 1)
    for total in range(largest, 0, -1):
        first, second = (size * total // largest for size in sizes)
        if (_shares(first, share) + _shares(second, share) <= rows).all():
            break
    if min(first, second) < len(share):
        raise InputError(
            f"validation and test sets with the pool's shares of classes would have {first} and {second} samples: a"
            f" class has {min(rows)} rows beside the pool's"
        )
    return first, second


def _take(left: list[np.ndarray], counts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    taken = []
    for c, count in enumerate(counts):
        if count > left[c].size:
            raise InputError(f"class {c} has {left[c].size} rows left and {count} are needed")
        taken.append(left[c][:count])
        left[c] = left[c][count:]
    return generator.permutation(np.concatenate(taken))
