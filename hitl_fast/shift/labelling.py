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

    def choose(self, known: np.ndarray, eligible: np.ndarray) -> np.ndarray:
        """(n,) bool: the shifted samples whose labels are used, drawn at random but always the same ones.

        Args:
            known: (n,) bool, whose label is known.
            eligible: positions to choose from under a budget.

        Raises:
            ValueError: fewer are labelled than label_budget says, or none is.
        """
        if not self.shifted_known or self.label_budget is None:
            return known & self.shifted_known
        candidates = np.asarray(eligible, dtype=np.int64)
        candidates = candidates[known[candidates]]
        if len(candidates) < self.label_budget:
            raise InputError(
                f"label_budget is {self.label_budget}, but only {len(candidates)} of {len(known)} shifted samples "
                "can be used with their labels (a label below 0 is an unknown one; effort_samples bounds them too)"
            )
        chosen = np.zeros(len(known), dtype=bool)
        drawn = np.random.default_rng(0).choice(len(candidates), int(self.label_budget), replace=False)
        chosen[candidates[drawn]] = True
        return chosen
