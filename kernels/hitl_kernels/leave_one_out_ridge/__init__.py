"""Leave-one-out predictions of ridge regression in closed form: no fit is repeated."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..lloyd.rows import Sliceable
from .fits import Centred, Dual, Fit, Primal, Targets, left_out

__all__ = ["LeaveOneOut", "leave_one_out_labels", "leave_one_out_ridge"]

GRAM_ROUNDING = 1e-14  # of the trace before it was centred

Array = TypeVar("Array", NDArray[Any], torch.Tensor)


@dataclass(frozen=True)
class LeaveOneOut(Generic[Array]):
    """What the ridge fitted to all other samples says of each.

    Attributes:
        scores: (n, K) float64.
        leverage: (n,) float64 within 1/n and 1: how much each sample's fitted value follows its own target.
    """

    scores: Array
    leverage: Array


def leave_one_out_ridge(
    targets: Any,
    penalty: float,
    *,
    features: Sliceable | torch.Tensor | None = None,
    gram: NDArray[np.floating] | torch.Tensor | None = None,
    n_classes: int | None = None,
) -> LeaveOneOut[Any]:
    """Leave-one-out predictions of kernel or primal ridge with an intercept, and the leverages.

    With centred features X, K = X X', rho = penalty * tr K, targets R with column means m::

        H = K (K + rho I)^-1             fitted = H (R - m) + m
        h = diag(H) + 1/n                scores = R - (R - fitted) / max(1 - h, 1e-9)

    Row i is exactly what the fit to all other samples predicts, with the same rho and an intercept of its own, so it
    depends on the targets of the others only.

    (width, width) algebra for features no wider than there are samples, in two passes over blocks of rows, else the
    (n, n) Gram matrix. Everything is float64; 1 - h has an absolute error of some 1e-16 / penalty.

    This operation has no Numba and no Triton implementation: it is a composition of matrix products, a Cholesky
    factorisation and triangular solves, for which a kernel of ours would call or repeat BLAS and LAPACK. The same
    code runs through ``torch.linalg`` where the tensors are.

    Args:
        targets: (n, K) floats; or (n,) integers 0 .. K - 1, which stand for their one-hot rows: these are made for a
            block of rows at a time, so that memory beside the scores is that of the features' algebra.
        penalty: above 0, as a share of the trace of the centred K.
        features: (n, d) floats: an array, a memory map or a tensor. Give these or ``gram``.
        gram: (n, n) symmetric floats; it is centred, and copied.
        n_classes: K of integer targets; default: the largest + 1.

    Returns:
        Tensors on their device if features or gram are a tensor, else arrays. Features that do not vary leave the
        mean of the other targets.

    Raises:
        TypeError: targets, features or gram of another kind.
        ValueError: shapes that do not fit, fewer than 2 samples, a value that is not finite (its position is named),
            a label outside 0 .. K - 1, a penalty that is not above 0, both or none of features and gram.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, 2009, eq. 7.64.

    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]])
    >>> leave_one_out_ridge(np.array([0, 0, 1, 1]), 1e-3, features=x).scores.round(1).tolist()
    [[1.1, -0.1], [0.9, 0.1], [0.1, 0.9], [-0.1, 1.1]]
    """
    wanted, fit, as_tensor = _fitted(targets, penalty, features, gram, n_classes)
    scores = wanted.mean.new_empty((len(wanted.values), wanted.columns))
    for place, rows in left_out(fit, wanted):
        scores[place] = rows
    if as_tensor:
        return LeaveOneOut(scores, fit.leverage)
    return LeaveOneOut(scores.numpy(), fit.leverage.numpy())


def leave_one_out_labels(
    labels: Any,
    penalty: float,
    *,
    features: Sliceable | torch.Tensor | None = None,
    gram: NDArray[np.floating] | torch.Tensor | None = None,
    n_classes: int | None = None,
) -> Any:
    """The class that ridge regression on one-hot targets predicts for each sample from all others.

    ``argmax`` over the columns of ``leave_one_out_ridge(...).scores``, the first of equal ones, without holding more
    than a block of rows of them.

    Args:
        labels: (n,) integers 0 .. K - 1.
        penalty, features, gram, n_classes: as for :func:`leave_one_out_ridge`.

    Returns:
        (n,) int64; a tensor if features or gram are one, else an array.

    Raises:
        TypeError, ValueError: as for :func:`leave_one_out_ridge`; labels that are not integers.

    >>> x = np.array([[0.0], [1.0], [8.0], [9.0]])
    >>> leave_one_out_labels(np.array([0, 0, 1, 1]), 1e-3, features=x).tolist()
    [0, 0, 1, 1]
    """
    wanted, fit, as_tensor = _fitted(labels, penalty, features, gram, n_classes)
    if wanted.values.ndim != 1:
        raise TypeError(f"labels must be (n,) integers, not {tuple(wanted.values.shape)} floats")
    found = torch.empty_like(wanted.values)
    for place, rows in left_out(fit, wanted):
        found[place] = rows.argmax(1)
    return found if as_tensor else found.numpy()


def _fitted(
    targets: Any, penalty: float, features: Any, gram: Any, n_classes: int | None
) -> tuple[Targets, Fit, bool]:
    """The checked targets, their fit, and whether results are tensors."""
    if (features is None) == (gram is None):
        raise ValueError("give either features or gram")
    if not (isinstance(penalty, (int, float)) and 0 < penalty < math.inf):
        raise ValueError(f"penalty must be a finite number above 0, not {penalty!r}")
    name, given = ("features", features) if gram is None else ("gram", gram)
    n = _check_matrix(given, name)
    if gram is not None and given.shape[1] != n:
        raise ValueError(f"gram must have shape (n, n), not {tuple(given.shape)}")
    is_tensor = isinstance(given, torch.Tensor)
    device = given.device if is_tensor else torch.device("cpu")
    wanted = _targets(targets, n, n_classes, device)
    if gram is not None:
        return wanted, Dual(*_centred_gram(gram), wanted, penalty), is_tensor
    rows = Centred(given.detach() if is_tensor else given, device)
    if rows.shape[1] <= n:
        return wanted, Primal(rows, wanted, penalty), is_tensor
    return wanted, Dual(rows.gram(), rows.rounding, wanted, penalty), is_tensor


def _check_matrix(given: Any, name: str) -> int:
    if not (hasattr(given, "shape") and hasattr(given, "dtype")):
        raise TypeError(f"{name} must be an array or a tensor, not {type(given).__name__}")
    floating = given.dtype.is_floating_point if isinstance(given, torch.Tensor) else given.dtype.kind == "f"
    if not floating:
        raise TypeError(f"{name} must hold floats, not {given.dtype}")
    if len(given.shape) != 2 or given.shape[0] < 2 or given.shape[1] < 1:
        raise ValueError(f"{name} must have 2 rows or more and a column, not shape {tuple(given.shape)}")
    return int(given.shape[0])


def _targets(targets: Any, n: int, n_classes: int | None, device: torch.device) -> Targets:
    values = targets if isinstance(targets, torch.Tensor) else torch.from_numpy(np.array(targets))
    values = values.detach().to(device)
    if values.dtype.is_floating_point:
        if values.ndim != 2 or len(values) != n or values.shape[1] < 1:
            raise ValueError(f"targets must have shape ({n}, K) of floats, not {tuple(values.shape)}")
        if n_classes is not None:
            raise ValueError("n_classes belongs to integer targets")
        wrong = (~torch.isfinite(values)).nonzero()
        if len(wrong):
            row, column = (int(i) for i in wrong[0])
            raise ValueError(
                f"targets must be finite, but targets[{row}, {column}] is {float(values[row, column])}"
            )
        return Targets(values.double())
    if values.dtype.is_complex or values.dtype == torch.bool:
        raise TypeError(f"targets must hold floats or integers, not {values.dtype}")
    if values.shape != (n,):
        raise ValueError(
            f"integer targets must have shape ({n},), one label a sample, not {tuple(values.shape)}"
        )
    values = values.long()
    classes = int(values.max()) + 1 if n_classes is None else operator.index(n_classes)
    wrong = ((values < 0) | (values >= classes)).nonzero()
    if len(wrong):
        row = int(wrong[0, 0])
        raise ValueError(
            f"labels must be from 0 to {classes - 1}, but that of sample {row} is {int(values[row])}"
        )
    return Targets(values, classes)


def _centred_gram(gram: Any) -> tuple[torch.Tensor, float]:
    """A centred copy, and what rounding leaves on its diagonal of a constant."""
    K = (
        gram.detach().double().clone()
        if isinstance(gram, torch.Tensor)
        else torch.from_numpy(np.array(gram, float))
    )
    wrong = (~torch.isfinite(K)).nonzero()
    if len(wrong):
        row, column = (int(i) for i in wrong[0])
        raise ValueError(f"gram must be finite, but gram[{row}, {column}] is {float(K[row, column])}")
    rounding = GRAM_ROUNDING * float(K.trace())
    K -= K.mean(0)
    return K.sub_(K.mean(1, keepdim=True)), rounding
