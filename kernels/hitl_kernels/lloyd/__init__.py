"""k-means: Lloyd's iteration from given centroids, the k-means++ start, and the best of several such runs."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from .._dispatch import implementation
from . import plusplus
from .rows import Rows, Run, Sliceable

__all__ = ["KMeansResult", "kmeans", "kmeans_plusplus", "lloyd"]

Array = TypeVar("Array", NDArray[Any], torch.Tensor)
Source = Sliceable | torch.Tensor


@dataclass(frozen=True)
class KMeansResult(Generic[Array]):
    """A clustering.

    Attributes:
        labels: (N,) the cluster of each row: int32 for arrays, int64 for tensors.
        centroids: (K, D) float32.
        iterations: how often rows were assigned and centroids moved.
        inertia: sum over rows of the squared distance to their centroid.
    """

    labels: Array
    centroids: Array
    iterations: int
    inertia: float


def lloyd(
    x: Source,
    centroids: NDArray[np.floating] | torch.Tensor,
    max_iter: int = 300,
    tol: float = 1e-4,
    settled: float = 0.0,
) -> KMeansResult[Any]:
    """k-means from given centroids, as scikit-learn's ``KMeans(init=centroids, n_init=1)`` runs it.

    Until no label changes, or the centroids move less than the tolerance, or max_iter::

        labels[i] = argmin over k of |x[i] - centroids[k]|^2
        centroids[k] = mean of x[i] over labels[i] == k

    After a stop by tolerance or max_iter the rows are assigned once more, so that labels and centroids belong
    together. A cluster without rows gets the row farthest from its own centroid. Distances are float32 about
    the mean of x, sums over rows float64: the same bits for any number of threads, in memory or in a file.

    Args:
        x: (N, D) floats; computed in float32. A ``numpy.memmap``, or anything else with a shape and a dtype
            whose rows can be sliced, is read in chunks and never held whole. A tensor is clustered where it is.
        centroids: (K, D) floats, 1 <= K <= N.
        max_iter: at least 1.
        tol: stop when the squared movement of all centroids together is at most ``tol`` times the mean over
            columns of the variance of x; 0 waits for labels that do not change.
        settled: stop also after an iteration in which at most this share of the labels changed. 0.001 saves the
            many last iterations that move few rows; scikit-learn has no such rule.

    Returns:
        Tensors if x is a tensor, else arrays.

    Raises:
        TypeError: x or centroids do not hold floats.
        ValueError: shapes that do not fit, K > N, a value that is not finite (its position is named),
            max_iter < 1, tol < 0, settled not in [0, 1).

    Source: Lloyd, Least squares quantization in PCM, 1982; scikit-learn 1.9, ``KMeans(algorithm="lloyd")``.

    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], dtype=np.float32)
    >>> result = lloyd(x, x[:2])
    >>> result.labels.tolist(), result.centroids.tolist(), result.iterations, result.inertia
    ([0, 0, 1, 1], [[0.5], [8.5]], 3, 1.0)
    """
    max_iter, tol = _limits(max_iter, tol, settled)
    _check_rows(x)
    starts = _starts(centroids, x)
    backend, rows = _placed(x)
    return _result(backend.lloyd(rows, starts - rows.mean, max_iter, tol, settled), rows, x)


def kmeans_plusplus(x: Source, n_clusters: int, random_state: int | np.random.RandomState) -> Any:
    """Rows of x to start k-means from: the greedy k-means++ of scikit-learn, drawing the same rows.

    The first is any row; each other is the best of ``2 + floor(log K)`` rows drawn with probability
    proportional to the squared distance to the closest one before: the one that lowers their sum most.

    Args:
        x: (N, D) floats, as for :func:`lloyd`.
        n_clusters: K, 1 <= K <= N.
        random_state: a seed, or a state, which is advanced. No global state is read.

    Returns:
        (K, D) float32 centroids; a tensor if x is one, else an array.

    Raises:
        TypeError: x does not hold floats.
        ValueError: K < 1 or K > N, a value that is not finite.

    Source: Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, 2007; scikit-learn 1.9.

    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], dtype=np.float32)
    >>> kmeans_plusplus(x, 2, random_state=0).tolist()
    [[8.0], [1.0]]
    """
    _check_rows(x)
    n_clusters = _clusters(n_clusters, x)
    backend, rows = _placed(x)
    (centroids,) = plusplus.kmeans_plusplus(backend, rows, n_clusters, 1, _state(random_state))
    return _like(centroids + rows.mean, x)


def kmeans(
    x: Source,
    n_clusters: int,
    n_init: int = 1,
    random_state: int | np.random.RandomState = 0,
    max_iter: int = 300,
    tol: float = 1e-4,
    settled: float = 0.0,
) -> KMeansResult[Any]:
    """k-means from k-means++ starts: of n_init runs the one with the least inertia.

    The runs and the choice are those of scikit-learn's ``KMeans(n_clusters, n_init=..., random_state=...)``.

    Args:
        x: (N, D) floats, as for :func:`lloyd`.
        n_clusters: K, 1 <= K <= N.
        n_init: runs, at least 1.
        random_state: a seed, or a state, which is advanced. No global state is read.
        max_iter: as for :func:`lloyd`.
        tol: as for :func:`lloyd`.
        settled: as for :func:`lloyd`.

    Raises:
        TypeError: x does not hold floats.
        ValueError: as for :func:`lloyd` and :func:`kmeans_plusplus`; n_init < 1.

    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]], dtype=np.float32)
    >>> kmeans(x, 2, n_init=3).inertia
    1.0
    """
    max_iter, tol = _limits(max_iter, tol, settled)
    _check_rows(x)
    n_clusters = _clusters(n_clusters, x)
    if operator.index(n_init) < 1:
        raise ValueError(f"n_init must be at least 1, not {n_init}")
    backend, rows = _placed(x)
    run = plusplus.kmeans(backend, rows, n_clusters, n_init, _state(random_state), max_iter, tol, settled)
    return _result(run, rows, x)


def _limits(max_iter: int, tol: float, settled: float) -> tuple[int, float]:
    if operator.index(max_iter) < 1:
        raise ValueError(f"max_iter must be at least 1, not {max_iter}")
    if not tol >= 0:
        raise ValueError(f"tol must be at least 0, not {tol}")
    if not 0 <= settled < 1:
        raise ValueError(f"settled must be a share of the labels, at least 0 and below 1, not {settled}")
    return max_iter, float(tol)


def _check_rows(x: Source) -> None:
    _check_floats(x, "x")
    if len(x.shape) != 2 or 0 in x.shape:
        raise ValueError(f"x must have shape (N, D) with N, D >= 1, not {tuple(x.shape)}")


def _check_floats(values: Any, name: str) -> None:
    if isinstance(values, torch.Tensor):
        wrong = not values.dtype.is_floating_point
    elif hasattr(values, "dtype") and hasattr(values, "shape"):
        wrong = np.dtype(values.dtype).kind != "f"
    else:
        raise TypeError(f"{name} must be an array or a tensor, not {type(values).__name__}")
    if wrong:
        raise TypeError(f"{name} must hold floats, not {values.dtype}")


def _clusters(n_clusters: int, x: Source) -> int:
    if not 1 <= operator.index(n_clusters) <= x.shape[0]:
        raise ValueError(f"n_clusters must be from 1 to the number of rows, {x.shape[0]}, not {n_clusters}")
    return n_clusters


def _starts(centroids: NDArray[np.floating] | torch.Tensor, x: Source) -> NDArray[np.float32]:
    _check_floats(centroids, "centroids")
    samples, width = x.shape
    if centroids.ndim != 2 or centroids.shape[1] != width:
        raise ValueError(
            f"centroids must have shape (K, {width}) like the rows of x, not {tuple(centroids.shape)}"
        )
    if not 1 <= len(centroids) <= samples:
        raise ValueError(f"centroids must be from 1 to the number of rows, {samples}, not {len(centroids)}")
    starts = np.array(_array(centroids), np.float32, order="C")
    if not np.isfinite(starts).all():
        k, d = np.argwhere(~np.isfinite(starts))[0]
        raise ValueError(f"centroids must be finite in float32, but centroids[{k}, {d}] is {starts[k, d]}")
    return starts


def _state(random_state: int | np.random.RandomState) -> np.random.RandomState:
    if isinstance(random_state, np.random.RandomState):
        return random_state
    # The old generator on purpose: scikit-learn's draws are its draws.
    return np.random.RandomState(operator.index(random_state))


def _placed(x: Source) -> tuple[plusplus.Backend, plusplus.Data]:
    backend: Any = implementation(__name__, x)
    if not isinstance(x, torch.Tensor):
        return backend, Rows(x, stream=isinstance(x, np.memmap) or not isinstance(x, np.ndarray))
    return backend, backend.Rows(x) if x.is_cuda else Rows(_array(x), stream=False)


def _array(values: NDArray[np.floating] | torch.Tensor) -> NDArray[np.floating]:
    if not isinstance(values, torch.Tensor):
        return values
    values = values.detach().cpu()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


def _result(run: Run, rows: plusplus.Data, x: Source) -> KMeansResult[Any]:
    labels, centroids = _like(run.labels, x), _like(run.centroids + rows.mean, x)
    if isinstance(labels, torch.Tensor):
        labels = labels.long()  # what torch indexes with
    return KMeansResult(labels, centroids, run.iterations, run.inertia)


def _like(values: Any, x: Source) -> Any:
    return torch.as_tensor(values, device=x.device) if isinstance(x, torch.Tensor) else values
