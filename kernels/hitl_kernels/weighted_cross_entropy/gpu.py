"""Weighted cross entropy in Triton: softmax over blocks of classes, then the gradient from the row in L2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from .layout import matrices


@triton.jit
def cross_entropy_kernel(  # type: ignore[no-untyped-def]
    logits,
    target,
    weight,
    factor,
    losses,
    gradient,
    rows,
    classes,
    row_stride,
    class_stride,
    target_row_stride,
    target_class_stride,
    ignore_index,
    smoothing_high,
    smoothing_low,
    WEIGHTED: tl.constexpr,
    PROBABILITIES: tl.constexpr,
    GRADIENT: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """ROWS rows a program, BLOCK classes at a time; a class or weight that cannot be makes its row NaN."""
    exact = losses.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    here = row < rows
    first = logits + row * row_stride
    smoothing = tl.zeros([ROWS, 1], exact) + smoothing_high + smoothing_low
    ones = tl.where(here, 1.0, 0.0)
    share = (tl.load(weight + row, mask=here, other=0) if WEIGHTED else ones).to(exact)
    counts = share != 0
    label = tl.zeros([ROWS], tl.int64)
    wrong = (share < 0) | (share == float("inf"))
    if not PROBABILITIES:
        label = tl.load(target + row, mask=here, other=0).to(tl.int64)
        counts = counts & (label != ignore_index)
        wrong = wrong | (counts & ((label < 0) | (label >= classes)))
        label = tl.where(wrong, 0, label)

    column = tl.arange(0, BLOCK)
    peak = tl.full([ROWS], -float("inf"), exact)
    mass = tl.zeros([ROWS], exact)
    for start in range(0, classes, BLOCK):
        place = start + column
        mask = counts[:, None] & (place < classes)[None, :]
        x = tl.load(
            first[:, None] + place.to(tl.int64)[None, :] * class_stride, mask=mask, other=-float("inf")
        ).to(exact)
        higher = tl.maximum(peak, tl.max(x, 1))
        base = tl.where(higher == -float("inf"), 0.0, higher)  # as long as all is -inf: no inf - inf
        mass = mass * tl.exp(peak - base) + tl.sum(tl.exp(x - base[:, None]), 1)
        peak = higher

    even = smoothing / classes
    keep = 1.0 - smoothing
    log_mass = tl.log(mass) + peak
    whole = tl.full([ROWS], 1.0, exact)
    loss = tl.zeros([ROWS], exact)
    if PROBABILITIES or smoothing_high > 0:
        # What is summed is p (log_mass - x): sums of p x and x apart cancel where logits are far from 0.
        whole = tl.zeros([ROWS], exact)
        for start in range(0, classes, BLOCK):
            place = start + column
            mask = counts[:, None] & (place < classes)[None, :]
            x = tl.load(first[:, None] + place.to(tl.int64)[None, :] * class_stride, mask=mask, other=0).to(
                exact
            )
            if PROBABILITIES:
                truth = tl.load(
                    target
                    + row[:, None] * target_row_stride
                    + place.to(tl.int64)[None, :] * target_class_stride,
                    mask=mask,
                    other=0,
                ).to(exact)
                truth = tl.where((truth >= 0) & (truth < float("inf")), truth, float("nan"))
            else:
                truth = tl.where(place[None, :] == label[:, None], 1.0, 0.0).to(exact)
            truth = tl.where(mask, keep * truth + even, 0.0)
            whole += tl.sum(truth, 1)
            loss += tl.sum(tl.where(truth == 0, 0.0, truth * (log_mass[:, None] - x)), 1)
    else:
        x = tl.load(first + label * class_stride, mask=counts & (wrong == 0), other=0).to(exact)
        loss = log_mass - x
    loss = tl.where(counts, loss, 0.0)
    tl.store(losses + row, tl.where(wrong, float("nan"), loss), mask=here)

    if GRADIENT:
        share = share * tl.load(factor).to(exact)
        share = tl.where(wrong, float("nan"), share)
        for start in range(0, classes, BLOCK):
            place = start + column
            inside = here[:, None] & (place < classes)[None, :]
            mask = counts[:, None] & inside
            x = tl.load(first[:, None] + place.to(tl.int64)[None, :] * class_stride, mask=mask, other=0).to(
                exact
            )
            if PROBABILITIES:
                truth = tl.load(
                    target
                    + row[:, None] * target_row_stride
                    + place.to(tl.int64)[None, :] * target_class_stride,
                    mask=mask,
                    other=0,
                ).to(exact)
            else:
                truth = tl.where(place[None, :] == label[:, None], 1.0, 0.0).to(exact)
            softmax = tl.exp(x - log_mass[:, None])
            slope = share[:, None] * (whole[:, None] * softmax - (keep * truth + even))
            slope = tl.where(counts[:, None], slope, 0.0)
            tl.store(
                gradient + row[:, None] * classes + place[None, :],
                slope.to(gradient.dtype.element_ty),
                mask=inside,
            )


@triton.jit
def scale_kernel(values, factor, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Multiply by the factor; values are read only where the factor is not 1, which nobody has to wait for to know."""
    by = tl.load(factor)
    if by != 1:
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = tl.load(values + place, mask=place < size)
        tl.store(values + place, (value * by).to(values.dtype.element_ty), mask=place < size)


SCALE_BLOCK = 4096
_FUSED = {"enable_fp_fusion": True}


def tile(classes: int) -> tuple[int, int, int]:
    """Rows and classes a program holds at a time, and its warps: 4,096 elements over 8 warps, 16 a thread."""
    block = min(4096, max(16, triton.next_power_of_2(classes)))
    return 4096 // block, block, 8


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=device)


