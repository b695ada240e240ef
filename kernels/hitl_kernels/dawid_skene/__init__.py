"""The Dawid-Skene model: true categories of items from raters who confuse them, each in their own way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._dispatch import implementation
from .._ratings import Array, as_native, check_steps, index, item_and_rater, to_numpy

__all__ = ["CategoryModel", "dawid_skene"]


@dataclass(frozen=True)
class CategoryModel:
    """What `dawid_skene` finds.

    Attributes:
        posterior: (items, categories) probability that the item is of the category.
        share: (categories,) share of each category among the items.
        confusion: (raters, categories, categories) probability that the rater says l when the truth is k, at
            [rater, k, l]: each row sums to 1.
        steps: steps of expectation-maximisation taken.
        change: largest change of a probability in the last step.
    """

    posterior: np.ndarray
    share: np.ndarray
    confusion: np.ndarray
    steps: int
    change: float


def dawid_skene(
    items: Array,
    raters: Array,
    labels: Array,
    *,
    num_items: int | None = None,
    num_raters: int | None = None,
    num_labels: int | None = None,
    max_steps: int = 500,
    tolerance: float = 1e-6,
) -> CategoryModel:
    """True categories of items from the answers of raters who confuse them, each in their own way.

    Expectation-maximisation from the shares of the answers; each cell of a rater's confusion matrix starts
    from 0.01 of an answer, so that nothing is impossible.

    Args:
        items: (n,) integers, 0 .. num_items - 1.
        raters: (n,) integers, 0 .. num_raters - 1.
        labels: (n,) integers, 0 .. num_labels - 1: what the rater said.
        num_items: how many items there are; by default the largest plus 1.
        num_raters: the same of raters.
        num_labels: the same of labels.
        max_steps: at most so many steps are taken.
        tolerance: ends when no probability moves by more.

    Raises:
        TypeError: an argument does not hold integers.
        ValueError: lengths differ, nothing is there, or an index is out of range.

    Source: Dawid and Skene, Maximum likelihood estimation of observer error-rates using the EM algorithm,
    1979.

    >>> items, raters = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2, 0, 1, 2])
    >>> model = dawid_skene(items, raters, np.array([0, 0, 1, 1, 1, 1]))
    >>> model.posterior.argmax(1)
    array([0, 1])
    """
    item, rater, n_items, n_raters = item_and_rater(items, raters, num_items, num_raters)
    label, n_labels = index(labels, "labels", num_labels, "num_labels")
    if label.shape != item.shape:
        raise ValueError(f"{item.numel()} items but {label.numel()} labels: one of each per rating")
    check_steps(max_steps, tolerance)
    posterior, share, confusion, steps, change = implementation(__name__, item).categories(
        *as_native(item, rater, label), n_items, n_raters, n_labels, max_steps, tolerance
    )
    by_truth = np.exp(confusion).transpose(0, 2, 1)
    return CategoryModel(to_numpy(posterior), np.exp(share), by_truth, steps, change)
