"""The Dawid-Skene model in Numba: one pass over the ratings a step, item by item.

As in rater_model/cpu.py, results depend neither on the order of the ratings nor on the number of threads.
"""

from __future__ import annotations

import numba
import numpy as np

from .. import policy
from .._ratings import item_blocks, sorted_by_item
from . import reference

WORK_PER_CELL = 3.0  # nanoseconds a step for each rating and label, about


def categories(
    items: np.ndarray,
    raters: np.ndarray,
    labels: np.ndarray,
    n_items: int,
    n_raters: int,
    n_labels: int,
    steps: int,
    tolerance: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, float]:
    order, start = sorted_by_item(items, raters, n_items, n_raters)
    cell = (raters * n_labels + labels)[order]  # row of [rater, said] in the counts and in the confusions
    cells = n_raters * n_labels
    bounds = item_blocks(start, cells * n_labels)
    blocks = bounds.size - 1
    counts, changes = np.zeros((blocks, cells, n_labels)), np.empty(blocks)
    posterior = np.zeros((n_items, n_labels))
    work = WORK_PER_CELL * cell.size * n_labels
    _majority(work, start, bounds, cell, posterior, counts)
    change, step = np.inf, 0
    while change > tolerance and step < steps:
        share, confusion = category_maximisation(counts.sum(0), posterior, n_raters)
        _category_pass(
            work, start, bounds, cell, share, confusion.reshape(cells, n_labels), posterior, counts, changes
        )
        change, step = float(changes.max()), step + 1
    return posterior, share, confusion, step, change


def category_maximisation(
    counts: np.ndarray, posterior: np.ndarray, n_raters: int
) -> tuple[np.ndarray, np.ndarray]:
    """``reference.category_maximisation`` from the counts [rater x said, truth]."""
    n_labels = posterior.shape[1]
    smoothed = counts.reshape(n_raters, n_labels, n_labels) + reference.PSEUDO_COUNT
    share = posterior.sum(0) + reference.PSEUDO_COUNT
    return np.log(share / share.sum()), np.log(smoothed / smoothed.sum(1, keepdims=True))


@policy.compiled_by_size
def _majority(
    start: np.ndarray, bounds: np.ndarray, cell: np.ndarray, posterior: np.ndarray, counts: np.ndarray
) -> None:
    n_labels = posterior.shape[1]
    for block in numba.prange(bounds.size - 1):
        for i in range(bounds[block], bounds[block + 1]):
            answers = start[i + 1] - start[i]
            if answers == 0:
                posterior[i, :] = 1.0 / n_labels
            for j in range(start[i], start[i + 1]):
                posterior[i, cell[j] % n_labels] += 1.0 / answers
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    counts[block, cell[j], k] += posterior[i, k]


@policy.compiled_by_size
def _category_pass(
    start: np.ndarray,
    bounds: np.ndarray,
    cell: np.ndarray,
    share: np.ndarray,
    confusion: np.ndarray,
    posterior: np.ndarray,
    counts: np.ndarray,
    changes: np.ndarray,
) -> None:
    n_labels = share.size
    for block in numba.prange(bounds.size - 1):
        counts[block] = 0.0
        largest = 0.0
        after = np.empty(n_labels)
        for i in range(bounds[block], bounds[block + 1]):
            for k in range(n_labels):
                after[k] = share[k]
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    after[k] += confusion[cell[j], k]
            top = after[0]
            for k in range(1, n_labels):
                top = max(top, after[k])
            total = 0.0
            for k in range(n_labels):
                after[k] = np.exp(after[k] - top)
                total += after[k]
            for k in range(n_labels):
                after[k] /= total
                largest = max(largest, abs(after[k] - posterior[i, k]))
                posterior[i, k] = after[k]
            for j in range(start[i], start[i + 1]):
                for k in range(n_labels):
                    counts[block, cell[j], k] += after[k]
        changes[block] = largest
