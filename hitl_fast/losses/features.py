"""Feature importance in training: a penalty on the use of unimportant features, and inputs scaled by importance."""

from __future__ import annotations

import math
from typing import Any

import torch
from hitl_kernels.weighted_cross_entropy import position
from torch import nn
from torch.nn import functional as F

from hitl_fast._common.errors import InputError, InputTypeError

from .arguments import Array, optional, tensor


def feature_importance_penalty(
    log_probs: torch.Tensor,
    inputs: torch.Tensor,
    importance: Array,
    strength: float = 1.0,
    *,
    every: int = 1,
    step: int = 0,
    layer: torch.Tensor | None = None,
    groups: Array | None = None,
    check: bool = False,
) -> torch.Tensor:
    """Penalise the gradient of the output with respect to features that people rated as unimportant.

    With x the inputs (or, given ``layer``, that activation) and A = 1 - importance::

        penalty = strength * every * mean over samples n and features d of
                  (A[n, d] * d (sum_k log_probs[n, k]) / d x[n, d])**2

    Importance 1 leaves a feature alone, 0 penalises its use in full, values between scale the penalty. It is a mean,
    so it does not change with the number of samples, or of features that have the same gradient. Each call
    costs a backward pass that is itself differentiated; two ways to pay less:

    - ``every=k`` with ``step`` computes it on steps 0, k, 2k, ... with k times the strength and is 0 between.
    - ``layer=activation`` stops at a layer of the model, so that nothing below it is differentiated twice, and
      the inputs need no gradient. Importance of images (or any (samples, channels, *size)) is averaged over
      channels and area to the size of the activation; any other must be given in the activation's shape.

    Args:
        log_probs: (samples, classes), made from inputs, e.g. by ``log_softmax``. Layers that mix samples, such
            as batch normalisation in training, mix their gradients too.
        inputs: (samples, ...) that the model was called with, after ``inputs.requires_grad_()``.
        importance: in [0, 1]; the shape of inputs (per sample and feature) or one that broadcasts to it, e.g.
            ``inputs.shape[1:]`` (per feature). With ``groups``: (groups,) or (samples, groups).
        strength: finite, not negative.
        every: how many steps share one penalty.
        step: the number of this step; `FeatureImportancePenalty` counts by itself.
        layer: (samples, ...), an activation that log_probs were made from.
        groups: ``inputs.shape[1:]`` integers, the group (a column of a table, a segment of an image) of each
            feature.
        check: look at the values of importance and groups on CUDA too, which waits for the device. On the CPU
            they are always looked at.

    Returns:
        () of at least float32, to add to the loss.

    Raises:
        TypeError: an argument has a wrong type or dtype.
        ValueError: inputs (or layer) without a gradient, or not what log_probs were made from; importance
            outside [0, 1] or of another shape; a group that importance does not have; strength, every or step
            out of range.

    Source: Ross, Hughes and Doshi-Velez, Right for the Right Reasons, 2017, eq. 1; there a sum and A in {0, 1}.

    >>> inputs = torch.ones(2, 3, requires_grad=True)
    >>> slope = torch.tensor([[1.0, 2.0, 0.0]])
    >>> penalty = feature_importance_penalty((inputs * slope), inputs, torch.tensor([1.0, 0.5, 0.0]))
    >>> round(penalty.item(), 4)  # (0.5 * 2)**2 / 3
    0.3333
    """
    _refuse(strength, every, step)
    for name, value in (("log_probs", log_probs), ("inputs", inputs), ("layer", layer)):
        if not (isinstance(value, torch.Tensor) or (name == "layer" and value is None)):
            raise InputTypeError(f"{name} must be a torch.Tensor, not {type(value).__name__}")
    if step % every:
        return torch.zeros((), dtype=_wide(log_probs.dtype), device=log_probs.device)
    at, name = (inputs, "inputs") if layer is None else (layer, "layer")
    if not at.is_floating_point():
        raise InputTypeError(f"{name} must hold floating-point numbers, not {at.dtype}")
    if not at.requires_grad:
        advice = "call inputs.requires_grad_() before the model" if layer is None else "run the model with it"
        raise InputError(f"{name} must require a gradient: {advice}, and not under torch.no_grad()")
    if not log_probs.requires_grad:
        raise InputError(f"log_probs must be made from {name}, not under torch.no_grad() and not detached")
    share = _spread(importance, groups, inputs, at, name, check)
    (gradient,) = torch.autograd.grad(log_probs.sum(), at, create_graph=True, allow_unused=True)
    if gradient is None:
        raise InputError(f"log_probs do not depend on {name}: pass the very tensor that the model was given")
    dtype = _wide(gradient.dtype)
    use = (1 - share.to(dtype)) * gradient.to(dtype)
    return (strength * every) * use.square().sum() / max(use.numel(), 1)  # 0 for no samples


