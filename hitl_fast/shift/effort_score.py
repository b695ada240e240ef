"""The effort score: what closed-form corrections of the present output leave wrong, and what no layer shows."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from hitl_kernels.leave_one_out_ridge import leave_one_out_labels
from hitl_kernels.leave_one_out_ridge.path import path_errors
from torch import Tensor

from hitl_fast._common.errors import InputError, InputTypeError

from .effort_layers import Side, double, scale_of

PENALTIES = tuple(10.0**power for power in range(1, -8, -1))
PROBE_PENALTY = 1e-5
WEIGHT = 4.0
MARGIN = 0.02

Layers = list[tuple[str, Any]]  # name for messages, (n, width) floats

FEW_SAMPLES = 300
FEW_PER_CLASS = 10
TRAINED_ON = 0.005  # a clean error so small is usual on training samples only
COPIES = 0.01  # share of samples


@dataclass(frozen=True)
class EffortScore:
    """The effort score and its parts; see :func:`effort_score`.

    Attributes:
        effort_score: sqrt(path_excess) + 4 * probe_increase.
        path_excess: A, within 0 and 1.
        probe_increase: B, within 0 and 1.
        target_error: tau, the error that retraining is to reach.
        clean_error: of the clean logits on these samples.
        shifted_error: of the present output on the shifted samples.
        clean_probe_error: p of the clean layers.
        shifted_probe_error: p of the shifted layers.
        samples: n.
        near_copies: samples with a near copy among the others, which tells their label to leave-one-out.
        notes: reasons to doubt the score.
    """

    effort_score: float
    path_excess: float
    probe_increase: float
    target_error: float
    clean_error: float
    shifted_error: float
    clean_probe_error: float
    shifted_probe_error: float
    samples: int
    near_copies: int
    notes: tuple[str, ...]


def effort_score(
    clean_inputs: Sequence[Any],
    shifted_inputs: Sequence[Any],
    clean_logits: Any,
    shifted_logits: Any,
    labels: Any,
    *,
    clean_accuracy: float | None = None,
) -> EffortScore:
    """Predict how much retraining a shift needs, from layer inputs and logits of n paired samples.

    With the pooled input X of every layer, centred and divided by sqrt(|X|^2 / n), K the sum of X X' over layers, and
    LOO(R) the leave-one-out prediction of targets R by kernel ridge on K with penalty q tr K
    (``hitl_kernels.leave_one_out_ridge``)::

        e(q) = share of argmax(F0 + LOO(T - F0)) != y        F0, T: shifted and clean logits; K of the shifted layers
        A = mean over q = 10, 1, ..., 1e-7 of max(0, e(q) - tau)        tau = clean error + 0.02
        p = share of argmax(LOO(Y)) != y at q = 1e-5, at most the guessing error        Y: one-hot labels
        B = max(0, p of the shifted layers - p of the clean layers)
        effort score = sqrt(A) + 4 B

    A is how far corrections of the present output by what the layers show stay from the target. B is class information
    that no layer shows any more. Both are 0 without a shift. Arithmetic is float64; the score does not depend on the
    order of samples or layers, nor on a rotation or scaling of a layer, but for decisions that hang on rounding.

    Cost: memory of n^2 values and n^3 operations, or n D^2 where the total width D of the layers is at most n.

    Args:
        clean_inputs: one (n, width) array or tensor of floats for each layer and call of it: its inputs of the clean
            samples, pooled (mean) over positions or tokens. Layers of width 1 are left out.
        shifted_inputs: the same layers, widths and samples after the shift.
        clean_logits: (n, C), C at least 2.
        shifted_logits: (n, C) of the present model.
        labels: (n,) integers, at least 0. A label of C or more has no logit: the present output is wrong there.
        clean_accuracy: of the model on more samples that it was not trained on, within 0 and 1; replaces the one
            of these samples in tau: 1.02 - clean_accuracy.

    Raises:
        ValueError: shapes that do not fit, fewer than 2 samples, no layer wider than 1, a value that is not finite
            (layer and position are named), a negative label, clean_accuracy out of range.
        TypeError: inputs or logits that are not floats, labels that are not integers.

    Warns:
        UserWarning: there is reason to doubt the score: fewer than 300 samples, few samples a class, near copies
            among the samples, or logits of samples that the model seems to have been trained on. ``notes`` has it too.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(300) % 3
    >>> clean = np.eye(3)[labels] @ rng.standard_normal((3, 8)) + rng.standard_normal((300, 8))
    >>> logits = clean @ np.linalg.lstsq(clean, np.eye(3)[labels], rcond=None)[0]
    >>> same = effort_score([clean], [clean], logits, logits, labels)
    >>> noisy = effort_score([clean], [rng.standard_normal((300, 8))], logits, rng.standard_normal((300, 3)), labels)
    >>> same.effort_score, noisy.effort_score > 2
    (0.0, True)
    """
    wanted = checked_labels(labels)
    n = len(wanted)
    base, target = (
        checked_logits(logits, name, n)
        for logits, name in ((shifted_logits, "shifted_logits"), (clean_logits, "clean_logits"))
    )
    if base.shape != target.shape:
        raise InputError(f"clean_logits are of {target.shape[1]} classes, shifted_logits of {base.shape[1]}")
    wanted, target = wanted.to(base.device), target.to(base.device)
    clean_error, shifted_error = wrong_share(target, wanted), wrong_share(base, wanted)
    tau = target_error(clean_error, clean_accuracy)
    clean_layers, shifted_layers = _checked_layers(clean_inputs, shifted_inputs, n)
    excess, shifted_probe, copies = shifted_side(shifted_layers, base, target, wanted, tau)
    clean_probe, clean_copies = clean_side(clean_layers, wanted)
    increase = max(0.0, shifted_probe - clean_probe)
    near = int((copies | clean_copies).sum())
    notes = doubts(wanted, near, clean_error, clean_accuracy)
    if notes:
        warnings.warn("effort score: " + "; ".join(notes), stacklevel=2)
    return EffortScore(
        effort_score=float(np.sqrt(excess) + WEIGHT * increase),
        path_excess=excess,
        probe_increase=increase,
        target_error=tau,
        clean_error=clean_error,
        shifted_error=shifted_error,
        clean_probe_error=clean_probe,
        shifted_probe_error=shifted_probe,
        samples=n,
        near_copies=near,
        notes=notes,
    )


def shifted_side(
    layers: Layers, base: Tensor, target: Tensor, labels: Tensor, tau: float
) -> tuple[float, float, Tensor]:
    """A, the probe error and which samples have near copies."""
    n = len(labels)
    side = Side(layers, n, base.device)
    if side.constant:
        excess = max(0.0, wrong_share(base, labels) - tau)
        return excess, _guessing_error(labels), torch.zeros_like(labels, dtype=torch.bool)
    spectrum = side.spectrum()
    wrong = path_errors(spectrum, base, target - base, labels, PENALTIES)
    excess = float(np.mean([max(0.0, count / n - tau) for count in wrong]))
    classes = _numbered(labels)
    return excess, _probe_error(spectrum.labels(classes, PROBE_PENALTY), classes), side.near_copies()


def clean_side(layers: Layers, labels: Tensor) -> tuple[float, Tensor]:
    """The probe error and which samples have near copies. One penalty: no eigendecomposition."""
    side = Side(layers, len(labels), labels.device)
    if side.constant:
        return _guessing_error(labels), torch.zeros_like(labels, dtype=torch.bool)
    classes = _numbered(labels)
    found = leave_one_out_labels(classes, PROBE_PENALTY, features=side.features, gram=side.gram)
    return _probe_error(found, classes), side.near_copies()


def _numbered(labels: Tensor) -> Tensor:
    """Labels by the number of their class among those that there are.

    One-hot columns of others cost memory, and win nowhere: theirs are 0, and the predictions of all sum to 1.
    """
    classes: Tensor = torch.unique(labels, return_inverse=True)[1]
    return classes


def _probe_error(found: Tensor, labels: Tensor) -> float:
    """At most the guessing error: leaving a sample out makes its own class rarer."""
    return min(float((found != labels).double().mean()), _guessing_error(labels))


def _guessing_error(labels: Tensor) -> float:
    return 1 - int(torch.unique(labels, return_counts=True)[1].max()) / len(labels)


def wrong_share(logits: Tensor, labels: Tensor) -> float:
    return int((logits.argmax(1) != labels).sum()) / len(labels)


def target_error(clean_error: float, clean_accuracy: float | None) -> float:
    """tau, by the clean accuracy that was given or the clean error that was found.

    Raises:
        ValueError: clean_accuracy is not a share within 0 and 1.
    """
    if clean_accuracy is None:
        return clean_error + MARGIN
    if (
        isinstance(clean_accuracy, bool)
        or not isinstance(clean_accuracy, Real)
        or not 0 <= clean_accuracy <= 1
    ):
        raise InputError(f"clean_accuracy must be a share within 0 and 1, not {clean_accuracy!r}")
    return 1 + MARGIN - float(clean_accuracy)


def doubts(
    labels: Tensor, near_copies: int, clean_error: float, clean_accuracy: float | None
) -> tuple[str, ...]:
    n, classes = len(labels), len(torch.unique(labels))
    found = []
    if n < FEW_SAMPLES:
        found.append(f"{n} samples are few: give {FEW_SAMPLES} or more, better 1,000")
    if n < FEW_PER_CLASS * classes:
        found.append(
            f"{n} samples of {classes} classes are {n / classes:.1f} a class: probe_increase means little below "
            f"{FEW_PER_CLASS}"
        )
    found += copies_doubt(near_copies, n, "samples")
    if clean_accuracy is None and clean_error <= TRAINED_ON:
        found.append(
            f"the model errs on {clean_error:.1%} of the clean samples: if it was trained on them, give held-out ones, "
            "or clean_accuracy as measured on held-out ones"
        )
    return tuple(found)


def copies_doubt(near_copies: int, n: int, whose: str) -> list[str]:
    if near_copies <= COPIES * n:
        return []
    return [
        f"{near_copies} of {n} {whose} are near copies of others, which tell their labels to the leave-one-out "
        "predictions: the score is too low; leave copies out"
    ]


def checked_labels(labels: Any) -> Tensor:
    if isinstance(labels, Tensor):
        _check_there(labels, "labels")
        values = labels.detach()
        if values.dtype.is_floating_point or values.dtype.is_complex or values.dtype == torch.bool:
            raise InputTypeError(f"labels must hold integers, not {values.dtype}")
        values = values.long()  # unsigned integers of 16 bits and more have no order in PyTorch
    else:
        array = np.asarray(labels)
        if array.dtype.kind not in "iu":
            raise InputTypeError(f"labels must hold integers, not {array.dtype}")
        values = torch.from_numpy(array.astype(np.int64))
    if values.ndim != 1 or len(values) < 2:
        raise InputError(f"labels must have shape (n,) with n >= 2, not {tuple(values.shape)}")
    negative = (values < 0).nonzero()
    if len(negative):
        row = int(negative[0, 0])
        raise InputError(f"labels must be at least 0, but that of sample {row} is {int(values[row])}")
    return values


def checked_logits(logits: Any, name: str, n: int) -> Tensor:
    _check_floats(logits, name)
    if len(logits.shape) != 2 or logits.shape[0] != n or logits.shape[1] < 2:
        raise InputError(
            f"{name} must have shape ({n}, C), one row a label, C at least 2, not {tuple(logits.shape)}"
        )
    scale_of(_detached(logits), name)
    return double(logits)


def _check_there(values: Tensor, name: str) -> None:
    if values.is_meta:
        raise InputError(f"{name} is on the meta device, so it has no values: compute it on another device")


def _check_floats(values: Any, name: str) -> None:
    if not (hasattr(values, "shape") and hasattr(values, "dtype")):
        raise InputTypeError(f"{name} must be an array or a tensor, not {type(values).__name__}")
    if isinstance(values, Tensor):
        _check_there(values, name)
    floating = values.dtype.is_floating_point if isinstance(values, Tensor) else values.dtype.kind == "f"
    if not floating:
        raise InputTypeError(f"{name} must hold floats, not {values.dtype}")


def _detached(values: Any) -> Any:
    return values.detach() if isinstance(values, Tensor) else values


def _checked_layers(
    clean: Sequence[Any], shifted: Sequence[Any], n: int
) -> tuple[list[tuple[str, Any]], list[tuple[str, Any]]]:
    """The layers wider than 1 of either side, with their names for messages."""
    if len(clean) != len(shifted):
        raise InputError(
            f"there are {len(clean)} clean_inputs but {len(shifted)} shifted_inputs: one pair a layer and call"
        )
    sides = []
    for side, layers in (("clean_inputs", clean), ("shifted_inputs", shifted)):
        named = [(f"{side}[{i}]", _detached(layer)) for i, layer in enumerate(layers)]
        for name, layer in named:
            _check_floats(layer, name)
            if len(layer.shape) != 2 or layer.shape[0] != n:
                raise InputError(
                    f"{name} must have shape ({n}, width), pooled, one row a label, not {tuple(layer.shape)}"
                )
        sides.append(named)
    for (name, ours), (_, theirs) in zip(*sides, strict=True):
        if ours.shape != theirs.shape:
            raise InputError(
                f"{name} is {ours.shape[1]} wide on clean samples, but {theirs.shape[1]} on shifted ones"
            )
    wide = [[(name, layer) for name, layer in side if layer.shape[1] > 1] for side in sides]
    if not wide[0]:
        raise InputError(f"none of the {len(clean)} layers is wider than 1")
    return wide[0], wide[1]
