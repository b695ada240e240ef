"""Signals of a pool for the conditions that need no model in training, and the operations that they take."""

from __future__ import annotations

import numpy as np

from hitl_fast.ratings.neighbours import neighbours
from hitl_fast.ratings.signals import PENALTIES, Signals

from .tasks import Task

COMPONENTS = {"image": 32, "text": 64}
OVERSAMPLED, ITERATIONS = 10, 3
FOURIER = 512  # random Fourier features of an image's components
NEAR_TEXTS = 0.72  # cosine of near copies


def signals_of(task: Task, seed: int, quality: str = "own") -> Signals:
    """Signals of the pool from features that need no training, and its given labels.

    Images: 512 random Fourier features of 32 principal components, bandwidth the median distance (Rahimi and Recht,
    2007). Texts: 64 components of TF-IDF with sublinear counts, by the cosine; near copies by the cosine of TF-IDF.
    """
    labels = task.labels.numpy()
    if task.name == "image":
        pixels = task.inputs.flatten(1).double().numpy()
        return Signals.of(_fourier(_components(pixels, COMPONENTS["image"]), seed), labels, quality=quality)
    words = _tfidf(task.inputs.numpy())
    radius = (2 - 2 * NEAR_TEXTS) ** 0.5
    groups = neighbours(words.astype(np.float32), 1, radius).group
    return Signals.of(
        _components(words, COMPONENTS["text"]), labels, metric="cosine", groups=groups, quality=quality
    )


def operations(task: Task) -> float:
    """Operations of the signals of a pool: products of matrices, with texts' counts as sparse.

    Components by subspace iteration, ridge for each penalty (Gram matrix, Cholesky factorisation, leverages and
    scores), and the distances of all pairs.
    """
    n, classes, kept = len(task), len(task.classes), COMPONENTS[task.name]
    if task.name == "image":
        held, d = float(task.inputs[0].numel()), FOURIER
        extra = 2.0 * n * kept * FOURIER
    else:
        held, d = float((task.inputs > 1).sum()) / n, kept
        extra = 2.0 * n * n * held  # cosines of sparse texts
    wide = kept + OVERSAMPLED
    basis = 2 * n * held * wide * (2 * ITERATIONS + 2) + 4 * n * wide**2 * (ITERATIONS + 1)
    ridge = 4 * n * d * d + d**3 / 3 + 4 * n * d * classes
    return float(basis + extra + len(PENALTIES) * ridge + 2 * n * n * d)


def _components(x: np.ndarray, count: int) -> np.ndarray:
    """(n, count) principal components, by subspace iteration (Halko, Martinsson and Tropp, 2011, algorithm 4.4)."""
    centred = x - x.mean(0)
    generator = np.random.default_rng(0)
    basis = np.linalg.qr(centred @ generator.normal(size=(x.shape[1], count + OVERSAMPLED)))[0]
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(centred @ (centred.T @ basis))[0]
    left, values, _ = np.linalg.svd(basis.T @ centred, full_matrices=False)
    return np.asarray((basis @ left)[:, :count] * values[:count])


def _fourier(x: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng([seed, 11])
    a, b = generator.integers(0, len(x), (2, 5000))
    bandwidth = float(np.median(np.linalg.norm(x[a] - x[b], axis=1)[a != b]))
    directions = generator.normal(0, 1 / bandwidth, (x.shape[1], FOURIER // 2))
    angles = x @ directions
    return np.asarray(np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * (2 / FOURIER) ** 0.5)


def _tfidf(words: np.ndarray) -> np.ndarray:
    """(n, words) of unit length; the codes 0 and 1 stand for no word and an unknown one."""
    count = np.zeros((len(words), int(words.max()) + 1))
    np.add.at(count, (np.arange(len(words))[:, None], words), 1.0)
    count[:, :2] = 0
    documents = (count > 0).sum(0)
    seen = documents > 0
    count, documents = count[:, seen], documents[seen]
    weight = np.where(count > 0, 1 + np.log(np.maximum(count, 1)), 0) * (
        np.log((1 + len(words)) / (1 + documents)) + 1
    )
    length = np.linalg.norm(weight, axis=1, keepdims=True)
    return np.asarray(weight / np.where(length > 0, length, 1))