class FeatureImportancePenalty(nn.Module):
    """`feature_importance_penalty` as a module that counts the steps and can watch a layer.

    Args:
        strength, every, groups, check: as there.
        layer: a module of the model whose output is penalised instead of the inputs; watched by a forward hook
            until `remove`.

    ``due`` is True when the next call computes a penalty: ``inputs.requires_grad_(penalty.due)`` saves the
    gradient of the inputs on all other steps.

    >>> model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2), nn.LogSoftmax(1))
    >>> penalty = FeatureImportancePenalty(strength=0.1, every=2)
    >>> inputs = torch.randn(4, 3)
    >>> for _ in range(3):
    ...     _ = inputs.requires_grad_(penalty.due)
    ...     print(bool(penalty(model(inputs), inputs, torch.tensor([1.0, 1.0, 0.0])) > 0))
    True
    False
    True
    """

    groups: torch.Tensor | None

    def __init__(
        self,
        strength: float = 1.0,
        every: int = 1,
        layer: nn.Module | None = None,
        groups: Array | None = None,
        *,
        check: bool = False,
    ) -> None:
        super().__init__()
        _refuse(strength, every, 0)
        self.strength = strength
        self.every = every
        self.check = check
        self.step = 0
        self.register_buffer("groups", optional(groups, "groups"))
        self._seen: torch.Tensor | None = None
        self._hook = None if layer is None else layer.register_forward_hook(self._keep)

    @property
    def due(self) -> bool:
        """Whether the next call computes a penalty."""
        return self.step % self.every == 0

    def forward(self, log_probs: torch.Tensor, inputs: torch.Tensor, importance: Array) -> torch.Tensor:
        seen, self._seen = self._seen, None
        if self._hook is not None and seen is None and self.due:
            raise InputError("the layer was not called since the last penalty: run the model first")
        penalty = feature_importance_penalty(
            log_probs,
            inputs,
            importance,
            self.strength,
            every=self.every,
            step=self.step,
            layer=seen,
            groups=self.groups,
            check=self.check,
        )
        self.step += 1
        return penalty

    def remove(self) -> None:
        """Stop watching the layer; from then on the inputs are penalised."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = self._seen = None

    def get_extra_state(self) -> dict[str, int]:
        return {"step": self.step}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    def extra_repr(self) -> str:
        return f"strength={self.strength}, every={self.every}"

    def _keep(self, module: nn.Module, arguments: Any, output: Any) -> None:
        if not torch.is_grad_enabled() or not self.due:
            return
        if not isinstance(output, torch.Tensor):
            raise InputError(f"the layer to penalise must give a tensor, not {type(output).__name__}")
        self._seen = output


class FeatureWeighting(nn.Module):
    """Scale inputs by importance, with a floor so that no feature is cut off.

    ::

        output = inputs * max(importance, floor)

    Args:
        importance: in [0, 1], broadcasting to the inputs: per feature, per sample and feature, or with
            ``groups`` per group. None to give it in every call.
        floor: in [0, 1]; 0 lets importance 0 remove a feature.
        groups: the group of each feature, as in `feature_importance_penalty`.

    Raises:
        TypeError, ValueError: importance outside [0, 1] or of another shape, a floor outside [0, 1], no
            importance given, inputs that are not floating-point.

    >>> weighting = FeatureWeighting(torch.tensor([1.0, 0.5, 0.0]), floor=0.1)
    >>> weighting(torch.ones(1, 3))
    tensor([[1.0000, 0.5000, 0.1000]])
    """

    importance: torch.Tensor | None
    groups: torch.Tensor | None

    def __init__(
        self,
        importance: Array | None = None,
        floor: float = 0.1,
        groups: Array | None = None,
        *,
        check: bool = False,
    ) -> None:
        super().__init__()
        if not 0 <= floor <= 1:
            raise InputError(f"floor must lie in [0, 1], not {floor}")
        self.floor = floor
        self.check = check
        own = optional(importance, "importance")
        if own is not None:
            _in_unit_interval(own, look=True)
        self.register_buffer("importance", own)
        self.register_buffer("groups", optional(groups, "groups"))

    def forward(self, inputs: torch.Tensor, importance: Array | None = None) -> torch.Tensor:
        given = self.importance if importance is None else importance
        if given is None:
            raise InputError("importance must be given, here or to FeatureWeighting(importance)")
        if not inputs.is_floating_point():
            raise InputTypeError(
                f"inputs must hold floating-point numbers, not {inputs.dtype}: they are scaled"
            )
        share = _fit(given, self.groups, inputs, "inputs", self.check and importance is not None)
        return inputs * share.clamp(min=self.floor).to(inputs.dtype)

    def extra_repr(self) -> str:
        return f"floor={self.floor}"


def _refuse(strength: float, every: int, step: int) -> None:
    if not 0 <= strength < math.inf:
        raise InputError(f"strength must be finite and >= 0, not {strength}")
    for name, value, least in (("every", every, 1), ("step", step, 0)):
        if not isinstance(value, int):
            raise InputTypeError(f"{name} must be an int, not {type(value).__name__}")
        if value < least:
            raise InputError(f"{name} must be >= {least}, not {value}")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _spread(
    importance: Array,
    groups: Array | None,
    inputs: torch.Tensor,
    at: torch.Tensor,
    name: str,
    check: bool,
) -> torch.Tensor:
    """Importance for each value of ``at``: as given, or averaged over the area that an activation covers."""
    if at is inputs:
        return _fit(importance, groups, inputs, name, check)
    given = tensor(importance, "importance")
    if groups is None and _broadcasts(given.shape, at.shape):
        return _fit(given, None, at, name, check)
    share = _fit(given, groups, inputs, "inputs", check)
    spatial = at.dim() - 2
    if inputs.dim() != at.dim() or not 1 <= spatial <= 3:
        raise InputError(
            f"importance of shape {tuple(given.shape)} cannot be brought to the layer's {tuple(at.shape)}:"
            " give it in that shape"
        )
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[spatial - 1]
    area = share.to(_wide(at.dtype)).expand(inputs.shape).mean(1, keepdim=True)
    pooled: torch.Tensor = pool(area, at.shape[2:])  # type: ignore[arg-type]
    return pooled


def _fit(
    importance: Array, groups: Array | None, inputs: torch.Tensor, name: str, check: bool
) -> torch.Tensor:
    """Importance that broadcasts to the inputs, looked at where that costs nothing or is asked for."""
    share = tensor(importance, "importance")
    look = check or share.device.type == "cpu"
    if not share.is_floating_point():
        raise InputTypeError(f"importance must hold floating-point numbers, not {share.dtype}")
    if share.device != inputs.device:
        raise InputError(f"importance is on {share.device}, {name} on {inputs.device}: move it there")
    _in_unit_interval(share, look)
    if groups is not None:
        share = _by_group(share, tensor(groups, "groups"), inputs, look)
    if not _broadcasts(share.shape, inputs.shape):
        raise InputError(
            f"importance of shape {tuple(share.shape)} does not broadcast to {name}, {tuple(inputs.shape)}"
        )
    return share


def _by_group(share: torch.Tensor, groups: torch.Tensor, inputs: torch.Tensor, look: bool) -> torch.Tensor:
    if groups.is_floating_point() or groups.is_complex() or groups.dtype == torch.bool:
        raise InputTypeError(f"groups must hold integers, not {groups.dtype}")
    if groups.shape != inputs.shape[1:]:
        raise InputError(
            f"groups must have one number a feature, shape {tuple(inputs.shape[1:])}, not {tuple(groups.shape)}"
        )
    if share.dim() not in (1, 2) or (share.dim() == 2 and share.shape[0] != inputs.shape[0]):
        raise InputError(
            f"importance of groups must have shape (groups,) or ({inputs.shape[0]}, groups),"
            f" not {tuple(share.shape)}"
        )
    count = share.shape[-1]
    if look and groups.numel():
        wrong = (groups < 0) | (groups >= count)
        if wrong.any():
            first = int(wrong.reshape(-1).nonzero()[0])
            raise InputError(
                f"groups{position(first, groups.shape)} is {groups.reshape(-1)[first].item()},"
                f" but importance has groups 0..{count - 1}"
            )
    # Clamped: what is not looked at must not be read outside either.
    return share[..., groups.to(device=share.device, dtype=torch.int64).clamp(0, count - 1)]


def _in_unit_interval(importance: torch.Tensor, look: bool) -> None:
    if not look:
        return
    wrong = ~((importance >= 0) & (importance <= 1))
    if wrong.any():
        first = int(wrong.reshape(-1).nonzero()[0])
        raise InputError(
            f"importance{position(first, importance.shape)} is {importance.reshape(-1)[first].item()}:"
            " it must lie in [0, 1]"
        )


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    return len(shape) <= len(to) and all(
        size in (1, whole) for size, whole in zip(reversed(shape), reversed(to), strict=False)
    )
