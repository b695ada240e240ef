"""Models of raters: what an item deserves when every person uses the scale in their own way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch

from . import cpu, reference

__all__ = ["CategoryModel", "RaterModel", "dawid_skene", "rater_model"]

Array = torch.Tensor | np.ndarray

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
    0 and no say. Scores do not depend on the order of the ratings (bit for bit where no rater rates an item
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
    item, rater, n_items, n_raters = _indices(items, raters, num_items, num_raters)
    value = _tensor(scores).to(torch.float64) if _numeric(scores) else _refuse_scores(scores)
    if value.shape != item.shape:
        raise ValueError(
            f"scores must have the shape of items, {tuple(item.shape)}, not {tuple(value.shape)}"
        )
    finite = torch.isfinite(value)
    if not bool(finite.all()):
        first = int((~finite).nonzero()[0])
        raise ValueError(f"scores[{first}] is {value[first].item()}: every score must be finite")
    _check_steps(max_steps, tolerance)
    centre, spread = _moments(value)
    y = (value - centre) / spread if spread > 0 else value - centre
    mean, variance, b, a, s, steps, change = _twin(y).graded(
        *_native(item, rater, y), n_items, n_raters, max_steps, tolerance
    )
    z, v = _to_numpy(mean), _to_numpy(variance)
    reliability = a * a / (a * a + s)
    count = np.bincount(_to_numpy(rater), minlength=n_raters)
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
    item, rater, n_items, n_raters = _indices(items, raters, num_items, num_raters)
    label, n_labels = _index(labels, "labels", num_labels, "num_labels")
    if label.shape != item.shape:
        raise ValueError(f"{item.numel()} items but {label.numel()} labels: one of each per rating")
    _check_steps(max_steps, tolerance)
    posterior, share, confusion, steps, change = _twin(item).categories(
        *_native(item, rater, label), n_items, n_raters, n_labels, max_steps, tolerance
    )
    by_truth = np.exp(confusion).transpose(0, 2, 1)
    return CategoryModel(_to_numpy(posterior), np.exp(share), by_truth, steps, change)


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


def _twin(tensor: torch.Tensor) -> ModuleType:
    if not tensor.is_cuda:
        return cpu
    from . import gpu  # Triton is imported for CUDA tensors alone

    return gpu


def _native(*tensors: torch.Tensor) -> tuple[Array, ...]:
    """What the twin takes: tensors stay on a GPU and are NumPy arrays off it."""
    return tuple(t.contiguous() if t.is_cuda else t.contiguous().numpy() for t in tensors)


def _to_numpy(values: Array) -> np.ndarray:
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


def _indices(
    items: Array, raters: Array, num_items: int | None, num_raters: int | None
) -> tuple[torch.Tensor, torch.Tensor, int, int]:
    item, n_items = _index(items, "items", num_items, "num_items")
    rater, n_raters = _index(raters, "raters", num_raters, "num_raters")
    if item.shape != rater.shape:
        raise ValueError(f"{item.numel()} items but {rater.numel()} raters: one of each per rating")
    return item, rater, n_items, n_raters


def _index(values: Array, name: str, given: int | None, given_name: str) -> tuple[torch.Tensor, int]:
    tensor = _tensor(values)
    if tensor.dtype.is_floating_point or tensor.dtype.is_complex or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must hold integers, not {tensor.dtype}")
    if tensor.ndim != 1 or tensor.numel() == 0:
        raise ValueError(f"{name} must have shape (n,) with n >= 1, not {tuple(tensor.shape)}")
    tensor = tensor.to(torch.int64)
    n = int(tensor.max()) + 1 if given is None else given
    wrong = (tensor < 0) | (tensor >= n)
    if bool(wrong.any()):
        first = int(wrong.nonzero()[0])
        limit = f"{given_name} = {n}" if given is not None else "the largest"
        raise ValueError(f"{name}[{first}] is {int(tensor[first])}: expected 0 or more and below {limit}")
    return tensor, n


def _tensor(values: Array) -> torch.Tensor:
    """The same memory, but of an array that must not be written to, which torch does not know of, a copy."""
    if isinstance(values, np.ndarray) and not values.flags.writeable:
        values = values.copy()
    return torch.as_tensor(values)


def _numeric(values: Array) -> bool:
    if isinstance(values, torch.Tensor):
        return not values.is_complex()
    return np.asarray(values).dtype.kind in "fiub"


def _refuse_scores(values: Array) -> torch.Tensor:
    raise TypeError(f"scores must hold numbers, not {values.dtype}")


def _check_steps(max_steps: int, tolerance: float) -> None:
    if max_steps < 1:
        raise ValueError(f"max_steps must be 1 or more, not {max_steps}")
    if not tolerance >= 0:
        raise ValueError(f"tolerance must be 0 or more, not {tolerance}")
