"""The streaming half alone: update, merge, result."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.shift_distances import MEASURES, shift_distances

import hitl_fast as hf


def rows(n: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    clean = generator.standard_normal((n, width)).astype(np.float32)
    return clean, clean + generator.standard_normal((n, width)).astype(np.float32)


def test_is_the_mean_over_rows() -> None:
    clean, shifted = rows(20, 33, 0)
    accumulator = hf.PreIndexAccumulator(bins=(4, 8))
    for start in (0, 3, 10):
        stop = {0: 3, 3: 10, 10: 20}[start]
        accumulator.update("a", torch.from_numpy(clean[start:stop]), torch.from_numpy(shifted[start:stop]))
    layer = accumulator.result()["a"]
    expected = shift_distances(clean, shifted, (4, 8)).distances / 20
    assert [list(layer.distances[b].values()) for b in (4, 8)] == expected.tolist()
    assert list(layer.distances[4]) == list(MEASURES)
    assert (layer.units, layer.rows, layer.left_out) == (33, 20, 0)
    assert len(layer.histogram[0]) == 8


def test_cutting_the_rows_otherwise_changes_nothing() -> None:
    clean, shifted = rows(64, 17, 1)
    results = []
    for size in (1, 7, 64):
        accumulator = hf.PreIndexAccumulator()
        for start in range(0, 64, size):
            accumulator.update("a", clean[start : start + size], shifted[start : start + size])
        results.append(accumulator.result())
    assert results[0] == results[1] == results[2]


def test_merge_adds_what_the_other_saw() -> None:
    parts = [hf.PreIndexAccumulator() for _ in range(3)]
    whole = hf.PreIndexAccumulator()
    for i, part in enumerate(parts):
        names = ("a", "b")[: i + 1]
        for name in names:
            pair = rows(5 + i, 9, 10 * i + len(name))
            part.update(name, *pair)
            whole.update(name, *pair)
    before = parts[1].result()
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[1].result() == before
    merged, expected = parts[0].result(), whole.result()
    assert list(merged) == list(expected)
    for name, layer in merged.items():
        assert layer.rows == expected[name].rows
        assert layer.histogram == expected[name].histogram
        for bins, measures in layer.distances.items():
            assert measures == pytest.approx(expected[name].distances[bins], rel=1e-14)


def test_arrays_and_tensors_mix() -> None:
    pairs = [rows(5, 9, seed) for seed in range(3)]
    arrays = [tuple(np.asarray(side) for side in pair) for pair in pairs]
    tensors = [tuple(torch.as_tensor(side) for side in pair) for pair in arrays]
    whole = hf.PreIndexAccumulator()
    for pair in tensors:
        whole.update("a", *pair)
    for first, second in ((arrays, tensors), (tensors, arrays)):
        mixed, merged, other = (hf.PreIndexAccumulator() for _ in range(3))
        for accumulator in (mixed, merged):
            accumulator.update("a", *first[0])
        for i in (1, 2):
            mixed.update("a", *second[i])
            other.update("a", *second[i])
        merged.merge(other)
        assert mixed.result() == whole.result()
        assert merged.result()["a"].rows == 15
        assert merged.result()["a"].histogram == whole.result()["a"].histogram


def test_nan_rows_are_counted_per_layer() -> None:
    clean, shifted = rows(6, 5, 2)
    clean[1, 2] = np.nan
    accumulator = hf.PreIndexAccumulator()
    accumulator.update("a", clean, shifted)
    accumulator.update("b", shifted, shifted)
    assert accumulator.result()["a"].left_out == 1
    accumulator.update("c", np.full((2, 3), np.nan), np.ones((2, 3)))
    with pytest.raises(ValueError, match="layer 'c': all 2 row pairs hold NaN or infinite values"):
        accumulator.result()
    accumulator.discard("c")
    accumulator.discard("never seen")
    assert list(accumulator.result()) == ["a", "b"]


def test_refusals_leave_the_sums_as_they_were() -> None:
    accumulator = hf.PreIndexAccumulator()
    accumulator.update("a", *rows(4, 5, 3))
    before = accumulator.result()
    with pytest.raises(ValueError, match=r"clean has shape \(4, 5\) but shifted \(3, 5\)"):
        accumulator.update("a", rows(4, 5, 3)[0], rows(3, 5, 3)[0])
    with pytest.raises(ValueError, match=r"cannot merge bins \(8,\), 'corrected' into bins \(16, 32, 64\)"):
        accumulator.merge(hf.PreIndexAccumulator(bins=(8,)))
    with pytest.raises(ValueError, match="cannot merge .* 'reference'"):
        accumulator.merge(hf.PreIndexAccumulator(arithmetic="reference"))
    assert accumulator.result() == before


def test_calls_of_two_widths_count_row_by_row() -> None:
    accumulator = hf.PreIndexAccumulator(bins=(8,))
    wide, narrow = rows(4, 50, 3), rows(4, 9, 4)
    accumulator.update("a", *wide)
    accumulator.update("a", *narrow)
    layer = accumulator.result()["a"]
    expected = sum(shift_distances(*pair, (8,)).distances for pair in (wide, narrow)) / 8
    assert list(layer.distances[8].values()) == pytest.approx(expected[0].tolist(), rel=1e-14)
    assert (layer.units, layer.rows) == (50, 8)
    assert sum(layer.histogram[1]) == pytest.approx(1)


def test_no_rows_are_said_to_be_none() -> None:
    accumulator = hf.PreIndexAccumulator()
    accumulator.update("a", *(x[:0] for x in rows(4, 5, 3)))
    with pytest.raises(ValueError, match="layer 'a' was given no row pairs"):
        accumulator.result()


def test_refuses_options() -> None:
    with pytest.raises(ValueError, match="bins must rise"):
        hf.PreIndexAccumulator(bins=(8, 4))
    with pytest.raises(ValueError, match="arithmetic must be one of"):
        hf.PreIndexAccumulator(arithmetic="exact")


def broken(what: str) -> dict[str, Any]:
    held = hf.PreIndexAccumulator()
    held.update("a", torch.randn(3, 4), torch.randn(3, 4))
    state = copy.deepcopy(held.state())
    layer = state["layers"]["a"]
    match what:
        case "nothing":
            return {}
        case "no counts":
            del layer["counts"]
        case "counts of another shape":
            layer["counts"] = [[1, 2], [3, 4]]
        case "text":
            layer["rows"] = "many"
        case "counts below 0":
            layer["left_out"] = -1
        case "not finite":
            layer["distances"] = np.full(np.shape(layer["distances"]), np.nan).tolist()
        case "no layers":
            state["layers"] = 3
    return dict(state)


@pytest.mark.parametrize(
    "what",
    ["nothing", "no counts", "counts of another shape", "text", "counts below 0", "not finite", "no layers"],
)
def test_what_is_no_state_is_refused_by_its_position(what: str) -> None:
    with pytest.raises(ValueError, match=r"states\[1\] is not what state"):
        hf.PreIndexAccumulator.of_states([hf.PreIndexAccumulator().state(), broken(what)])
