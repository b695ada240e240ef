"""Sums by segment against their definition, in memory, from a file, by Triton, and at their edges."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels import policy
from hitl_kernels import segment_sums as package
from hitl_kernels.segment_sums import reference, segment_sums
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = 1e-14  # float64 sums in another order, relative to the sum of absolute values
SHAPES = [(0, 3, 2), (1, 1, 1), (7, 65, 3), (257, 130, 5), (300, 1, 400), (1031, 7, 2)]


def problem(n: int, width: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, width)), generator.integers(k, size=n)


def close(found: Any, rows: np.ndarray, segments: np.ndarray, k: int) -> None:
    expected = reference.segment_sums(rows, segments, k)
    size = reference.segment_sums(np.abs(rows), segments, k)
    assert (np.abs(np.asarray(found) - expected) <= TOLERANCE * size).all()


@pytest.mark.parametrize(("n", "width", "k"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_equals_the_definition(
    n: int, width: int, k: int, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, segments = problem(n, width, k)
    rows = rows.astype(dtype)
    found = segment_sums(rows, segments, k)
    assert found.dtype == np.float64
    close(found, rows, segments, k)
    monkeypatch.setattr(package, "CHUNK", 5 * width)
    np.testing.assert_array_equal(
        segment_sums(rows, segments.astype(np.uint8) if k < 256 else segments, k), found
    )
    np.testing.assert_array_equal(segment_sums(torch.from_numpy(rows), torch.from_numpy(segments), k), found)
    np.testing.assert_array_equal(segment_sums(np.asfortranarray(rows), segments, k), found)
    if n:
        held = np.memmap(tmp_path / "rows", dtype, "w+", shape=rows.shape)
        held[:] = rows
        np.testing.assert_array_equal(segment_sums(held, segments, k), found)


@given(st.integers(0, 2**32 - 1), st.integers(0, 50), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_equals_the_definition_on_anything(seed: int, n: int, width: int, k: int) -> None:
    rows, segments = problem(n, width, k, seed)
    close(segment_sums(rows, segments, k), rows, segments, k)


@pytest.mark.jit
def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, segments = problem(4001, 200, 30)
    found = segment_sums(rows, segments, 30)
    monkeypatch.setattr(policy, "WORK_PER_THREAD", 1)
    np.testing.assert_array_equal(segment_sums(rows, segments, 30), found)


def test_values_that_are_not_finite_stay_in_their_segment() -> None:
    rows, segments = problem(20, 3, 4)
    rows[segments == 2] = np.nan
    found = segment_sums(rows, segments, 4)
    assert np.isnan(found[2]).all()
    assert np.isfinite(found[[0, 1, 3]]).all()


def by_triton(device: str, n: int, width: int, k: int, dtype: torch.dtype) -> None:
    from hitl_kernels.segment_sums import gpu

    rows, segments = problem(n, width, k)
    held = torch.from_numpy(rows).to(dtype).to(device)
    found = gpu.segment_sums(held, torch.from_numpy(segments).to(device), k)
    close(found.cpu(), held.double().cpu().numpy(), segments, k)
    strided = torch.cat([held, held], 1)[:, :width]
    assert (gpu.segment_sums(strided, torch.from_numpy(segments).to(device), k) == found).all()


@pytest.mark.interpreter
@pytest.mark.parametrize(
    ("n", "width", "k", "dtype"),
    [
        (0, 3, 2, torch.float32),
        (1, 1, 1, torch.float64),
        (37, 130, 3, torch.float32),
        (20, 1, 30, torch.float64),
    ],
)
def test_interpreted(n: int, width: int, k: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.segment_sums import gpu

    monkeypatch.setattr(gpu, "ROWS", 5)
    by_triton("cpu", n, width, k, dtype)


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "width", "k"), [*SHAPES[1:], (100_000, 512, 1000), (100_000, 100, 2)])
def test_on_a_device(n: int, width: int, k: int) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        by_triton("cuda", n, width, k, dtype)
    rows, segments = problem(n, width, k)
    found = segment_sums(torch.from_numpy(rows).cuda(), segments, k)
    assert found.is_cuda
    close(found.cpu(), rows, segments, k)


@pytest.mark.parametrize(
    ("rows", "segments", "k", "error", "names"),
    [
        ([[1.0]], [0], 1, TypeError, "rows.*list"),
        (np.ones((2, 2), int), [0, 0], 1, TypeError, "rows must hold floats, not int64"),
        (np.ones(2), [0, 0], 1, ValueError, r"\(N, D\), not \(2,\)"),
        (np.ones((2, 2)), [0, 0], 0, ValueError, "n_segments.*0"),
        (np.ones((2, 2)), [0.0, 0.0], 1, TypeError, "segments must hold integers"),
        (np.ones((2, 2)), [0], 1, ValueError, r"\(2,\).*\(1,\)"),
        (np.ones((3, 2)), [0, 1, 2], 2, ValueError, r"0 to 1, but segments\[2\] is 2"),
        (np.ones((3, 2)), [0, -1, 0], 2, ValueError, r"segments\[1\] is -1"),
    ],
)
def test_refuses(rows: Any, segments: Any, k: int, error: type[Exception], names: str) -> None:
    with pytest.raises(error, match=names):
        segment_sums(rows, np.array(segments), k)
