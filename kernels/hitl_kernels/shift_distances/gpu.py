"""Histogram distances of row pairs in Triton: extremes, counts, distances; one kernel each, rows of any length.

A row is read twice: for its extremes, and for the counts of its finest bins. Coarser bins that nest in finer ones are
sums of their counts, unless the row's range is so narrow that edges do not nest. A program counts in shared memory
(``tl.histogram``). A row is split over programs when it is long; partial extremes are combined by whoever reads them
and partial counts by integer atomics, so nothing depends on the order of arrival. Counts are those of NumPy because
each step is: the guess is divided with rounding to nearest, no multiplication is fused with an addition, and the edges
decide.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from .reference import CONSTANT_ULPS, MEASURES, PSEUDO_COUNT

# Values a program holds at a time, by bytes of a value: 1,024 of float64 would spill registers on sm_80.
_BLOCK = {4: 1024, 8: 512}
_SPLITS = 64  # programs that share a row, at most
_EXACT = {"enable_fp_fusion": False}


def shift_distances(
    clean: torch.Tensor, shifted: torch.Tensor, bins: tuple[int, ...], corrected: bool, per_row: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """As ``hitl_kernels.shift_distances.shift_distances``, all on the device and without waiting for it."""
    clean, shifted = rows(clean), rows(shifted)
    n_rows, width = clean.shape
    finest = bins[-1]
    padded = triton.next_power_of_2(finest)
    block = _BLOCK[clean.element_size()]
    splits = min(_SPLITS, triton.cdiv(width, 8 * block))
    block = min(block, triton.next_power_of_2(width))
    device = clean.device
    extremes = torch.empty((2, n_rows, 2, splits), dtype=clean.dtype, device=device)
    counts = torch.zeros((n_rows, len(bins), 2, padded), dtype=torch.int32, device=device)
    distances = torch.empty((n_rows, len(bins), len(MEASURES)), dtype=torch.float64, device=device)
    plan = torch.tensor([bins, *_origin(bins)], dtype=torch.int32, device=device)  # [3, bins]
    nested = torch.zeros(n_rows, dtype=torch.int32, device=device)
    if n_rows:
        extremes_kernel[(n_rows, splits, 2)](
            clean, shifted, extremes, n_rows, width, splits, BLOCK=block, **_EXACT
        )
        counts_kernel[(n_rows, splits, 2)](
            clean, shifted, extremes, plan, counts, nested, n_rows, width, splits, len(bins),
            CORRECTED=corrected, ULPS=CONSTANT_ULPS, DOUBLE=clean.dtype == torch.float64, BLOCK=block,
            TINY=torch.finfo(clean.dtype).tiny, BINS=padded, SPLITS=triton.next_power_of_2(splits), **_EXACT,
        )  # fmt: skip
        measures_kernel[(n_rows, len(bins))](
            counts, plan, nested, distances, width, len(bins), CORRECTED=corrected, PSEUDO=PSEUDO_COUNT, BINS=padded,
            num_warps=1, **_EXACT,
        )  # fmt: skip
    left_out = torch.isnan(distances[:, 0, 0]).sum()
    summed = counts[:, -1, :, :finest].sum(0, dtype=torch.int64)
    if not per_row:
        distances = add_in_order(torch.zeros_like(distances[0]) if n_rows else distances.sum(0), distances)
    return distances, left_out, summed


def _origin(bins: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """Of each number of bins: which one it is summed from where bins nest (itself if none), and how many at a time."""
    source, ratio = list(range(len(bins))), [1] * len(bins)
    for b in reversed(range(len(bins) - 1)):
        times, rest = divmod(bins[b + 1], bins[b])
        if rest == 0 and times & (times - 1) == 0:
            source[b], ratio[b] = source[b + 1], ratio[b + 1] * times
    return source, ratio


def add_in_order(total: torch.Tensor, distances: torch.Tensor) -> torch.Tensor:
    """``total`` plus each row that is not left out, one after the other."""
    added = total.clone()
    lanes = total.numel()
    if len(distances):
        add_in_order_kernel[(1,)](
            added,
            distances.contiguous(),
            len(distances),
            lanes,
            LANES=triton.next_power_of_2(lanes),
            num_warps=1,
        )
    return added


def rows(values: torch.Tensor) -> torch.Tensor:
    """Contiguous (R, C) float32 or float64, pooled where there are more dimensions."""
    values = values.detach()
    if values.dtype in (torch.float16, torch.bfloat16):
        pooled = values.flatten(2).mean(2, dtype=torch.float32) if values.ndim > 2 else values.float()
    else:
        pooled = values.flatten(2).mean(2) if values.ndim > 2 else values
    return pooled.contiguous()


@triton.jit
def extremes_kernel(clean, shifted, extremes, n_rows, width, splits, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Least and greatest of this program's share of a row, NaN if it holds a NaN or an infinity."""
    row, split, side = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    rows = clean if side == 0 else shifted
    share = tl.cdiv(tl.cdiv(width, splits), BLOCK) * BLOCK
    lane = tl.arange(0, BLOCK)
    first = split * share
    least = tl.full((BLOCK,), float("inf"), rows.dtype.element_ty)
    most = tl.full((BLOCK,), float("-inf"), rows.dtype.element_ty)
    bad = tl.zeros((BLOCK,), tl.int32)
    for start in range(first, min(first + share, width), BLOCK):
        inside = start + lane < width
        value = tl.load(rows + row * width + start + lane, inside, other=0.0)
        bad |= (inside & ~(tl.abs(value) < float("inf"))).to(tl.int32)
        least = tl.minimum(least, tl.where(inside, value, float("inf")))
        most = tl.maximum(most, tl.where(inside, value, float("-inf")))
    broken = tl.max(bad) > 0
    at = extremes + ((side * n_rows + row) * 2) * splits + split
    tl.store(at, tl.where(broken, float("nan"), tl.min(least)))
    tl.store(at + splits, tl.where(broken, float("nan"), tl.max(most)))


