"""The definition of the Dawid-Skene model in NumPy: one line of code per formula, dense as in the paper."""

from __future__ import annotations

import numpy as np

# Added to every cell of a confusion matrix, so that no answer is impossible.
PSEUDO_COUNT = 0.01


def majority(items: np.ndarray, labels: np.ndarray, n_items: int, n_labels: int) -> np.ndarray:
    """Share of each label among an item's answers: where Dawid-Skene starts."""
    counts = np.zeros((n_items, n_labels))
    np.add.at(counts, (items, labels), 1)
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / n_labels)


def category_maximisation(
    items: np.ndarray, raters: np.ndarray, labels: np.ndarray, posterior: np.ndarray, n_raters: int
) -> tuple[np.ndarray, np.ndarray]:
    """Log share of each class, and log P(rater says l | truth k) as [rater, said l, truth k]."""
    n_labels = posterior.shape[1]
    counts = np.full((n_raters, n_labels, n_labels), PSEUDO_COUNT)
    np.add.at(counts, (raters, labels), posterior[items])
    share = posterior.sum(0) + PSEUDO_COUNT
    return np.log(share / share.sum()), np.log(counts / counts.sum(1, keepdims=True))


def category_expectation(
    items: np.ndarray,
    raters: np.ndarray,
    labels: np.ndarray,
    share: np.ndarray,
    confusion: np.ndarray,
    n: int,
) -> np.ndarray:
    """P(truth of item = k | all answers) by Bayes."""
    log_posterior = np.tile(share, (n, 1))
    np.add.at(log_posterior, items, confusion[raters, labels])
    posterior = np.exp(log_posterior - log_posterior.max(1, keepdims=True))
    return np.asarray(posterior / posterior.sum(1, keepdims=True))


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
    """Dawid and Skene (1979): maximisation and expectation in turn, from the shares of the answers."""
    posterior = majority(items, labels, n_items, n_labels)
    change, step = np.inf, 0
    while change > tolerance and step < steps:
        share, confusion = category_maximisation(items, raters, labels, posterior, n_raters)
        after = category_expectation(items, raters, labels, share, confusion, n_items)
        change, posterior, step = float(np.abs(after - posterior).max()), after, step + 1
    return posterior, share, confusion, step, change
