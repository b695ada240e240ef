"""What else one pass over the embeddings tells: rivals of the index, from sums that stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from hitl_kernels.lloyd.rows import read_chunks
from torch import Tensor

# Square matrices of this size at most: wider embeddings are compared through their samples, this many of them.
WIDEST = 4096
CHUNK = 1 << 19  # values read at a time
# Ridge penalty, as a share of the mean diagonal of X'X.
RIDGE = 0.01


@dataclass(frozen=True)
class Embedding:
    """(N, D) rows in memory or in a file, and each row's class as 0 .. K-1."""

    rows: Any
    classes: np.ndarray
    n_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.rows.shape[0]), int(self.rows.shape[1])

    def centred(self) -> tuple[Tensor, Iterator[tuple[slice, Tensor]]]:
        """The mean (D,) float32 of float64 sums, and the rows less it, chunk by chunk, float32."""
        total = torch.zeros(self.shape[1], dtype=torch.float64)
        for _, rows in self._chunks():
            total += rows.sum(0, dtype=torch.float64).cpu()
        mean = (total / self.shape[0]).float()
        return mean, ((place, rows - mean.to(rows.device)) for place, rows in self._chunks())

    def _chunks(self) -> Iterator[tuple[slice, Tensor]]:
        step = max(1, CHUNK // self.shape[1])
        if isinstance(self.rows, Tensor):
            for start in range(0, self.shape[0], step):
                yield slice(start, start + step), self.rows[start : start + step]
            return
        for start, rows in read_chunks(self.rows, step):
            yield slice(start, start + len(rows)), torch.from_numpy(rows.copy())

    def rounding(self) -> float:
        """The sum of squares that float32's rounding alone gives to rows that are all their mean."""
        mean = self.centred()[0].double()
        return float(self.shape[0] * (mean * float(np.finfo(np.float32).eps)).square().sum())

    def sample(self, most: int) -> tuple[Tensor, np.ndarray]:
        """At most so many rows, centred on their mean, and which: always the same ones."""
        n = self.shape[0]
        which = np.arange(n)
        if n > most:
            which = np.sort(np.random.default_rng(0).choice(n, most, replace=False))
        rows = self.rows if isinstance(self.rows, Tensor) else np.asarray(self.rows)
        chosen = torch.as_tensor(rows[which])
        return chosen - chosen.double().mean(0).float(), which


def class_sums(embedding: Embedding) -> np.ndarray:
    """(K, D) float64: the sum of each class's embeddings."""
    mean, chunks = embedding.centred()
    sums = torch.zeros((embedding.n_classes, embedding.shape[1]), dtype=torch.float64)
    classes = torch.from_numpy(embedding.classes)
    for place, rows in chunks:
        member = torch.nn.functional.one_hot(classes[place], embedding.n_classes).double()
        sums += (member.T.to(rows.device) @ rows.double()).cpu()
    counts = np.bincount(embedding.classes, minlength=embedding.n_classes)
    return np.asarray(sums + torch.from_numpy(counts)[:, None] * mean.double().cpu())


def resque_angle(clean_sums: np.ndarray, shifted_sums: np.ndarray) -> float | None:
    """Mean over classes of the angle between the summed embeddings, in units of pi.

    arccos(a . b / (|a| |b|)) / pi; classes whose sum is 0 on either side have no angle and do not count.
    """
    directed = (clean_sums != 0).any(1) & (shifted_sums != 0).any(1)
    if not directed.any():
        return None
    a, b = (
        sums[directed] / np.linalg.norm(sums[directed], axis=1, keepdims=True)
        for sums in (clean_sums, shifted_sums)
    )
    # 2 atan2(|a - b|, |a + b|): exactly 0 for equal sums, where the arc cosine of 1 - 1e-16 is 1e-8.
    angles = 2 * np.arctan2(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return float(np.mean(angles) / np.pi)


def linear_cka(clean: Embedding, shifted: Embedding) -> float | None:
    """Linear centred kernel alignment: |A'B|^2 / (|A'A| |B'B|) in the Frobenius norm, 1 for equal embeddings.

    None where one of them is constant to float32's rounding. Sums over samples are float64 of float32 products: their
    order, and so the number of threads, moves the value by some 1e-7. More than 4,096 values a sample: measured on at
    most 2,048 samples.

    Source: Kornblith et al., Similarity of Neural Network Representations Revisited, 2019, eq. 3.
    """
    if clean.shape[1] > WIDEST:
        A, _ = clean.sample(WIDEST // 2)
        B, _ = shifted.sample(WIDEST // 2)
        K, L = (A @ A.T).double(), (B @ B.T).double()
        cross, left, right = (float((a * b).sum()) for a, b in ((K, L), (K, K), (L, L)))
        spreads = [float(K.trace()), float(L.trace())]
    else:
        width = clean.shape[1]
        products = [torch.zeros((width, width), dtype=torch.float64) for _ in range(3)]
        (_, ours), (_, theirs) = clean.centred(), shifted.centred()
        for (_, A), (_, B) in zip(ours, theirs, strict=True):
            for total, (left_rows, right_rows) in zip(products, ((A, B), (A, A), (B, B)), strict=True):
                total += (left_rows.T @ right_rows).cpu()
        cross, left, right = (float(product.square().sum()) for product in products)
        spreads = [float(products[1].trace()), float(products[2].trace())]
    if any(spread <= e.rounding() for spread, e in zip(spreads, (clean, shifted), strict=True)):
        return None
    return min(cross / float(np.sqrt(left) * np.sqrt(right)), 1.0)


def probe_error(shifted: Embedding) -> float:
    """Leave-one-out error of a ridge classifier on the shifted embeddings: what a new last layer could not do.

    One-hot targets Y, centred embeddings X, an intercept, penalty 0.01 times the mean diagonal of X'X. With the hat
    matrix H of that fit, sample i's prediction without it is y_i - (y_i - yhat_i) / (1 - H_ii), so no fit is repeated.
    At most the error of always guessing the most frequent class: leaving a sample out makes its own class rarer, so
    that embeddings which tell nothing would otherwise do worse than that guess.
    More than 4,096 values a sample, or more values than samples: through the samples' Gram matrix, of at most 2,048.
    """
    n, width = shifted.shape
    if width > min(n, WIDEST):
        X, which = shifted.sample(WIDEST // 2)
        error = _probe_by_samples(X.double(), shifted.classes[which], shifted.n_classes)
        return min(error, _guess_error(shifted.classes[which]))
    gram = torch.zeros((width, width), dtype=torch.float64)
    classes = torch.from_numpy(shifted.classes)
    share = torch.bincount(classes, minlength=shifted.n_classes).double() / n
    XY = torch.zeros((width, shifted.n_classes), dtype=torch.float64)
    for place, rows in shifted.centred()[1]:
        X = rows.double().cpu()
        gram += X.T @ X
        XY += X.T @ _one_hot(classes[place], shifted.n_classes)
    gram.diagonal().add_(_penalty(gram.trace(), width))
    inverse = torch.linalg.inv(gram)
    weights = inverse @ XY
    wrong = 0
    for place, rows in shifted.centred()[1]:
        X = rows.double().cpu()
        leverage = torch.einsum("nd,nd->n", X @ inverse, X) + 1 / n
        targets = _one_hot(classes[place], shifted.n_classes)
        wrong += _wrong(X @ weights + share, targets, leverage, classes[place])
    return min(wrong / n, _guess_error(shifted.classes))


def _one_hot(classes: Tensor, n_classes: int) -> Tensor:
    return torch.nn.functional.one_hot(classes, n_classes).double()


def _guess_error(classes: np.ndarray) -> float:
    return 1 - float(np.bincount(classes).max()) / classes.size


def _probe_by_samples(X: Tensor, classes: np.ndarray, n_classes: int) -> float:
    n = len(X)
    wanted = torch.from_numpy(classes)
    targets = _one_hot(wanted, n_classes)
    gram = (X @ X.T).cpu()
    penalised = gram.clone()
    penalised.diagonal().add_(_penalty(gram.trace(), X.shape[1]))
    hat = torch.linalg.solve(penalised, gram)  # K and (K + penalty)^-1 commute
    fitted = hat @ targets + targets.mean(0)
    return _wrong(fitted, targets, hat.diagonal() + 1 / n, wanted) / n


def _penalty(trace: Tensor, width: int) -> float:
    return max(RIDGE * float(trace) / width, float(np.finfo(np.float64).tiny))


def _wrong(fitted: Tensor, targets: Tensor, leverage: Tensor, classes: Tensor) -> int:
    left_out = targets - (targets - fitted) / (1 - leverage).clamp(min=1e-9)[:, None]
    return int((left_out.argmax(1) != classes).sum())
