"""Which samples are pairs and which labels are known: the options of ``preindex``, validated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hitl_fast._common.errors import InputError, InputTypeError

LABELS_FOR = ("both", "clean")


@dataclass(frozen=True)
class Labelling:
    """The arguments of ``hitl_fast.preindex`` of the same names.

    Raises:
        ValueError: one has a value that is not allowed, or two contradict each other.
        TypeError: paired is no bool, or label_budget no integer.
    """

    paired: bool = True
    labels_for: str | None = None
    label_budget: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.paired, bool):
            raise InputTypeError(f"paired must be True or False, not {self.paired!r}")
        if self.labels_for is not None and self.labels_for not in LABELS_FOR:
            raise InputError(f"labels_for must be {' or '.join(LABELS_FOR)}, not {self.labels_for!r}")
        budget = self.label_budget
        if budget is None:
            return
        if isinstance(budget, bool) or not isinstance(budget, int | np.integer):
            raise InputTypeError(f"label_budget must be a whole number of samples, not {budget!r}")
        if budget < 2:
            raise InputError(f"label_budget must be at least 2 labelled shifted samples, not {budget}")
        if self.labels_for == "clean":
            raise InputError(
                f"label_budget={budget} and labels_for='clean' contradict each other: the first says that some shifted"
                " samples are labelled, the second that none is"
            )

    @property
    def complete(self) -> bool:
        """Pairs, all of them labelled."""
        return self.paired and self.labels_for != "clean" and self.label_budget is None

    @property
    def shifted_known(self) -> bool:
        """Some shifted samples are labelled."""
        return self.labels_for != "clean"

    def choose(self, known: np.ndarray, finite: np.ndarray) -> np.ndarray:
        """(n,) bool: the shifted samples whose labels are used, drawn at random but always the same ones.

        Args:
            known: (n,) bool, whose label is known.
            finite: (n,) bool, whose embedding is; under a budget only these are drawn.

        Raises:
            ValueError: fewer are labelled and finite than label_budget says.
        """
        if not self.shifted_known or self.label_budget is None:
            return known & self.shifted_known
        candidates = np.flatnonzero(known & finite)
        if len(candidates) < self.label_budget:
            raise InputError(
                f"label_budget is {self.label_budget}, but only {len(candidates)} of {len(known)} shifted samples have "
                f"a known label (one below 0 is unknown) and an embedding without NaN or infinite values"
            )
        order = draw().random(len(known))[candidates]
        chosen = np.zeros(len(known), dtype=bool)
        chosen[candidates[np.argsort(order, kind="stable")[: self.label_budget]]] = True
        return chosen


def draw() -> np.random.Generator:
    """Gives each sample a number, in the order of its loader; where some are drawn, those of the smallest numbers are.

    So the layer inputs kept of a pass, whose number of samples is not known before, are of those that are drawn then.
    """
    return np.random.default_rng(0)
