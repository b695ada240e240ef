"""A model of graded ratings: scores of items when raters differ in bias, scale and reliability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from .._dispatch import implementation
from .._ratings import Array, as_native, as_tensor, check_steps, item_and_rater, to_numpy
from . import reference

__all__ = ["RaterModel", "rater_model"]

# A rater of this reliability counts half in the consensus scale; twenty random answers show as much.
RANDOM = 0.05


@dataclass(frozen=True)
class RaterModel:
    """What `rater_model` finds. Arrays of items and of raters, float64, in the units of the scores.

    Attributes:
        score: (items,) the item on the consensus scale; the mean of all items where nobody rated it.
        variance: (items,) posterior variance of the score.
        bias: (raters,) how much higher than the consensus the rater scores the average item.
        scale: (raters,) the rater's step for one of the consensus; 0 answers at random or always the same.
        noise: (raters,) standard deviation of the rater's scores about their own line.
        reliability: (raters,) share of the variance of the rater's scores that comes from the items, 0 to 1.
        steps: steps of expectation-maximisation taken.
        change: largest change of a score in the last step, in standard deviations of the scores of items.
    """

    score: np.ndarray
    variance: np.ndarray
    bias: np.ndarray
    scale: np.ndarray
    noise: np.ndarray
    reliability: np.ndarray
    steps: int
    change: float


def rater_model(
    items: Array,
    raters: Array,
    scores: Array,
    *,
    num_items: int | None = None,
    num_raters: int | None = None,
    max_steps: int = 500,
    tolerance: float = 1e-6,
) -> RaterModel:
    """Scores of items from graded ratings of people with a bias, a scale and a reliability of their own.

    With y the scores less their mean, over their standard deviation, and z ~ N(0, 1) for each item::

        y = b[rater] + a[rater] z[item] + N(0, s[rater])
        b, a | s ~ N((0, 0.7), s / 4),  s ~ inverse gamma of 4 ratings with variance 0.5

    is fitted by expectation-maximisation to the largest posterior of (b, a, s). The posterior of z is put on
    the consensus scale: offset and slope of the raters on average, those with reliability near 0 left out.
    (An offset that all raters share cannot be told from the items.) A rater who answers at random gets slope
    0 and weight near 0. Scores do not depend on the order of the ratings (bit for bit where no rater rates an item
    twice) or on the number of threads.

    Args:
        items: (n,) integers, 0 .. num_items - 1.
        raters: (n,) integers, 0 .. num_raters - 1.
        scores: (n,) finite numbers. All three on one device; CUDA tensors are worked on there.
        num_items: how many items there are; by default the largest plus 1.
        num_raters: the same of raters.
        max_steps: at most so many steps are taken.
        tolerance: ends when no item moves by more, in standard deviations of the items.

    Raises:
        TypeError: items or raters are not integers, or scores are not numbers.
        ValueError: lengths differ, nothing is there, an index is out of range, or a score is not finite.

    Source: maximum a posteriori factor analysis with one factor and missing data (Rubin and Thayer, EM
    algorithms for ML factor analysis, 1982), the factor being the item.

    >>> items, raters = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 0, 0, 1, 1, 1])
    >>> model = rater_model(items, raters, np.array([1, 2, 3, 3, 4, 5]))
    >>> model.bias.round(2).tolist(), model.score.round(2).tolist()
    ([-0.43, 0.43], [2.27, 3.0, 3.73])
    """
    item, rater, n_items, n_raters = item_and_rater(items, raters, num_items, num_raters)
    value = as_tensor(scores).to(torch.float64) if _numeric(scores) else _refuse_scores(scores)
    if value.shape != item.shape:
        raise ValueError(
            f"scores must have the shape of items, {tuple(item.shape)}, not {tuple(value.shape)}"
        )
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(f"scores[{first}] is {value[first].item()}: every score must be finite")
    check_steps(max_steps, tolerance)
    centre, spread = _moments(value)
    y = (value - centre) / spread if spread > 0 else value - centre
    mean, variance, b, a, s, steps, change = implementation(__name__, y).graded(
        *as_native(item, rater, y), n_items, n_raters, max_steps, tolerance
    )
    z, v = to_numpy(mean), to_numpy(variance)
    reliability = a * a / (a * a + s)
    count = np.bincount(to_numpy(rater), minlength=n_raters)
    # Each rater counts once, however many ratings, since people differ in bias; random answers do not count.
    weight = count / (count + reference.PRIOR_RATINGS) * reliability / (reliability + RANDOM)
    offset, slope = (float(weight @ p / weight.sum()) for p in (b, a))
    return RaterModel(
        score=centre + spread * (offset + slope * z),
        variance=(spread * slope) ** 2 * v,
        bias=spread * (b - offset),
        scale=a / slope if slope else np.zeros_like(a),
        noise=spread * np.sqrt(s),
        reliability=reliability,
        steps=steps,
        change=change,
    )


def _moments(value: torch.Tensor) -> tuple[float, float]:
    """Mean and standard deviation from exact sums, which the order of the ratings cannot change."""
    count = value.numel()
    try:
        centre = math.fsum(value.tolist()) / count
        spread = math.sqrt(math.fsum(((value - centre) ** 2).tolist()) / count)
    except OverflowError:
        spread = math.inf
    if math.isinf(spread):
        raise ValueError("scores are too large: their squares leave float64")
    return centre, spread


def _numeric(values: Array) -> bool:
    if isinstance(values, torch.Tensor):
        return not values.is_complex()
    return np.asarray(values).dtype.kind in "fiub"


def _refuse_scores(values: Array) -> torch.Tensor:
    raise TypeError(f"scores must hold numbers, not {values.dtype}")
