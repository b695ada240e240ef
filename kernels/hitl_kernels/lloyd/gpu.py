"""Lloyd's k-means on a GPU: a Triton kernel for the nearest centroids, one for the sums of the clusters.

No sum uses atomics: rows are sorted by label, each part of a cluster is summed by one program in fixed order.
"""

from __future__ import annotations

import numpy as np
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from .rows import Float32, Run, check_spread

ROWS, COLUMNS = 32, 64  # of x that a program of the sums takes at a time
PROGRAMS = 1024  # about so many for the sums of all clusters
CHUNK = 1 << 26  # elements of what torch computes at a time: 512 MiB in float64
OPTIONS = {"enable_fp_fusion": True}  # labels are of float32 distances either way; sums have nothing to fuse


@triton.jit
def _assign(  # type: ignore[no-untyped-def]
    x,
    mean,
    centroids,
    norms,
    labels,
    samples,
    clusters,
    width,
    ROWS: tl.constexpr,
    CLUSTERS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """labels[i] = argmin over k of norms[k] - 2 (x[i] - mean).centroids[k], the first k of several."""
    i = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    row = x + i[:, None] * width
    lowest = tl.full((ROWS,), float("inf"), tl.float32)
    label = tl.zeros((ROWS,), tl.int32)
    for first in range(0, clusters, CLUSTERS):
        k = first + tl.arange(0, CLUSTERS)
        centroid = centroids + k[None, :].to(tl.int64) * width
        products = tl.zeros((ROWS, CLUSTERS), tl.float32)
        for column in range(0, width, COLUMNS):
            d = column + tl.arange(0, COLUMNS)
            inside = d < width
            values = tl.load(row + d[None, :], mask=(i < samples)[:, None] & inside[None, :], other=0.0)
            values -= tl.load(mean + d, mask=inside, other=0.0)[None, :]
            others = tl.load(centroid + d[:, None], mask=inside[:, None] & (k < clusters)[None, :], other=0.0)
            products = tl.dot(values, others, products, input_precision="tf32x3")
        scores = tl.load(norms + k, mask=k < clusters, other=float("inf"))[None, :] - 2 * products
        score, where = tl.min(scores, axis=1, return_indices=True, return_indices_tie_break_left=True)
        closer = score < lowest
        lowest = tl.where(closer, score, lowest)
        label = tl.where(closer, first + where, label)
    tl.store(labels + i, label, mask=i < samples)


@triton.jit
def _sums(  # type: ignore[no-untyped-def]
    x, order, start, out, parts, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """out[cluster, part] = float64 sum of x[order[j]] over that part of start[cluster] .. start[cluster + 1]."""
    cluster, part = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    d = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    first = tl.load(start + cluster)
    rows = tl.load(start + cluster + 1) - first
    last = first + rows * (part + 1) // parts
    first += rows * part // parts
    total = tl.zeros((ROWS, COLUMNS), tl.float64)
    for block in range(first, last, ROWS):
        j = block + tl.arange(0, ROWS)
        i = tl.load(order + j, mask=j < last, other=0)
        mask = (j < last)[:, None] & (d < width)[None, :]
        total += tl.load(x + i[:, None] * width + d[None, :], mask=mask, other=0.0).to(tl.float64)
    tl.store(out + (cluster * parts + part) * width + d, tl.sum(total, axis=0), mask=d < width)


# Rows, clusters and columns a step of the E-step takes, and warps, by whether there are few clusters. Larger ones
# spill on sm_80, because tf32x3 keeps both halves of what it multiplies.
FEW, MANY = (128, 16, 32, 8), (128, 64, 16, 8)

KERNELS = {
    f"assign_{clusters}": (
        _assign,
        {
            "x": "*fp32", "mean": "*fp32", "centroids": "*fp32", "norms": "*fp32", "labels": "*i32",
            "samples": "i64", "clusters": "i32", "width": "i32",
            "ROWS": "constexpr", "CLUSTERS": "constexpr", "COLUMNS": "constexpr",
        },
        {"ROWS": rows, "CLUSTERS": clusters, "COLUMNS": columns},
        OPTIONS | {"num_warps": warps},
    )
    for rows, clusters, columns, warps in (FEW, MANY)
} | {
    "sums": (
        _sums,
        {
            "x": "*fp32", "order": "*i64", "start": "*i64", "out": "*fp64", "parts": "i64", "width": "i32",
            "ROWS": "constexpr", "COLUMNS": "constexpr",
        },
        {"ROWS": ROWS, "COLUMNS": COLUMNS},
        OPTIONS,
    )
}  # fmt: skip


class Rows:
    """The (N, D) rows of a tensor in float32, where it is, and the origin of their distances.

    Raises:
        ValueError: a value is NaN or infinite, or the rows spread too far for float32 distances.
    """

    def __init__(self, source: torch.Tensor) -> None:
        self.x = source.detach().float().contiguous()
        self.samples, self.width = self.x.shape
        self.origin = self.x.mean(0, dtype=torch.float64).float()
        if not self.origin.isfinite().all():
            raise ValueError(f"x must be finite in float32, but {self._first_wrong()}")
        self.mean: Float32 = self.origin.cpu().numpy()
        squares = (
            torch.stack([((x - self.origin).double() ** 2).sum() for _, x in self.chunks()]).sum().item()
        )
        check_spread(squares)
        self.variance = squares / self.samples / self.width

    def chunks(self) -> list[tuple[int, torch.Tensor]]:
        size = max(CHUNK // self.width, 1)
        return [(start, self.x[start : start + size]) for start in range(0, self.samples, size)]

    def take(self, indices: NDArray[np.integer]) -> Float32:
        return np.asarray(self.x[torch.from_numpy(indices).to(self.x.device)].cpu())

    def _first_wrong(self) -> str:
        wrong = ((start, (~x.isfinite()).nonzero()[:1].tolist()) for start, x in self.chunks())
        row, column = next((start + first[0][0], first[0][1]) for start, first in wrong if first)
        return f"x[{row}, {column}] is {self.x[row, column].item()}"


def lloyd(rows: Rows, centroids: Float32, max_iter: int, tol: float, settled: float = 0.0) -> Run:
    """From centroids about the mean of the rows."""
    tolerance = tol * rows.variance
    now = torch.from_numpy(centroids).to(rows.x.device)
    labels = torch.full((rows.samples,), -1, dtype=torch.int32, device=rows.x.device)
    iterations = 0
    while iterations < max_iter:
        iterations += 1
        nearest = _nearest(rows, now)
        moved = _means(rows, nearest, now)
        # One transfer an iteration decides whether to go on.
        changed, shift = torch.stack(
            [(nearest != labels).sum().double(), ((moved - now).double() ** 2).sum()]
        ).tolist()
        labels, now = nearest, moved
        if changed == 0:
            break
        if shift <= tolerance or changed <= settled * rows.samples:
            labels = _nearest(rows, now)
            break
    else:
        labels = _nearest(rows, now)
    inertia = sum(
        (x - rows.origin - now[labels[start : start + len(x)]]).double().square().sum()
        for start, x in rows.chunks()
    )
    return Run(now.cpu().numpy(), labels, iterations, float(inertia))


def _nearest(rows: Rows, centroids: torch.Tensor) -> torch.Tensor:
    labels = torch.empty(rows.samples, dtype=torch.int32, device=rows.x.device)
    block, clusters, columns, warps = FEW if len(centroids) <= FEW[1] else MANY
    _assign[(triton.cdiv(rows.samples, block),)](
        rows.x, rows.origin, centroids, centroids.square().sum(1), labels,
        rows.samples, len(centroids), rows.width,
        ROWS=block, CLUSTERS=clusters, COLUMNS=columns, num_warps=warps, **OPTIONS,
    )  # fmt: skip
    return labels


def _means(rows: Rows, labels: torch.Tensor, previous: torch.Tensor) -> torch.Tensor:
    """The M-step; scikit-learn's rule for clusters without rows, as in reference.py."""
    clusters = len(previous)
    by_label, order = torch.sort(labels, stable=True)
    start = torch.searchsorted(by_label, torch.arange(clusters + 1, dtype=torch.int32, device=labels.device))
    bands = triton.cdiv(rows.width, COLUMNS)
    parts = triton.cdiv(PROGRAMS, clusters * bands)
    of_parts = torch.empty((clusters, parts, rows.width), dtype=torch.float64, device=labels.device)
    _sums[(clusters, parts, bands)](
        rows.x, order, start, of_parts, parts, rows.width, ROWS=ROWS, COLUMNS=COLUMNS, **OPTIONS
    )
    sums, sizes = of_parts.sum(1), start.diff()
    if not sizes.all():
        _relocate(rows, labels, previous, sums, sizes)
    sums -= sizes[:, None] * rows.origin.double()
    means = sums / sizes.clamp(min=1)[:, None]
    if not sizes.all():
        largest = int(sizes.argmax())
        empty = sizes == 0
        means[:largest][empty[:largest]] = sums[largest]
        means[largest:][empty[largest:]] = means[largest].clone()
    return means.float()


def _relocate(
    rows: Rows, labels: torch.Tensor, previous: torch.Tensor, sums: torch.Tensor, sizes: torch.Tensor
) -> None:
    """Gives each empty cluster the row farthest from its own centroid, in place, unless there is none."""
    empty = (sizes == 0).nonzero().flatten().tolist()
    distances = torch.cat(
        [
            (x - rows.origin - previous[labels[start : start + len(x)]]).square().sum(1)
            for start, x in rows.chunks()
        ]
    )
    if distances.max() == 0:
        return
    for cluster, row in zip(empty, distances.topk(len(empty)).indices.tolist(), strict=True):
        old = int(labels[row])
        sums[old] -= rows.x[row]
        sizes[old] -= 1
        sums[cluster] = rows.x[row].double()
        sizes[cluster] = 1


def distances(rows: Rows, candidates: Float32, closest: Float32) -> Float32:
    """[starts, candidates, rows] squared distance to the start's closest centroid, were the candidate added."""
    device = rows.x.device
    others = torch.from_numpy(candidates).to(device).double()
    out = torch.from_numpy(closest).to(device)[:, None].repeat(1, candidates.shape[1], 1)
    for start, x in rows.chunks():
        centred = (x - rows.origin).double()
        for of_start, parts in zip(others, out[:, :, start : start + len(x)], strict=True):
            for other, part in zip(of_start, parts, strict=True):
                torch.minimum(part, (centred - other).square().sum(1).float(), out=part)
    return np.asarray(out.cpu())
