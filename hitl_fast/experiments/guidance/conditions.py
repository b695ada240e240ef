"""The conditions: what guides the training, people or the loss or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Condition:
    """One way to train.

    Attributes:
        name: as on the command line and in the results.
        says: one line for the page.
        draw: what draws samples: "" (every sample once an epoch), "rated", or "shuffled" (the same weights, each
            given to a random sample).
        loss: whether ratings weigh the loss.
        features: whether the gradient is penalised where people find features unimportant.
        weights: where the weights come from: "ratings" (of all samples), "class_balance", "auto", "cleanlab" or "ask"
            (few answers, propagated).
        answers: how many answers "ask" takes, one a sample.
        chosen: whether they are about samples chosen by `ask_next`, or about random ones.
        prior: of their propagation: None or "auto".
        power: of the weights.
        automatic: "" or which samples the model's own loss favours, "high" or "low".
    """

    name: str
    says: str
    draw: str = ""
    loss: bool = False
    features: bool = False
    automatic: str = ""
    weights: str = "ratings"
    answers: int = 0
    chosen: bool = True
    prior: str | None = None
    power: float = 1.0

    @property
    def human(self) -> bool:
        """Whether people's time is spent on it."""
        return self.weights in ("ratings", "ask") and (self.draw == "rated" or self.loss or self.features)


CONDITIONS = {
    condition.name: condition
    for condition in (
        Condition("uniform", "the control: every sample once an epoch"),
        Condition("random_priority", "the sampler's weights, dealt to random samples", draw="shuffled"),
        Condition("sampler", "samples drawn as people rated them", draw="rated"),
        Condition("loss", "the loss weighed as people rated the samples", loss=True),
        Condition("sampler+loss", "both", draw="rated", loss=True),
        Condition("features", "a penalty on features that people rated unimportant", features=True),
        Condition("automatic", "samples of high loss first, without human input", automatic="high"),
        Condition("automatic_low", "samples of low loss first, without human input", automatic="low"),
    )
}
FIRST = tuple(CONDITIONS)  # those of the first edition


def _both(name: str, says: str, **more: Any) -> Condition:
    """A condition whose weights both draw samples and weigh the loss."""
    return Condition(name, says, draw="rated", loss=True, **more)


def _asked(answers: int) -> tuple[Condition, ...]:
    base = f"{answers} single answers, propagated to all samples"
    return (
        _both(f"ask_{answers}", f"{base}; chosen, no prior", weights="ask", answers=answers, power=2.0),
        _both(f"ask_{answers}_prior", f"{base}; chosen, on the automatic prior", weights="ask", answers=answers,
              prior="auto", power=2.0),
        _both(f"ask_{answers}_random", f"{base}; about random samples, no prior", weights="ask", answers=answers,
              chosen=False, power=2.0),
    )  # fmt: skip


_NEW = (
    _both("class_balance", "rare given labels first, without human input", weights="class_balance"),
    _both("auto", "label doubt, near copies and class balance, without human input", weights="auto"),
    _both("cleanlab", "the same with cleanlab's label scores, without human input", weights="cleanlab"),
    *_asked(54),
    *_asked(108),
    _both("all", "every sample rated by three people", power=2.0),
)
CONDITIONS |= {condition.name: condition for condition in _NEW}
SECOND = ("uniform", *(condition.name for condition in _NEW))
HUMAN = tuple(name for name, condition in CONDITIONS.items() if condition.human)
