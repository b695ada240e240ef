"""Simulated raters, for demonstrations, tests and benchmarks, where the truth is known."""

from __future__ import annotations

import numpy as np

from hitl_fast._common.errors import InputError

from .ratings import Ratings


def simulated_ratings(
    truth: np.ndarray,
    *,
    raters: int = 20,
    each: int = 5,
    spammers: float = 0.2,
    bias: float = 0.5,
    spread: float = 0.3,
    noise: float = 0.6,
    scale: tuple[float, float] = (1.0, 5.0),
    step: float | None = 1.0,
    seed: int = 0,
) -> Ratings:
    """Ratings of items of known importance by simulated people.

    Rater r scores item i as ``centre + b_r + a_r (truth_i - centre) + noise``, rounded to ``step`` and kept within
    the scale, with b_r ~ N(0, bias), log a_r ~ N(0, spread) and the noise normal. The first raters are
    spammers, who draw anything on the scale.

    Args:
        truth: (n,) finite importance of each item, on the scale.
        raters: how many there are.
        each: how many different ones rate each item.
        spammers: share of raters who answer at random.
        bias: standard deviation of the raters' biases.
        spread: standard deviation of the logarithm of the raters' scales.
        noise: standard deviation of a rating.
        scale: lowest and highest score.
        step: scores are whole steps above the lowest; None leaves them as they are.
        seed: the same seed gives the same ratings; no global state is touched.

    Raises:
        ValueError: an argument is out of range.

    >>> len(simulated_ratings(np.linspace(1, 5, 100), each=3))
    300
    """
    truth = np.asarray(truth, dtype=np.float64)
    if truth.ndim != 1 or truth.size == 0 or not np.isfinite(truth).all():
        raise InputError("truth must be (n,) finite numbers with n >= 1")
    if not 1 <= each <= raters:
        raise InputError(f"each must be from 1 to raters = {raters}, not {each}")
    if not 0 <= spammers <= 1:
        raise InputError(f"spammers must be within 0 and 1, not {spammers}")
    low, high = scale
    centre = (low + high) / 2
    generator = np.random.default_rng(seed)
    offset, slope = generator.normal(0, bias, raters), np.exp(generator.normal(0, spread, raters))
    item = np.repeat(np.arange(truth.size), each)
    rater = np.concatenate(
        [generator.random((len(part), raters)).argpartition(each - 1, 1)[:, :each].ravel()
         for part in np.array_split(truth, max(1, truth.size * raters // 1_000_000))]
    )  # fmt: skip
    score = centre + offset[rater] + slope[rater] * (truth[item] - centre)
    score += generator.normal(0, noise, item.size)
    at_random = rater < round(spammers * raters)
    score = np.where(at_random, generator.uniform(low, high, item.size), score)
    if step is not None:
        score = low + np.round((score - low) / step) * step
    return Ratings.from_arrays(item, rater, np.clip(score, low, high), scale=scale)
