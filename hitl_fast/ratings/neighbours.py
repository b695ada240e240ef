"""Nearest neighbours of every row among the others, and groups of rows that lie within a radius of each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hitl_fast._common.errors import require

EXACT_ROWS = 200_000  # beyond it every pair takes hours, and an index is asked instead
BLOCK = 1 << 25  # distances held at a time: 128 MiB
ROUNDING = 16 * 2.0**-23  # of squared distances in float32, as a share of the squares that they are made of
SPARE = 6  # candidates beyond k, so that rounding in float32 leaves none of the k out


@dataclass(frozen=True)
class Neighbours:
    """The nearest other rows of each row.

    Attributes:
        distance: (n, k) float64, rising.
        index: (n, k) int64.
        group: (n,) int64: rows of one number are connected by steps of no more than the radius.
        exact: whether every pair was compared.
    """

    distance: np.ndarray
    index: np.ndarray
    group: np.ndarray
    exact: bool


def neighbours(features: np.ndarray, k: int, radius: float) -> Neighbours:
    """The k nearest other rows by Euclidean distance, and connected components under a radius.

    Every pair up to `EXACT_ROWS` rows, in blocks: candidates in float32, or in float64 for the rows that float32's
    rounding leaves in doubt, as of clusters that are small beside their distance to the middle; their distances anew in
    float64 from the differences. Beyond, an inverted file of faiss (extra
    ``neighbours``) that looks at 32 of its cells: some neighbours may be missed, and groups are connected by the
    neighbours found alone.

    Args:
        features: (n, d) float32 or float64, finite, n > k.
        k: 1 or more.
        radius: 0 or more.

    Raises:
        ImportError: faiss is needed and not installed.
    """
    rows, middle, unit = _single(features)
    wanted = min(k + SPARE, len(rows) - 1)
    if len(rows) <= EXACT_ROWS:
        found, links = _every_pair(_Data(features, middle, unit, rows), k, wanted, radius / unit)
    else:
        found, links = _indexed(rows, wanted), np.empty((0, 2), np.int64)
    distance = _distances(features, found)
    order = np.argsort(distance, axis=1, kind="stable")
    distance, found = np.take_along_axis(distance, order, 1), np.take_along_axis(found, order, 1)
    near = np.argwhere(distance <= radius)
    edges = np.concatenate([np.stack([near[:, 0], found[near[:, 0], near[:, 1]]], axis=1), links])
    return Neighbours(distance[:, :k], found[:, :k], components(len(rows), edges), len(rows) <= EXACT_ROWS)


def _single(features: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Rows in float32, their origin, and the unit that they are in.

    Whatever the origin and the scale of the features, squares neither vanish nor overflow. Columns begin at their
    middle value, which a few far rows do not move.
    """
    middle = np.median(features[:: max(1, len(features) // 1000)].astype(np.float64), axis=0)
    rows = np.empty(features.shape, np.float32)
    step = max(1, (1 << 22) // features.shape[1])
    blocks = [slice(begin, begin + step) for begin in range(0, len(rows), step)]
    unit = max(float(np.abs(features[block] - middle).max()) for block in blocks) or 1.0
    for block in blocks:
        rows[block] = (features[block] - middle) / unit
    return rows, middle, unit


@dataclass(frozen=True)
class _Data:
    """Rows as given, and ``single``: (features - middle) / unit in float32."""

    features: np.ndarray
    middle: np.ndarray
    unit: float
    single: np.ndarray

    def double(self, rows: slice | np.ndarray) -> torch.Tensor:
        return torch.from_numpy((self.features[rows] - self.middle) / self.unit)

    def gaps(self, rows: np.ndarray) -> torch.Tensor:
        """(rows, n) squared distances in float64, infinite to the row itself."""
        own = self.double(rows)
        found = torch.empty((len(rows), len(self.single)), dtype=torch.float64)
        step = max(1, (1 << 22) // self.features.shape[1])
        for begin in range(0, len(self.single), step):
            part = self.double(slice(begin, begin + step))
            torch.addmm((part * part).sum(1), own, part.T, alpha=-2, out=found[:, begin : begin + step])
        found += (own * own).sum(1)[:, None]
        found[torch.arange(len(rows)), torch.from_numpy(rows)] = torch.inf
        return found


def _every_pair(of: _Data, k: int, most: int, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Candidates of each row, and links of rows that have more others within the radius than candidates."""
    data = torch.from_numpy(of.single)
    square = (data * data).sum(1)
    found = np.empty((len(data), most), np.int64)
    group = np.arange(len(data))
    step = max(1, BLOCK // len(data))
    for begin in range(0, len(data), step):
        block = data[begin : begin + step]
        own = square[begin : begin + step]
        gap = torch.addmm(square, block, data.T, alpha=-2)  # squared distance less the row's own square
        gap[torch.arange(len(block)), torch.arange(begin, begin + len(block))] = torch.inf
        values, index = torch.topk(gap, most, dim=1, largest=False)
        found[begin : begin + len(block)] = index.numpy()
        error = ROUNDING * (own + square[index].amax(1))
        doubtful = (radius**2 < 100 * error) & (values[:, -1] <= radius**2 - own + error)
        if most < len(data) - 1:
            doubtful |= values[:, -1] - values[:, k - 1] <= 2 * error
        limit = radius**2 - own
        _link(group, gap, limit, np.flatnonzero(~doubtful & (values[:, -1] <= limit)), begin)
        again = np.flatnonzero(doubtful)
        for part in (again[i : i + step // 4 + 1] for i in range(0, len(again), step // 4 + 1)):
            exact = of.gaps(begin + part)
            values, index = torch.topk(exact, most, dim=1, largest=False)
            found[begin + part] = index.numpy()
            limit = torch.full((len(part),), radius**2, dtype=torch.float64)
            _link(group, exact, limit, np.flatnonzero(values[:, -1] <= limit), begin + part)
    return found, np.stack([np.arange(len(data)), group], axis=1)


def _link(
    group: np.ndarray, gap: torch.Tensor, limit: torch.Tensor, rows: np.ndarray, places: int | np.ndarray
) -> None:
    """Give one group to each of these rows of ``gap`` and all others within the limit; ``places`` are theirs in all."""
    for i in rows.tolist():
        others = (gap[i] <= limit[i]).nonzero().ravel().numpy()
        own = places + i if isinstance(places, int) else places[i]
        joined = np.unique(np.append(group[others], group[own]))
        if joined.size > 1:
            group[np.isin(group, joined)] = joined[0]


def _indexed(rows: np.ndarray, k: int) -> np.ndarray:
    """Neighbours from an inverted file, each row itself left out."""
    faiss = require("faiss", "neighbours", f"neighbours among more than {EXACT_ROWS:,} samples")
    cells = int(4 * len(rows) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatL2(rows.shape[1]), rows.shape[1], cells)
    index.cp.seed = 0
    index.train(rows[:: max(1, len(rows) // (64 * cells))])
    index.add(rows)
    index.nprobe = min(32, cells)
    found = index.search(rows, k + 1)[1]
    own = np.arange(len(rows))
    # A row comes first but for copies of it, and cells with too few rows leave -1.
    place = np.where((found == own[:, None]).any(1), (found == own[:, None]).argmax(1), k)
    kept = np.delete(found, 0, axis=1)
    for column in range(k):
        kept[:, column] = np.where(column < place, found[:, column], found[:, column + 1])
    first = np.where(kept[:, 0] >= 0, kept[:, 0], (own + 1) % len(rows))
    return np.where(kept >= 0, kept, first[:, None])


def _distances(features: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(n, k) float64, from differences."""
    distance = np.empty(index.shape)
    step = max(1, (1 << 22) // (features.shape[1] * index.shape[1]))
    for begin in range(0, len(index), step):
        rows = features[begin : begin + step].astype(np.float64)
        others = features[index[begin : begin + step]]
        distance[begin : begin + step] = np.sqrt(((others - rows[:, None]) ** 2).sum(2))
    return distance


def components(n: int, edges: np.ndarray) -> np.ndarray:
    """Connected components of n nodes: each node's number is the smallest node that it is connected to.

    >>> components(5, np.array([[3, 1], [1, 4]])).tolist()
    [0, 1, 2, 1, 1]
    """
    label = np.arange(n)
    a, b = edges[:, 0], edges[:, 1]
    while True:
        low = np.minimum(label[a], label[b])
        before = label.copy()
        # A root takes the smallest label that any of its members is linked to; then paths are shortened.
        np.minimum.at(label, label[a], low)
        np.minimum.at(label, label[b], low)
        while not np.array_equal(label, label[label]):
            label = label[label]
        if np.array_equal(label, before):
            return label
