"""What the demo steps share: the digits, a trained model, and the output folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from hitl_fast.experiments.common import digits

TRAINING, TEST = 4000, 1000
EPOCHS = 6


@dataclass
class Context:
    """One run of the demo.

    Attributes:
        folder: an existing folder for the files that the steps write.
        seed: random seed of data split, training and simulated raters.
    """

    folder: Path
    seed: int = 0
    training_samples: int = TRAINING
    test_samples: int = TEST
    epochs: int = EPOCHS

    @cached_property
    def data(self) -> digits.Digits:
        return digits.load(self.seed)

    @property
    def training(self) -> digits.Digits:
        return self.data[: self.training_samples]

    @property
    def test(self) -> digits.Digits:
        return self.data[TRAINING : TRAINING + self.test_samples]

    @cached_property
    def model(self) -> nn.Module:
        """A small CNN trained on the training digits."""
        model = digits.seeded(digits.SmallCNN, self.seed)
        digits.train(model, self.training, self.epochs, self.seed)
        return model

    def output(self, name: str) -> Path:
        """The path of an output file; printed, so that the reader finds it."""
        path = self.folder / name
        print(f"  -> {path}")
        return path
