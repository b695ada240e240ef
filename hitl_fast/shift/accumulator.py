"""The streaming half of PreIndex: row pairs of named layers in, mean distances out, nothing kept but sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from hitl_kernels.shift_distances import ARITHMETICS, MEASURES, add_in_order, checked_bins, shift_distances

from hitl_fast._common.errors import InputError, InputTypeError, input_errors

Distances = dict[int, dict[str, float]]


@dataclass(frozen=True)
class LayerReport:
    """One layer's distances between clean and shifted data.

    Attributes:
        distances: ``distances[bins][measure]``, mean over the row pairs that count.
        units: row length after pooling; of the first rows, where calls of a layer differ.
        rows: row pairs that count: samples times calls a forward pass.
        left_out: row pairs left out for NaN or infinite values.
        histogram: mean share of a row's values in each of the finest bins over its own range: clean, shifted.
    """

    distances: Distances
    units: int
    rows: int
    left_out: int
    histogram: tuple[tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True)
class _Sums:
    distances: Any
    counts: Any
    left_out: Any
    rows: int
    units: int

    def plus(self, other: _Sums, distances: Any) -> _Sums:
        return _Sums(
            distances,
            self.counts + _like(other.counts, self.counts),
            self.left_out + _like(other.left_out, self.left_out),
            self.rows + other.rows,
            self.units,
        )


def _sums_of(held: Mapping[str, Any], bins: Sequence[int]) -> _Sums:
    """One layer's part of a state.

    Raises:
        KeyError, TypeError, ValueError: it is none.
    """
    distances, counts = np.array(held["distances"], np.float64), np.array(held["counts"], np.int64)
    given = np.array(held["counts"])
    whole = [held[name] for name in ("left_out", "rows", "units")]
    if given.dtype.kind not in "iu" or any(type(n) is not int or n >= 1 << 62 for n in whole):
        raise TypeError("a layer has counts or numbers of rows that are no integers, or too large")
    left_out, rows, units = whole
    for name, values, shape in (
        ("distances", distances, (len(bins), len(MEASURES))),
        ("counts", counts, (2, bins[-1])),
    ):
        if values.shape != shape:
            raise InputError(f"{name} of a layer have the shape {values.shape}, not {shape}")
    if not (0 <= left_out <= rows and units >= 1 and counts.min() >= 0 and np.isfinite(distances).all()):
        raise InputError("a layer has counts below 0, or more rows left out than seen")
    values = counts.sum(1)
    if values[0] != values[1] or values[0] < rows - left_out:
        raise InputError("a layer has counts that are not of its rows")
    return _Sums(distances, counts, left_out, rows, units)


def _like(values: Any, held: Any) -> Any:
    """Values where the held ones are: a tensor on their device, or an array."""
    if isinstance(held, torch.Tensor):
        return torch.as_tensor(values, device=held.device)
    return values.cpu().numpy() if isinstance(values, torch.Tensor) else values


class PreIndexAccumulator:
    """Adds up the distances of row pairs, layer by layer, for loops of your own.

    Rows are pairs, and labels play no part: the options ``paired``, ``labels_for`` and ``label_budget`` are those of
    ``hitl_fast.preindex`` alone.

    Sums are float64 and taken in the order of the rows, so that cutting the same rows into other batches changes
    nothing. Merging adds two such sums: as one accumulator's, but for the rounding of float64 sums in another order.

    Args:
        bins: numbers of bins, each >= 2, rising.
        arithmetic: "corrected" or "reference", see ``hitl_kernels.shift_distances``.

    Raises:
        ValueError, TypeError: bins or arithmetic are none.

    >>> rows = torch.arange(12.0).reshape(3, 4)
    >>> accumulator = PreIndexAccumulator(bins=(2, 4))
    >>> accumulator.update("fc1", rows, rows**2)
    >>> round(accumulator.result()["fc1"].distances[4]["wasserstein_bins"], 4)
    0.0417
    """

    def __init__(self, bins: Sequence[int] = (16, 32, 64), arithmetic: str = "corrected") -> None:
        with input_errors():
            self.bins = checked_bins(bins)
        if arithmetic not in ARITHMETICS:
            raise InputError(f"arithmetic must be one of {', '.join(ARITHMETICS)}, not {arithmetic!r}")
        self.arithmetic = arithmetic
        self._sums: dict[str, _Sums] = {}

    def update(
        self, name: str, clean_rows: torch.Tensor | np.ndarray, shifted_rows: torch.Tensor | np.ndarray
    ) -> None:
        """Add row pairs of a layer.

        Args:
            name: the layer; a new name begins a new sum.
            clean_rows: (R, C) floating point, or (N, C, ...) to be pooled to (N, C). Calls may differ in C: each row
                pair counts once.
            shifted_rows: same shape, dtype and device, in the same order.

        Raises:
            TypeError, ValueError: as ``hitl_kernels.shift_distances.shift_distances``, with the layer's name; nothing
                is added then.
        """
        try:
            found = shift_distances(
                clean_rows, shifted_rows, self.bins, arithmetic=self.arithmetic, per_row=True
            )
        except (TypeError, ValueError) as problem:
            kind = InputTypeError if isinstance(problem, TypeError) else InputError
            raise kind(f"rows of layer {name!r}: {problem}") from problem
        part = _Sums(found.distances, found.counts, found.left_out, len(clean_rows), clean_rows.shape[1])
        sums = self._sums.get(name)
        if sums is None:
            total = add_in_order(found.distances[:0].sum(0), found.distances)
            self._sums[name] = replace(part, distances=total)
            return
        self._sums[name] = sums.plus(
            part, add_in_order(sums.distances, _like(found.distances, sums.distances))
        )

    def merge(self, other: PreIndexAccumulator) -> None:
        """Add what another accumulator has seen, of a part of the data or on another rank.

        Raises:
            ValueError: it has other bins or another arithmetic; nothing is added then.
            TypeError: it is no accumulator.
        """
        if not isinstance(other, PreIndexAccumulator):
            raise InputTypeError(f"other must be a PreIndexAccumulator, not a {type(other).__name__}")
        if (self.bins, self.arithmetic) != (other.bins, other.arithmetic):
            raise InputError(
                f"cannot merge bins {other.bins}, {other.arithmetic!r} into bins {self.bins}, {self.arithmetic!r}"
            )
        for name, theirs in other._sums.items():
            ours = self._sums.get(name)
            self._sums[name] = (
                theirs
                if ours is None
                else ours.plus(theirs, ours.distances + _like(theirs.distances, ours.distances))
            )

    def state(self) -> dict[str, Any]:
        """What it holds, as plain numbers and lists that JSON keeps exactly.

        ``{"bins", "arithmetic", "layers": {name: {"distances", "counts", "left_out", "rows", "units"}}}`` with sums of
        distances (bins, measures) and of histograms (2, finest bins).

        >>> accumulator = PreIndexAccumulator(bins=(2,))
        >>> accumulator.update("fc", torch.ones(3, 4), torch.ones(3, 4))
        >>> accumulator.state()["layers"]["fc"]["counts"]
        [[0, 12], [0, 12]]
        """
        return {
            "bins": list(self.bins),
            "arithmetic": self.arithmetic,
            "layers": {
                name: {
                    "distances": sums.distances.tolist(),
                    "counts": sums.counts.tolist(),
                    "left_out": int(sums.left_out),
                    "rows": sums.rows,
                    "units": sums.units,
                }
                for name, sums in self._sums.items()
            },
        }

    @classmethod
    def of_states(cls, states: Sequence[Mapping[str, Any]]) -> PreIndexAccumulator:
        """An accumulator that has seen what all of those had whose ``state`` is given, one or more.

        Raises:
            ValueError: none is given, one is not what ``state`` returns, or they have different bins or arithmetic.
        """
        if not states:
            raise InputError("states must hold one state or more")
        whole: PreIndexAccumulator | None = None
        for number, state in enumerate(states):
            try:
                part = cls(state["bins"], state["arithmetic"])
                part._sums = {name: _sums_of(held, part.bins) for name, held in state["layers"].items()}
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as problem:
                what = f"it has no {problem}" if isinstance(problem, KeyError) else str(problem)
                raise InputError(f"states[{number}] is not what state() returns: {what}") from None
            if whole is None:
                whole = cls(part.bins, part.arithmetic)
            whole.merge(part)
        assert whole is not None
        return whole

    def all_reduce(self, group: Any = "world") -> None:
        """Add up what all ranks of a group have seen, on every rank; to be called on each of them.

        Counts are added exactly, sums of distances in the order of the ranks: as one accumulator's, but for the
        rounding of float64 sums in another order (less than 1e-12 of their value).

        Args:
            group: "world" or a torch.distributed ProcessGroup; "world" without a process group changes nothing.

        Raises:
            ValueError: ranks have different bins or arithmetic; every rank names it, and nothing is added.
            ConnectionError: a rank has ended.
        """
        from .ranks import joined

        with joined(group) as ranks:
            ranks.agree({"bins": self.bins, "arithmetic": self.arithmetic}, dict)
            states = ranks.exchange(self.state())
        self._sums = self.of_states(states)._sums

    def snapshot(self) -> dict[str, Any]:
        """What ``restore`` takes to forget all updates made since. Costs nothing: sums are never changed in place."""
        return dict(self._sums)

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        self._sums = dict(snapshot)

    def discard(self, name: str) -> None:
        """Forget a layer, if it was ever seen."""
        self._sums.pop(name, None)

    def result(self) -> dict[str, LayerReport]:
        """The layers in the order in which they were first seen.

        Raises:
            ValueError: all row pairs of a layer hold NaN or infinite values; it is named.
        """
        return {name: self._layer(name, sums) for name, sums in self._sums.items()}

    def _layer(self, name: str, sums: _Sums) -> LayerReport:
        left_out = int(sums.left_out)
        rows = sums.rows - left_out
        if sums.rows == 0:
            raise InputError(f"layer {name!r} was given no row pairs")
        if rows == 0:
            raise InputError(f"layer {name!r}: all {sums.rows} row pairs hold NaN or infinite values")
        values = (
            np.asarray(sums.distances.cpu() if isinstance(sums.distances, torch.Tensor) else sums.distances)
            / rows
        )
        counts = np.asarray(sums.counts.cpu() if isinstance(sums.counts, torch.Tensor) else sums.counts)
        shares = counts / counts.sum(1, keepdims=True)
        return LayerReport(
            distances=named(self.bins, values),
            units=sums.units,
            rows=rows,
            left_out=left_out,
            histogram=(tuple(shares[0].tolist()), tuple(shares[1].tolist())),
        )


def named(bins: Sequence[int], values: np.ndarray) -> Distances:
    """(bins, measures) as ``{bins: {measure: value}}``."""
    return {
        n_bins: dict(zip(MEASURES, row.tolist(), strict=True))
        for n_bins, row in zip(bins, values, strict=True)
    }


def mean_over_layers(bins: Sequence[int], layers: Mapping[str, LayerReport]) -> Distances:
    """Each layer counts once, whatever its width."""
    values = [
        [[layer.distances[n_bins][measure] for measure in MEASURES] for n_bins in bins]
        for layer in layers.values()
    ]
    return named(bins, np.mean(values, axis=0))
