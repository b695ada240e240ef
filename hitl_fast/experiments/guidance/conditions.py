"""The arms: what guides the training, people or the loss or nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: as on the command line and in the results.
        says: one line for the page.
        draw: what draws samples: "" (every sample once an epoch), "rated", or "shuffled" (the same weights, each
            given to a random sample).
        loss: whether ratings weigh the loss.
        features: whether the gradient is penalised where people find features unimportant.
        automatic: "" or which samples the model's own loss favours, "high" or "low".
    """

    name: str
    says: str
    draw: str = ""
    loss: bool = False
    features: bool = False
    automatic: str = ""

    @property
    def human(self) -> bool:
        """Whether people's time is spent on it."""
        return self.draw == "rated" or self.loss or self.features


ARMS = {
    arm.name: arm
    for arm in (
        Arm("uniform", "the control: every sample once an epoch"),
        Arm("random_priority", "the sampler's weights, dealt to random samples", draw="shuffled"),
        Arm("sampler", "samples drawn as people rated them", draw="rated"),
        Arm("loss", "the loss weighed as people rated the samples", loss=True),
        Arm("sampler+loss", "both", draw="rated", loss=True),
        Arm("features", "a penalty on features that people rated unimportant", features=True),
        Arm("automatic", "samples of high loss first, nobody asked", automatic="high"),
        Arm("automatic_low", "samples of low loss first, nobody asked", automatic="low"),
    )
}
HUMAN = tuple(name for name, arm in ARMS.items() if arm.human)
