"""When a saving pays for people's time: as a formula, for any number of runs and any size of model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hitl_fast._common.bootstrap import Interval
from hitl_fast._common.errors import InputError
from hitl_fast.energy.reporting.carbon import JOULES_PER_KWH

FORMULA = """\
runs to break even = people's cost / (samples saved a run x operations a sample x cost of an operation)
operations a sample to break even in N runs = people's cost / (N x samples saved a run x cost of an operation)

in joules: people's cost = hours x rater's watts x 3600, cost of an operation = 1 / operations a joule
in money:  people's cost = hours x wage,                 cost of an operation = price of the hardware / operation
                                                           + price of electricity / operations a joule"""
# What one training sample costs forward and backward, in operations: orders of magnitude to place a model by.
MODELS = (
    ("this experiment", None),
    ("ResNet-50, an image of 224 x 224", 2.5e10),
    ("BERT-base, 128 tokens", 8.5e10),
    ("a model of 7e9 parameters, 1,000 tokens", 4.2e13),
    ("a model of 7e10 parameters, 4,000 tokens", 1.7e15),
)


@dataclass(frozen=True)
class Prices:
    """Declared, not measured.

    Attributes:
        wage: of a rater, an hour, in any currency.
        watts: of the screen and computer that a rater sits at.
        kwh: price of electricity.
        flops_per_joule: what the training hardware achieves in practice; the default is an accelerator with 3e14
            operations a second at its peak and 400 W, at 40 % of that peak.
        exaflop: price of renting that hardware for 10**18 operations.
    """

    wage: float = 15.0
    watts: float = 30.0
    kwh: float = 0.25
    flops_per_joule: float = 3e11
    exaflop: float = 4.5

    def __post_init__(self) -> None:
        for name in ("wage", "watts", "kwh", "flops_per_joule", "exaflop"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be finite and 0 or more, not {getattr(self, name)}")
        if self.flops_per_joule == 0:
            raise InputError("flops_per_joule must be above 0")

    def people(self, minutes: float, currency: str) -> float:
        """What people's time costs: in "joules" or "money"."""
        hours = minutes / 60
        return hours * self.watts * 3600 if currency == "joules" else hours * self.wage

    def operation(self, currency: str) -> float:
        """What one floating-point operation costs."""
        joules = 1 / self.flops_per_joule
        return joules if currency == "joules" else self.exaflop / 1e18 + joules / JOULES_PER_KWH * self.kwh


def runs_to_break_even(
    minutes: float, samples_saved: Interval, flops_per_sample: float, prices: Prices, currency: str
) -> Interval:
    """How many runs it takes until the saving pays for the ratings once; infinite where nothing is saved.

    Args:
        minutes: people's time.
        samples_saved: a run, in samples' worth of operations.
        flops_per_sample: of the model, forward and backward.
        prices: what things cost.
        currency: "joules" or "money".

    Returns:
        The lower end belongs to the upper end of the saving.

    >>> runs = runs_to_break_even(60, Interval(2e4, 0, 4e4), 1e9, Prices(watts=30, flops_per_joule=1e11), "joules")
    >>> runs.value, runs.low, runs.high
    (540.0, 270.0, inf)
    """
    cost, each = prices.people(minutes, currency), flops_per_sample * prices.operation(currency)
    value, high, low = (_ratio(cost, samples * each) for samples in samples_saved)
    return Interval(value, low, high)


def size_to_break_even(
    minutes: float, samples_saved: Interval, runs: float, prices: Prices, currency: str
) -> Interval:
    """Operations a sample of the smallest model whose saving pays for the ratings in that many runs.

    It takes for granted that a larger model saves as many samples, which is an assumption and not a finding.

    >>> size_to_break_even(60, Interval(2e4, 0, 4e4), 54, Prices(watts=30, flops_per_joule=1e11), "joules").value
    10000000000.0
    """
    cost, each = prices.people(minutes, currency), runs * prices.operation(currency)
    value, high, low = (_ratio(cost, samples * each) for samples in samples_saved)
    return Interval(value, low, high)


def _ratio(cost: float, saving: float) -> float:
    if cost == 0:
        return 0.0 if saving >= 0 else math.inf
    return cost / saving if saving > 0 else math.inf