@triton.jit
def _ends(extremes, side, row, n_rows, splits, SPLITS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The extremes of a whole row, and whether it counts: all finite, and so is their difference."""
    share = tl.arange(0, SPLITS)
    at = extremes + ((side * n_rows + row) * 2) * splits + share
    low = tl.load(at, share < splits, other=float("inf"))
    high = tl.load(at + splits, share < splits, other=float("-inf"))
    broken = tl.max((low != low).to(tl.int32)) > 0
    low, high = tl.min(tl.where(low == low, low, 0.0)), tl.max(tl.where(high == high, high, 0.0))
    return low, high, ~broken & (high - low < float("inf"))


@triton.jit
def _edge(k, low, high, step, n_bins):  # type: ignore[no-untyped-def]
    return tl.where(k == n_bins, high, k.to(step.dtype) * step + low)


@triton.jit
def _unit(low, high, DOUBLE: tl.constexpr):  # type: ignore[no-untyped-def]
    """The unit in the last place of the larger magnitude, from the bits: the next number up, less the number."""
    largest = tl.maximum(tl.abs(low), tl.abs(high))
    if DOUBLE:
        unit = (largest.to(tl.int64, bitcast=True) + 1).to(tl.float64, bitcast=True) - largest
    else:
        unit = (largest.to(tl.int32, bitcast=True) + 1).to(tl.float32, bitcast=True) - largest
    return unit


@triton.jit
def counts_kernel(  # type: ignore[no-untyped-def]
    clean, shifted, extremes, plan, counts, nested, n_rows, width, splits, n_sizes,
    CORRECTED: tl.constexpr, ULPS: tl.constexpr, DOUBLE: tl.constexpr, BLOCK: tl.constexpr,
    TINY: tl.constexpr, BINS: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """``np.histogram`` of this program's share of a row, added to the row's counts.

    ``plan`` is [3, sizes]: numbers of bins, and ``_origin`` of each. ``nested[row]`` becomes 1 where coarser bins
    are left to be summed from finer ones.
    """
    row, split, side = tl.program_id(0).to(tl.int64), tl.program_id(1), tl.program_id(2)
    rows = clean if side == 0 else shifted
    low, high, counting = _ends(extremes, side, row, n_rows, splits, SPLITS)
    other_low, other_high, other_counting = _ends(extremes, 1 - side, row, n_rows, splits, SPLITS)
    if not (counting & other_counting):
        return
    unit, other_unit = _unit(low, high, DOUBLE), _unit(other_low, other_high, DOUBLE)
    constant, other_constant = False, False
    if CORRECTED:
        constant = high - low < ULPS * unit
        other_constant = other_high - other_low < ULPS * other_unit
    # As in cpu.py: from here on edges of the finest bins rise, and no step is subnormal.
    least = 8 * tl.load(plan + n_sizes - 1).to(low.dtype)
    wide = constant | (high - low >= least * tl.maximum(unit, TINY))
    other_wide = other_constant | (other_high - other_low >= least * tl.maximum(other_unit, TINY))
    nests = wide & other_wide
    if nests:
        tl.store(nested + row, 1)
    widen = tl.where(low == high, 0.5, 0.0).to(low.dtype)
    low, high = low - widen, high + widen
    extent = high - low
    share = tl.cdiv(tl.cdiv(width, splits), BLOCK) * BLOCK
    first = split * share
    last = min(first + share, width)
    lane, k = tl.arange(0, BLOCK), tl.arange(0, BINS)
    for size in range(0, n_sizes):
        n_bins = tl.load(plan + size)
        own = (tl.load(plan + n_sizes + size) == size) | (nests == 0)
        step = extent / n_bins.to(low.dtype) if DOUBLE else tl.div_rn(extent, n_bins.to(low.dtype))
        rising = _edge(k, low, high, step, n_bins) < _edge(k + 1, low, high, step, n_bins)
        middle = constant | (tl.min(tl.where(k < n_bins, rising, True).to(tl.int32)) == 0)
        count = tl.where(k == n_bins // 2, tl.where(middle, tl.maximum(last - first, 0), 0), 0)
        end = tl.where(own, tl.where(middle, first, last), first)
        for start in range(first, end, BLOCK):
            inside = start + lane < width
            value = tl.load(rows + row * width + start + lane, inside, other=0.0)
            if DOUBLE:
                place = (value - low) / extent * n_bins.to(low.dtype)
            else:
                place = tl.div_rn(value - low, tl.zeros_like(value) + extent) * n_bins.to(low.dtype)
            guess = tl.minimum(place.to(tl.int32), n_bins - 1)
            guess = tl.where(inside, guess, 0)
            under = value < _edge(guess, low, high, step, n_bins)
            over = (value >= _edge(guess + 1, low, high, step, n_bins)) & (guess < n_bins - 1)
            bin = guess - under.to(tl.int32) + (over & ~under).to(tl.int32)
            count += tl.histogram(tl.where(inside, bin, 0), BINS)
            # Lanes outside the row were counted in bin 0.
            count -= tl.where(k == 0, tl.sum((~inside).to(tl.int32)), 0)
        if own:
            at = counts + ((row * n_sizes + size) * 2 + side) * BINS + k
            tl.atomic_add(at, count, mask=k < n_bins, sem="relaxed")


@triton.jit
def measures_kernel(  # type: ignore[no-untyped-def]
    counts, plan, nested, distances, width, n_sizes,
    CORRECTED: tl.constexpr, PSEUDO: tl.constexpr, BINS: tl.constexpr,
):  # fmt: skip
    """The five distances of one row pair at one number of bins; bins beyond that number are empty on both sides."""
    row, size = tl.program_id(0).to(tl.int64), tl.program_id(1)
    k = tl.arange(0, BINS)
    n_bins = tl.load(plan + size)
    nests = tl.load(nested + row) > 0
    source = tl.where(nests, tl.load(plan + n_sizes + size), size)
    ratio = tl.where(nests, tl.load(plan + 2 * n_sizes + size), 1)
    at = counts + (row * n_sizes + source) * 2 * BINS + k * ratio
    p, q = tl.zeros((BINS,), tl.int32), tl.zeros((BINS,), tl.int32)
    for j in range(0, ratio):
        p += tl.load(at + j, mask=k < n_bins, other=0)
        q += tl.load(at + BINS + j, mask=k < n_bins, other=0)
    a, b = p.to(tl.float64), q.to(tl.float64)
    log_a, log_b = tl.log(tl.maximum(a, 1.0)), tl.log(tl.maximum(b, 1.0))
    log_middle = tl.log(tl.maximum(a + b, 1.0) / 2)
    n, n_bins_real = tl.cast(width, tl.float64), n_bins.to(tl.float64)
    shannon = tl.maximum(tl.sum((a * log_a + b * log_b) - (a + b) * log_middle), 0.0) / (2 * n)
    root = tl.sqrt(a) - tl.sqrt(b)
    hellinger = tl.sum(root * root) / (2 * n)
    if CORRECTED:
        term = tl.where(k < n_bins, (a + PSEUDO) * (tl.log(a + PSEUDO) - tl.log(b + PSEUDO)), 0.0)
        leibler = tl.maximum(tl.sum(term), 0.0) / (n + n_bins_real * PSEUDO)
    else:
        leibler = tl.sum(tl.where(b > 0, a * (log_a - log_b), 0.0)) / n
    heights = tl.sum(tl.abs(tl.sort(p) - tl.sort(q)).to(tl.int64))
    along = tl.sum(tl.abs(tl.cumsum(p - q)).to(tl.int64))
    scale = n_bins_real * n
    lost = tl.where(tl.sum(p) > 0, 0.0, float("nan"))
    out = distances + (row * n_sizes + size) * 5
    tl.store(out, shannon + lost)
    tl.store(out + 1, hellinger + lost)
    tl.store(out + 2, leibler + lost)
    tl.store(out + 3, heights.to(tl.float64) / scale + lost)
    tl.store(out + 4, along.to(tl.float64) / scale + lost)


@triton.jit
def add_in_order_kernel(total, distances, n_rows, lanes, LANES: tl.constexpr):  # type: ignore[no-untyped-def]
    """One lane a number, row after row: a sum whose value does not depend on how rows were cut into batches."""
    lane = tl.arange(0, LANES)
    inside = lane < lanes
    value = tl.load(total + lane, inside, other=0.0)
    row = distances
    for _ in range(n_rows):
        first = tl.load(row)
        value += tl.where(first == first, tl.load(row + lane, inside, other=0.0), 0.0)
        row += lanes
    tl.store(total + lane, value, inside)


_ROWS: dict[str, str] = {"n_rows": "i32", "width": "i32", "splits": "i32"}


def _compiled_forms() -> dict[str, tuple[Any, ...]]:
    forms: dict[str, tuple[Any, ...]] = {}
    constants: dict[str, Any]
    for real, block in (("fp32", _BLOCK[4]), ("fp64", _BLOCK[8])):
        rows = {"clean": f"*{real}", "shifted": f"*{real}", "extremes": f"*{real}"}
        forms[f"extremes {real}"] = (
            extremes_kernel,
            {**rows, **_ROWS, "BLOCK": "constexpr"},
            {"BLOCK": block},
            _EXACT,
        )
        for corrected in (True, False):
            constants = {
                "CORRECTED": corrected, "ULPS": CONSTANT_ULPS, "DOUBLE": real == "fp64", "BLOCK": block,
                "TINY": 2.0**-126 if real == "fp32" else 2.0**-1022, "BINS": 64, "SPLITS": _SPLITS,
            }  # fmt: skip
            signature = {
                **rows,
                "plan": "*i32",
                "counts": "*i32",
                "nested": "*i32",
                **_ROWS,
                "n_sizes": "i32",
            }
            signature.update(dict.fromkeys(constants, "constexpr"))
            forms[f"counts {real} {corrected}"] = (counts_kernel, signature, constants, _EXACT)
    for corrected in (True, False):
        constants = {"CORRECTED": corrected, "PSEUDO": PSEUDO_COUNT, "BINS": 64}
        signature = {
            "counts": "*i32", "plan": "*i32", "nested": "*i32", "distances": "*fp64", "width": "i32", "n_sizes": "i32",
        }  # fmt: skip
        signature.update(dict.fromkeys(constants, "constexpr"))
        forms[f"measures {corrected}"] = (measures_kernel, signature, constants, {**_EXACT, "num_warps": 1})
    signature = {
        "total": "*fp64",
        "distances": "*fp64",
        "n_rows": "i32",
        "lanes": "i32",
        "LANES": "constexpr",
    }
    forms["add in order"] = (add_in_order_kernel, signature, {"LANES": 16}, {**_EXACT, "num_warps": 1})
    return forms


KERNELS = _compiled_forms()
