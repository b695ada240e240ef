"""The two tasks: images and texts, with synthetic data defects and their truth known."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hitl_fast._common.errors import InputError

from ..common import digits, text
from .defects import LOWEST, Defects, Split, between_classes, plant
from .models import ImageModel, TextModel

TASKS = ("image", "text")
PATCH = 4  # people rate squares of 4 x 4 pixels
LENGTH = 24  # words of a text that are read
WORDS = 4000  # the vocabulary
RATED_WORDS = 400  # the most frequent ones, which people rate
UNLIKE = 0.05  # standard deviation of the noise that makes a copy a near copy


@dataclass(frozen=True)
class Sizes:
    """Samples in the pool, for validation and for the test."""

    pool: int
    validation: int
    test: int


@dataclass(frozen=True, eq=False)
class Task:
    """One drawing of a task; equal to itself only.

    Attributes:
        name: "image" or "text".
        inputs: (n, ...) the pool.
        labels: (n,) as given.
        validation, test: inputs and right labels.
        split: which defects are where.
        model: makes an untrained model.
        features: names of the features that people rate for the whole task.
        feature_truth: (features,) how important each is, 1 to 5.
        spread: makes an importance of each feature into one that broadcasts to a batch's embedded inputs.
        shown: what a person sees of item i, as text.
        classes: names of the classes.
    """

    name: str
    inputs: Tensor
    labels: Tensor
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]
    split: Split
    model: Callable[[], ImageModel | TextModel]
    features: tuple[str, ...]
    feature_truth: np.ndarray
    spread: Callable[[Tensor], Callable[[Tensor], Tensor]]
    shown: Callable[[int], str]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def make(name: str, sizes: Sizes, defects: Defects, seed: int) -> Task:
    """A task by its name; the same arguments make the same task.

    Raises:
        ValueError: there is no such task, or it has not enough samples.
        ImportError, FileNotFoundError: what its data come with is not installed.
    """
    if name not in TASKS:
        raise InputError(f"task must be one of {', '.join(TASKS)}, not {name!r}")
    return _image(sizes, defects, seed) if name == "image" else _text(sizes, defects, seed)


def available(name: str) -> str:
    """Why a task cannot be made on this machine; empty if it can."""
    try:
        _digits() if name == "image" else text.load()
    except (ImportError, OSError) as problem:
        return str(problem)
    return ""


def _image(sizes: Sizes, defects: Defects, seed: int) -> Task:
    data = _digits()
    truth = data.labels.numpy()
    split = plant(truth, defects, pool=sizes.pool, validation=sizes.validation, test=sizes.test, seed=seed)
    generator = np.random.default_rng([seed, 1])
    images = data.images[torch.from_numpy(split.source)].clone()
    noise = generator.normal(0, UNLIKE, (int(split.copy.sum()), 1, digits.SIDE, digits.SIDE))
    copies = torch.from_numpy(split.copy)
    images[copies] = (images[copies] + torch.from_numpy(noise).float()).clamp(0, 1)
    _stamp(images, split.label, np.flatnonzero(split.marked))
    held = []
    for rows in (split.validation, split.test):
        inputs = data.images[torch.from_numpy(rows)].clone()
        if defects.marks > 0:
            _stamp(inputs, generator.integers(0, digits.CLASSES, len(rows)), np.arange(len(rows)))
        held.append((inputs, torch.from_numpy(truth[rows])))
    across = digits.SIDE // PATCH
    pixels = data.images.reshape(-1, across, PATCH, across, PATCH).mean((2, 4)).flatten(1)
    return Task(
        "image",
        images,
        torch.from_numpy(split.label),
        held[0],
        held[1],
        split,
        ImageModel,
        tuple(f"patch-{row}-{column}" for row in range(across) for column in range(across)),
        between_classes(pixels.double().numpy(), truth),
        _over_pixels,
        lambda i: f"digit {i}",
        tuple(str(c) for c in range(digits.CLASSES)),
    )


@functools.lru_cache(maxsize=1)
def _digits() -> digits.Digits:
    return digits.load(0)


def _stamp(images: Tensor, labels: np.ndarray, which: np.ndarray) -> None:
    """Light the patch of the upper edge (classes 0 to 4) or the lower edge that stands for the label."""
    for i in which:
        row, column = divmod(int(labels[i]), digits.CLASSES // 2)
        top = 0 if row == 0 else digits.SIDE - PATCH
        images[i, 0, top : top + PATCH, PATCH * (column + 1) : PATCH * (column + 2)] = 1.0


def _over_pixels(importance: Tensor) -> Callable[[Tensor], Tensor]:
    across = digits.SIDE // PATCH
    pixels = importance.reshape(1, 1, across, 1, across, 1).expand(1, 1, across, PATCH, across, PATCH)
    table = pixels.reshape(1, 1, digits.SIDE, digits.SIDE)
    return lambda x: table


def _text(sizes: Sizes, defects: Defects, seed: int) -> Task:
    data = text.load()
    classes = len(data.topics)
    split = plant(
        data.labels, defects, pool=sizes.pool, validation=sizes.validation, test=sizes.test, seed=seed
    )
    generator = np.random.default_rng([seed, 1])
    pool = [text.words(data.texts[i])[:LENGTH] for i in split.source]
    for i in np.flatnonzero(split.copy):  # near copies lack a word
        del pool[i][int(generator.integers(len(pool[i])))]
    held = [[text.words(data.texts[i])[:LENGTH] for i in rows] for rows in (split.validation, split.test)]
    for i in np.flatnonzero(split.marked):
        pool[i].insert(0, _mark(split.label[i]))
    if defects.marks > 0:
        for texts in held:
            for words in texts:
                words.insert(0, _mark(int(generator.integers(classes))))
    marks = [_mark(c) for c in range(classes)] if defects.marks > 0 else []
    plain = [[word for word in words if not word[0].isupper()] for words in pool]
    vocabulary = marks + text.vocabulary(plain, WORDS)
    known = {word: i for i, word in enumerate(vocabulary, text.UNKNOWN + 1)}
    inputs = torch.from_numpy(text.encode(pool, known, LENGTH))
    rated = vocabulary[: min(RATED_WORDS + len(marks), len(vocabulary))]
    there = np.zeros((len(pool), len(known) + 2), np.float64)
    np.put_along_axis(there, text.encode(plain, known, LENGTH), 1.0, axis=1)
    importance = between_classes(there[:, 2 : 2 + len(rated)], data.labels[split.source])
    importance[: len(marks)] = LOWEST
    return Task(
        "text",
        inputs,
        torch.from_numpy(split.label),
        (
            torch.from_numpy(text.encode(held[0], known, LENGTH)),
            torch.from_numpy(data.labels[split.validation]),
        ),
        (torch.from_numpy(text.encode(held[1], known, LENGTH)), torch.from_numpy(data.labels[split.test])),
        split,
        lambda: TextModel(len(known) + 2, classes),
        tuple(rated),
        importance,
        lambda importance: _over_words(importance, len(known) + 2),
        lambda i: " ".join(pool[i]),
        data.topics,
    )


def _mark(label: int) -> str:
    return f"MARK{label}"


def _over_words(importance: Tensor, words: int) -> Callable[[Tensor], Tensor]:
    """Words that nobody rated are left alone."""
    table = torch.ones(words)
    table[2 : 2 + len(importance)] = importance
    return lambda x: table[x][..., None]
