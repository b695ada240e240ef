"""Which samples to ask people about: those whose answers say most about all others."""

from __future__ import annotations

from typing import Any

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.seeds import checked_seed

from .signal_data import SignalData

LENGTH = 8**0.5  # of the kernel over standardised signals
NOISE = 0.3  # of an answer, in units of the prior variance
CANDIDATES, REFERENCE = 300, 600
MOST_ANSWERED = 2000  # answers that the choice takes into account


def ask_next(
    signals: SignalData,
    n: int,
    *,
    answered: Any = (),
    diversity: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Positions to ask about next, the most informative first.

    Greedy on the posterior covariance C of a Gaussian process over the signals, which needs no answers::

        C(a, b) = exp(-|a - b|^2 / 16)
        choose the candidate c that maximises sum over reference samples s of C(s, c)^2 / (C(c, c) + 0.3)
        C <- C - C(., c) C(c, .) / (C(c, c) + 0.3)

    among 300 random candidates (4 n where that is more) and 600 random reference samples. Deal the result to several
    people with ``items[r::people]``; for the next batch pass what was answered meanwhile.

    Args:
        signals: of all samples.
        n: how many; no more than there are samples without an answer.
        answered: positions with an answer, one entry each; of more than 2,000 a random 2,000 are used.
        diversity: 0 leaves the greedy choice; above, gains are multiplied by (1 - largest similarity to a question
            that was chosen or answered) ** diversity.
        seed: of candidates and reference.

    Returns:
        (n,) int64, none of them answered.

    Raises:
        TypeError: signals are no `Signals`, or positions no integers.
        ValueError: n or diversity is out of range, or an answer is of an unknown position.
    """
    if not isinstance(signals, SignalData):
        raise InputTypeError(f"signals must be hitl_fast.Signals, not {type(signals).__name__}")
    total = len(signals)
    known = checked_positions(answered, total)
    free = np.setdiff1d(np.arange(total), known)
    if not free.size:
        raise InputError(f"all {total} samples have an answer: nothing is left to ask about")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= free.size:
        raise InputError(f"n must be from 1 to {free.size}, the samples without an answer, not {n!r}")
    if not isinstance(diversity, int | float | np.floating) or not 0 <= diversity < np.inf:
        raise InputError(f"diversity must be finite and 0 or more, not {diversity!r}")
    generator = np.random.default_rng(checked_seed(seed))
    candidates = generator.choice(free, min(free.size, max(CANDIDATES, 4 * int(n))), replace=False)
    reference = generator.choice(total, min(total, REFERENCE), replace=False)
    if known.size > MOST_ANSWERED:
        known = generator.choice(known, MOST_ANSWERED, replace=False)
    return np.asarray(candidates[_greedy(signals.table, candidates, reference, known, int(n), diversity)])


def _greedy(
    table: np.ndarray,
    candidates: np.ndarray,
    reference: np.ndarray,
    known: np.ndarray,
    n: int,
    diversity: float,
) -> np.ndarray:
    """Places among the candidates, in the order of choice."""
    c, r = table[candidates].astype(np.float64), table[reference].astype(np.float64)
    across, own = kernel(r, c), kernel(c, c)  # [reference, candidates], [candidates, candidates]
    similar = own.copy()
    likeness = np.zeros(len(c))
    if known.size:
        distinct, count = np.unique(known, return_counts=True)
        a = table[distinct].astype(np.float64)
        to_c, to_r = kernel(a, c), kernel(a, r)
        likeness = to_c.max(0)
        half = np.linalg.cholesky(kernel(a, a) + np.diag(NOISE / count))
        solved_c, solved_r = np.linalg.solve(half, to_c), np.linalg.solve(half, to_r)
        across -= solved_r.T @ solved_c
        own -= solved_c.T @ solved_c
    chosen = np.empty(n, np.int64)
    left = np.ones(len(c), bool)
    for i in range(n):
        gain = (across**2).sum(0) / (np.maximum(own.diagonal(), 0) + NOISE)
        if diversity > 0:
            gain = gain * np.maximum(1 - likeness, 0) ** diversity
        best = int(np.where(left, gain, -np.inf).argmax())
        chosen[i], left[best] = best, False
        row, scale = own[best].copy(), max(own[best, best], 0) + NOISE
        across -= np.outer(across[:, best], row) / scale
        own -= np.outer(row, row) / scale
        likeness = np.maximum(likeness, similar[best])
    return chosen


def kernel(a: np.ndarray, b: np.ndarray, length: float = LENGTH) -> np.ndarray:
    """exp(-|a - b|^2 / (2 length^2)), (rows of a, rows of b)."""
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.asarray(np.exp(-np.maximum(squares, 0) / (2 * length**2)))


def checked_positions(items: Any, total: int) -> np.ndarray:
    """Positions of samples as int64.

    Raises:
        TypeError: they are no integers.
        ValueError: one is no position below ``total``.
    """
    places = np.asarray(items)
    if places.size == 0:
        return np.empty(0, np.int64)
    if places.dtype.kind not in "iu" or places.ndim != 1:
        raise InputTypeError(
            f"positions must be one-dimensional integers, not {places.dtype} of shape {places.shape}: ids of a tool "
            "become positions with items= of Ratings.read"
        )
    outside = (places < 0) | (places >= total)
    if outside.any():
        raise InputError(
            f"position {places[outside][0]} is not below {total}, the number of samples that signals are of "
            f"({int(outside.sum())} such)"
        )
    return places.astype(np.int64)
