"""From answers about some samples to a score and a variance for all, by a Gaussian process."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.seeds import checked_seed

from .questions import LENGTH, checked_positions
from .scored import UNDECLARED, ScoredItems
from .signal_data import SignalData

POINTS = 4.0  # width of the scale that the constants below are of: 1 to 5
NOISE = 0.9  # of an answer, in squared points, where the rater model gives none
PRIOR_ANSWERS = 4.0  # answers that the prior's intercept 0 and slope 1 are worth
EXACT = 2000  # answers that are used as they are
INDUCING = 1000  # answers that stand for the others beyond that
FITTED = 400  # answers that hyperparameters are fitted to
BLOCK = 8192
# Medians of the log-normal priors of the hyperparameters, and the standard deviations of their logarithms.
START = {"signals": 0.5, "features": 0.5, "extra": 0.1, "length": 1.0}
SPREAD = {"signals": 1.0, "features": 1.0, "extra": 1.0, "length": 0.7}
STEPS = 25
CARELESS = 0.03  # chance of a low answer to a good sample
LOWEST = 0.125  # of the scale: low answers
LEVEL = 0.05
PRIORS = (None, "auto")


@dataclass(frozen=True)
class Check:
    """Whether answers contradict the priorities that are made without people (`Signals.priorities`).

    Attributes:
        contradicts: p_value is below 0.05.
        p_value: chance of as many unexpected answers if label doubt were right.
        unexpected: samples with credible labels, by their signals, that people rated as worthless.
        expected: how many there would be of these by label doubt and careless answers.
        answers: samples that the check could use: answered ones without near copies.
        undeclared: whether no scale was declared, so that the lowest score given counts as worthless.
    """

    contradicts: bool
    p_value: float
    unexpected: int
    expected: float
    answers: int
    undeclared: bool = False

    def __str__(self) -> str:
        counted = (
            f"{self.unexpected} of {self.answers} answered samples have credible labels and were rated worthless, "
            f"where {self.expected:.1f} were expected (p = {self.p_value:.2g})"
        )
        if self.undeclared:
            counted += (
                "; no scale was declared, so that the lowest score given counts as worthless: give scale="
            )
        if self.contradicts:
            return (
                f"the answers contradict the automatic priorities: labels are wrong systematically; {counted}"
            )
        return f"the answers do not contradict the automatic priorities; {counted}"


@dataclass(frozen=True, eq=False)
class Propagation:
    """What `propagate` finds: (n,) mean and variance of every sample's score, and the rest as in `Propagated`."""

    mean: np.ndarray
    variance: np.ndarray
    count: np.ndarray
    check: Check
    hyperparameters: dict[str, float]
    noise: str
    inducing: int


@dataclass(frozen=True)
class _Answers:
    """What is known of the answered samples, on a scale from 1 to 5."""

    score: torch.Tensor  # (m,) float64
    noise: torch.Tensor  # (m,)
    table: torch.Tensor  # (m, 8)
    embedding: torch.Tensor  # (m, d), in median distances
    label: torch.Tensor  # (m,)
    prior: torch.Tensor | None  # (m,)
    prior_variance: float  # of the prior over all samples
    typical: float  # median noise

    def part(self, rows: torch.Tensor) -> _Answers:
        prior = None if self.prior is None else self.prior[rows]
        return replace(
            self, score=self.score[rows], noise=self.noise[rows], table=self.table[rows],
            embedding=self.embedding[rows], label=self.label[rows], prior=prior,
        )  # fmt: skip