def fill(
    logits: torch.Tensor,
    target: torch.Tensor,
    weight: torch.Tensor | None,
    factor: torch.Tensor,
    ignore_index: int,
    label_smoothing: float,
    losses: torch.Tensor,
    gradient: torch.Tensor | None,
) -> None:
    """Fill ``losses`` (...) and ``gradient`` (..., classes) = factor * weight * d losses / d logits.

    Both are contiguous; ``gradient`` may be ``logits`` itself where it is a contiguous matrix: a
    program reads every block of its rows before it writes that block, and no row of another.
    """
    probabilities = target.is_floating_point()
    weights = None if weight is None else weight.reshape(-1).contiguous()
    indices = None if probabilities else target.reshape(-1).contiguous()
    losses, slopes = losses.view(-1), None if gradient is None else gradient.view(-1, logits.shape[-1])
    tensors = (logits, target) if probabilities else (logits,)
    rows_a_program, block, warps = tile(logits.shape[-1])
    for rows, parts in matrices(*tensors):
        count, classes = parts[0].shape
        if count == 0:
            continue
        truth = parts[1] if indices is None else indices[rows]
        cross_entropy_kernel[(triton.cdiv(count, rows_a_program),)](
            parts[0],
            truth,
            losses if weights is None else weights[rows],
            factor,
            losses[rows],
            losses if slopes is None else slopes[rows],
            count,
            classes,
            parts[0].stride(0),
            parts[0].stride(1),
            truth.stride(0),
            truth.stride(-1),
            ignore_index,
            *_two_floats(label_smoothing),
            WEIGHTED=weights is not None,
            PROBABILITIES=probabilities,
            GRADIENT=slopes is not None,
            ROWS=rows_a_program,
            BLOCK=block,
            num_warps=warps,
            **_FUSED,
        )


def _two_floats(value: float) -> tuple[float, float]:
    """A double as a sum of the single-precision numbers that Triton makes of its arguments."""
    high = float(np.float32(value))
    return high, value - high


def denominator(
    target: torch.Tensor,
    weight: torch.Tensor | None,
    rows: int,
    given: torch.Tensor | None,
    ignore_index: int,
) -> torch.Tensor:
    """In float64 on the device: ``given`` (NaN if it is not > 0), or the number of rows that count."""
    if given is not None:
        value = given.detach().reshape(()).to(torch.float64)
        return torch.where((value > 0) & (value < math.inf), value, math.nan)
    counts = None if target.is_floating_point() else target != ignore_index
    if weight is not None:
        counts = weight != 0 if counts is None else counts & (weight != 0)
    if counts is None:
        return torch.full((), max(rows, 1), dtype=torch.float64, device=target.device)
    return counts.sum().clamp(min=1).to(torch.float64)


def mean(losses: torch.Tensor, weight: torch.Tensor | None, divisor: torch.Tensor) -> torch.Tensor:
    """The weighted sum of the losses, made in float64, over the divisor."""
    exact = losses.double() if weight is None else losses.double() * weight.detach().double()
    return (exact.sum() / divisor).to(losses.dtype)


def scale_(values: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """``values *= factor`` in place; no pass over them where the factor is 1, and no waiting to know it."""
    if values.numel():
        grid = (triton.cdiv(values.numel(), SCALE_BLOCK),)
        scale_kernel[grid](values, factor, values.numel(), BLOCK=SCALE_BLOCK, num_warps=8, **_FUSED)
    return values


def _declaration(
    dtype: str,
    *,
    weighted: bool = True,
    probabilities: bool = False,
    gradient: bool = True,
    classes: int = 32768,
) -> tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]:
    rows, block, warps = tile(classes)
    exact = "*fp64" if dtype == "*fp64" else "*fp32"
    signature = {
        "logits": dtype,
        "target": dtype if probabilities else "*i64",
        "weight": "*fp32",
        "factor": "*fp64",
        "losses": exact,
        "gradient": dtype,
        "rows": "i32",
        "classes": "i32",
        "row_stride": "i32",
        "class_stride": "i32",
        "target_row_stride": "i32",
        "target_class_stride": "i32",
        "ignore_index": "i32",
        "smoothing_high": "fp32",
        "smoothing_low": "fp32",
        **dict.fromkeys(("WEIGHTED", "PROBABILITIES", "GRADIENT", "ROWS", "BLOCK"), "constexpr"),
    }
    constants = {
        "WEIGHTED": weighted, "PROBABILITIES": probabilities, "GRADIENT": gradient,
        "ROWS": rows, "BLOCK": block,
    }  # fmt: skip
    return cross_entropy_kernel, signature, constants, {"num_warps": warps, **_FUSED}


# For tests/test_gpu_kernels_compile.py.
KERNELS: dict[str, tuple[Any, dict[str, str], dict[str, Any], dict[str, Any]]] = {
    "float32": _declaration("*fp32"),
    "float32, no weights": _declaration("*fp32", weighted=False),
    "float32, loss only": _declaration("*fp32", gradient=False),
    "float32, 10 classes": _declaration("*fp32", classes=10),
    "float32, probabilities": _declaration("*fp32", probabilities=True),
    "bfloat16": _declaration("*bf16"),
    "float16": _declaration("*fp16"),
    "float64": _declaration("*fp64"),
    "scale": (
        scale_kernel,
        {"values": "*bf16", "factor": "*fp32", "size": "i64", "BLOCK": "constexpr"},
        {"BLOCK": SCALE_BLOCK},
        {"num_warps": 8, **_FUSED},
    ),
}