def propagate(
    priorities: ScoredItems, signals: SignalData, prior: str | None = None, *, seed: int = 0
) -> Propagation:
    """Scores of all samples from the scores of those that people were asked about.

    On a scale from 1 to 5::

        y[i] = a + b prior[i] + f[i] + e[i]
        cov(f[i], f[j]) = s1 RBF(signals; sqrt 8) + s2 [label i = label j] RBF(16 components of the features; length)
        var(e[i]) = variance of the score by the rater model + extra

    Without a prior b is 0 and a ~ N(3, 1). With prior="auto" (`Signals.priorities`) a ~ N(0, v / 4) and b ~ N(1, v / (4
    var prior)), with v the noise of one answer: four answers' worth. s1, s2, extra and length are of the largest
    marginal likelihood times weak log-normal priors, fitted to at most 400 answers. Up to 2,000 answers are used as
    they are; beyond, 1,000 of them are inducing points (subset of regressors with the variance of deterministic
    training conditionals).

    A score without a variance, as of one rater who rated nothing twice, counts with 0.9 squared points an answer, and
    ``noise`` of the result says so.

    Args:
        priorities: scores of answered samples; items are positions.
        signals: of all samples.
        prior: None, which is the safe choice where labels may be wrong systematically, or "auto".
        seed: of the answers that hyperparameters are fitted to and that are inducing points.

    Returns:
        Every sample's mean and variance (of the mean, not of an answer), on the scale of ``priorities``, and the check
        whether the answers contradict the automatic priorities.

    Raises:
        TypeError: an argument is of another type, or items are ids.
        ValueError: an item is no position of signals, comes twice, there are none, a score is not finite or outside
            the scale, the scale is one point (as of answers that are all the same, where no scale was declared), or
            scores say how likely a category is, and not what it is worth.

    Source: Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, eq. 2.25, 5.8 and 8.14.
    """
    if not isinstance(signals, SignalData):
        raise InputTypeError(f"signals must be hitl_fast.Signals, not {type(signals).__name__}")
    checked_prior(prior)
    items = _checked_items(priorities, len(signals))
    low, width = _scale(priorities)
    noise, said = _noise(priorities, width)
    automatic = signals.automatic()
    score = 1 + POINTS * (priorities.score - low) / width
    answers, step = _answers(signals, items, score, noise, 1 + POINTS * automatic if prior else None)
    generator = np.random.default_rng(checked_seed(seed))
    fitted = _fit(answers.part(_some(len(items), FITTED, generator)))
    chosen = None if len(items) <= EXACT else _some(len(items), INDUCING, generator)
    mean, variance = _predict(
        answers, signals, step, fitted, 1 + POINTS * automatic if prior else None, chosen
    )
    count = np.zeros(len(signals), np.int64)
    count[items] = priorities.count
    return Propagation(
        low + (mean - 1) / POINTS * width, variance * (width / POINTS) ** 2, count, contradiction(priorities, signals),
        fitted, said, 0 if chosen is None else len(chosen),
    )  # fmt: skip


def _checked_items(priorities: ScoredItems, total: int) -> np.ndarray:
    if len(priorities) == 0:
        raise InputError("priorities hold no scores: there is nothing to propagate")
    if priorities.num_items not in (None, total):
        raise InputError(
            f"ratings are of a data set of {priorities.num_items} items, and signals of {total} samples"
        )
    items = checked_positions(priorities.items, total)
    distinct, count = np.unique(items, return_counts=True)
    if (count > 1).any():
        raise InputError(f"item {distinct[count > 1][0]} has {count[count > 1][0]} scores: one is expected")
    for name in ("score", "variance", "count"):
        shape = np.shape(getattr(priorities, name))
        if shape != items.shape:
            raise InputError(
                f"priorities have {len(items)} items, and {name} of shape {shape}: one for each item"
            )
    if priorities.unweighed:
        raise InputError(
            "scores say how likely the likeliest category is, and not what it is worth: aggregate with labels={...}"
        )
    wrong = np.flatnonzero(~np.isfinite(priorities.score))
    if wrong.size:
        raise InputError(
            f"the score of item {items[wrong[0]]} is {priorities.score[wrong[0]]}: expected a number"
        )
    return items


def checked_prior(prior: str | None) -> None:
    """Raises ValueError where the prior is neither None nor "auto"."""
    if prior not in PRIORS:
        raise InputError(f"prior must be None or 'auto', not {prior!r}")


def _scale(priorities: ScoredItems) -> tuple[float, float]:
    low, high = priorities.scale
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"the scale of priorities is {priorities.scale}: expected two finite numbers")
    if low == high:
        raise InputError(
            f"every answer is {low:g} and no scale was declared: give scale=(lowest, highest) to Ratings.read, since "
            "the answers alone do not say whether that is high or low"
        )
    if low > high:
        raise InputError(f"the scale of priorities is {priorities.scale}: expected the lowest score first")
    slack = 1e-6 * (high - low)
    outside = (priorities.score < low - slack) | (priorities.score > high + slack)
    if outside.any():
        place = int(outside.argmax())
        raise InputError(
            f"the score of item {priorities.items[place]} is {priorities.score[place]:g}, outside the scale from "
            f"{low:g} to {high:g}"
        )
    return low, high - low


def _noise(priorities: ScoredItems, width: float) -> tuple[np.ndarray, str]:
    """Variance of each score in squared points of a scale from 1 to 5, and where it comes from."""
    stated = NOISE / np.maximum(priorities.count, 1)
    given = priorities.variance * (POINTS / width) ** 2
    known = np.isfinite(given) & (given > 0)
    # Where nobody rated an item twice, the variance of "mean" is that of the scores themselves, signal and all.
    single = priorities.method == "mean" and bool((priorities.count <= 1).all())
    if single or not known.all():
        why = (
            "no item has two answers" if single or not known.any() else "some scores have no variance above 0"
        )
        return stated, f"stated: {NOISE:g} squared points an answer on a scale from 1 to 5, as {why}"
    return given, f"variances of the scores by method {priorities.method!r}"


def _some(total: int, most: int, generator: np.random.Generator) -> torch.Tensor:
    if total <= most:
        return torch.arange(total)
    return torch.from_numpy(np.sort(generator.choice(total, most, replace=False)))


def _answers(
    signals: SignalData, items: np.ndarray, score: np.ndarray, noise: np.ndarray, prior: np.ndarray | None
) -> tuple[_Answers, float]:
    embedding = signals.embedding[items].astype(np.float64)
    few = embedding[:: max(1, len(embedding) // 1000)]
    between = np.sqrt(np.maximum(((few[:, None] - few) ** 2).sum(2), 0))
    step = float(np.median(between[between > 0])) if (between > 0).any() else 1.0
    variance = 1.0 if prior is None else max(float(prior.var()), 1e-6)
    return _Answers(
        torch.from_numpy(np.asarray(score, np.float64)), torch.from_numpy(np.asarray(noise, np.float64)),
        torch.from_numpy(signals.table[items].astype(np.float64)), torch.from_numpy(embedding / step),
        torch.from_numpy(signals.labels[items]), None if prior is None else torch.from_numpy(prior[items]), variance,
        float(np.median(noise)),
    ), step  # fmt: skip


def _gaussian(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """exp(-|a - b|^2 / 2) for all rows."""
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * (a @ b.T)
    return torch.exp(-0.5 * squares.clamp_min(0))


def _trend(
    a: torch.Tensor | None, b: torch.Tensor | None, spread: tuple[float, float]
) -> torch.Tensor | float:
    """Covariance of the intercept and the slope."""
    if a is None or b is None:
        return spread[0]
    return spread[0] + spread[1] * torch.outer(a, b)


def _spread(answers: _Answers) -> tuple[float, float]:
    if answers.prior is None:
        return 1.0, 0.0
    v = max(answers.typical, NOISE)
    return v / PRIOR_ANSWERS, v / (PRIOR_ANSWERS * answers.prior_variance)


def _centre(prior: torch.Tensor | None) -> torch.Tensor | float:
    return 3.0 if prior is None else prior


def _fit(answers: _Answers) -> dict[str, float]:
    """Hyperparameters of the largest posterior density, by L-BFGS on their logarithms."""
    names = list(START)
    middle = torch.tensor([math.log(START[n]) for n in names], dtype=torch.float64)
    width = torch.tensor([SPREAD[n] for n in names], dtype=torch.float64)
    log = middle.clone().requires_grad_(True)
    near = _gaussian(answers.table / LENGTH, answers.table / LENGTH)
    same = (answers.label[:, None] == answers.label).double()
    fixed = _trend(answers.prior, answers.prior, _spread(answers)) + torch.diag(answers.noise)
    residual = answers.score - _centre(answers.prior)
    eye = torch.eye(len(residual), dtype=torch.float64)

    def objective() -> torch.Tensor:
        s1, s2, extra, length = log.clamp(-12, 6).exp()
        scaled = answers.embedding / length
        covariance = s1 * near + s2 * same * _gaussian(scaled, scaled) + fixed + (extra + 1e-8) * eye
        half = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(half, residual[:, None], upper=False)
        evidence = 0.5 * (white**2).sum() + half.diagonal().log().sum()
        total: torch.Tensor = evidence + 0.5 * (((log - middle) / width) ** 2).sum()
        return total

    optimiser = torch.optim.LBFGS([log], max_iter=STEPS, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = objective()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    values = log.detach()
    if not torch.isfinite(values).all():
        values = middle
    return {name: float(v) for name, v in zip(names, values.clamp(-12, 6).exp(), strict=True)}


def _predict(
    answers: _Answers, signals: SignalData, step: float, fitted: dict[str, float], prior: np.ndarray | None,
    chosen: torch.Tensor | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Mean and variance of every sample, in blocks: float32 products of float64 factors."""
    basis = answers if chosen is None else answers.part(chosen)
    spread = _spread(answers)
    s1, s2, length = fitted["signals"], fitted["features"], fitted["length"]

    def covariance(
        table: torch.Tensor,
        embedding: torch.Tensor,
        label: torch.Tensor,
        mean: torch.Tensor | None,
        to: _Answers,
    ) -> torch.Tensor:
        same = label[:, None] == to.label
        found = s1 * _gaussian(table / LENGTH, to.table.to(table.dtype) / LENGTH)
        # In float64: answers may lie closely together far from the origin, where float32 loses their distances.
        near = _gaussian(embedding.double() / (length * step), to.embedding / length)
        found += s2 * same * near.to(table.dtype)
        slope = None if to.prior is None else to.prior.to(table.dtype)
        return found + _trend(mean, slope, spread)

    noise = answers.noise + fitted["extra"]
    own = covariance(answers.table, answers.embedding * step, answers.label, answers.prior, basis)
    residual = answers.score - _centre(answers.prior)
    n = len(basis.score)
    if chosen is None:
        half = torch.linalg.cholesky(own + torch.diag(noise + 1e-8))
        less = torch.linalg.solve_triangular(half, torch.eye(n, dtype=torch.float64), upper=False)
        more = torch.empty(0, n, dtype=torch.float64)
        weights = less.T @ (less @ residual)
    else:
        inner = own[chosen] + 1e-6 * torch.eye(n, dtype=torch.float64)
        less = torch.linalg.solve_triangular(
            torch.linalg.cholesky(inner), torch.eye(n, dtype=torch.float64), upper=False
        )
        # Whitened by the inducing points: what is factorised stays above the identity, however small the noise is.
        white = less @ (own / noise.sqrt()[:, None]).T  # [inducing, answers]
        half = torch.linalg.cholesky(white @ white.T + torch.eye(n, dtype=torch.float64))
        more = torch.linalg.solve_triangular(half, less, upper=False)
        weights = more.T @ torch.linalg.solve_triangular(
            half, (white @ (residual / noise.sqrt()))[:, None], upper=False
        )
        weights = weights[:, 0]
    total = len(signals)
    mean, variance = np.empty(total), np.empty(total)
    down, up, weights32 = less.T.float(), more.T.float(), weights.float()
    for begin in range(0, total, BLOCK):
        rows = slice(begin, begin + BLOCK)
        table = torch.from_numpy(signals.table[rows])
        line = None if prior is None else torch.from_numpy(prior[rows]).float()
        across = covariance(
            table,
            torch.from_numpy(signals.embedding[rows]),
            torch.from_numpy(signals.labels[rows]),
            line,
            basis,
        )
        before = s1 + s2 + spread[0] + (0.0 if line is None else spread[1] * line**2)
        after = before - ((across @ down) ** 2).sum(1) + ((across @ up) ** 2).sum(1)
        mean[rows] = (across @ weights32).double().numpy() + (3.0 if prior is None else prior[rows])
        variance[rows] = after.clamp_min(1e-6).double().numpy()
    return mean, variance


def contradiction(priorities: ScoredItems, signals: SignalData, *, careless: float = CARELESS) -> Check:
    """Posterior-predictive check: do people's answers contradict label doubt, as systematic label errors make them?

    Only answered samples without near copies count. An answer is low within the lowest eighth of the scale. If label
    doubt is right, up to how often it is::

        P(low[i]) = careless + k (1 - quality[i]),   k >= 0 such that as many low answers are expected as there are

    The statistic is the number of low answers to samples of quality above 1/2. Given the number of all low answers it
    is binomial under that model; its upper tail is the p-value. Where errors are systematic, the wrong labels are those
    that neighbours and the ridge agree with, and low answers fall there.

    Measured on pools of the guidance experiment (seeds 100 to 109, 108 chosen answers, 5 % level): systematic errors
    flagged in 9 of 10 image pools and 6 of 10 text pools (with 54 answers 5 and 1), random errors in 0 of 20 image
    pools. So an answer of "do not contradict" is weak evidence on texts, and with few answers.

    Args:
        priorities: scores of answered samples.
        signals: of all samples.
        careless: chance of a low answer to a good sample.

    Raises:
        ValueError: as `propagate`; careless is not within 0 and 1.

    Source: Gelman, Meng and Stern, Posterior predictive assessment of model fitness, 1996.
    """
    if not 0 < careless < 1:
        raise InputError(f"careless must be within 0 and 1, not {careless}")
    items = _checked_items(priorities, len(signals))
    low, width = _scale(priorities)
    alone = signals.copies[items] == 1
    quality = signals.quality[items][alone]
    is_low = ((priorities.score - low) / width <= LOWEST)[alone]
    credible = quality > 0.5
    count, unexpected = int(is_low.sum()), int((is_low & credible).sum())
    doubt = float((1 - quality).sum())
    k = max(0.0, count - careless * len(quality)) / doubt if doubt > 0 else 0.0
    chance = careless + k * (1 - quality)
    share = float(chance[credible].sum() / chance.sum()) if len(quality) else 0.0
    # More low answers than carelessness explains are needed as well: few prove nothing.
    p_value = max(_tail(count, share, unexpected), _tail(len(quality), careless, count))
    return Check(
        p_value < LEVEL, p_value, unexpected, share * count, len(quality), UNDECLARED in priorities.notes
    )


def _tail(n: int, share: float, least: int) -> float:
    """Chance of ``least`` or more of n, each with the chance ``share``."""
    if least <= 0:
        return 1.0
    if share <= 0 or share >= 1:
        return float(share >= 1)
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(share)
        + (n - i) * math.log1p(-share)
        for i in range(least, n + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(math.exp(v) for v in logs))
