"""Histogram distances of row pairs against their definition, against np.histogram, and at their edges."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch
from hitl_kernels.shift_distances import (
    ARITHMETICS,
    MEASURES,
    add_in_order,
    cpu,
    row_histograms,
    shift_distances,
)
from hitl_kernels.shift_distances import reference as definition

# dtype: (relative, absolute) for distances; counts are exact
TOLERANCE = {torch.float64: (1e-11, 1e-13), torch.float32: (1e-11, 1e-13)}
WIDTHS = (1, 2, 3, 7, 64, 257, 2049)
BINS = ((16, 32, 64), (2,), (5, 7, 64), (10, 20), (3, 100))


def rows_of_every_kind(width: int, dtype: torch.dtype, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows: Gaussian, ReLU-sparse, constant, on edges, rounded, NaN, inf, far from 0, subnormal, huge."""
    real = {torch.float32: np.float32, torch.float64: np.float64}[dtype]
    generator = np.random.default_rng(seed)
    clean = generator.standard_normal((16, width))
    shifted = clean + 0.3 * generator.standard_normal((16, width))
    clean[1] = np.maximum(clean[1], 0)
    clean[2] = 1.5
    shifted[3] = np.arange(width) / 8
    clean[4] = np.round(clean[4] * 4) / 4
    clean[5, 0] = np.nan
    shifted[6, -1] = -np.inf
    clean[7] = 1000 + clean[7] * 1e-3
    clean[8] = 0.1
    clean[9] = 1e30
    shifted[10] = 1 + generator.integers(0, 40, width) * np.finfo(real).eps
    clean[11] = generator.integers(0, 60, width) * np.finfo(real).smallest_subnormal
    clean[12] = 1 + generator.integers(0, 2000, width) * np.finfo(real).eps
    clean, shifted = clean.astype(real), shifted.astype(real)
    clean[13, 0], clean[13, -1] = np.finfo(real).min, np.finfo(real).max
    return clean, shifted


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("bins", BINS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_equals_the_definition(
    dtype: torch.dtype, width: int, bins: tuple[int, ...], arithmetic: str
) -> None:
    clean, shifted = rows_of_every_kind(width, dtype, seed=width)
    expected, left_out = definition.shift_distances(clean, shifted, bins, arithmetic)
    found = shift_distances(clean, shifted, bins, arithmetic=arithmetic, per_row=True)
    relative, absolute = TOLERANCE[dtype]
    np.testing.assert_allclose(found.distances, expected, relative, absolute)
    assert found.left_out == left_out == (2 if width == 1 else 3)
    summed = shift_distances(torch.from_numpy(clean), torch.from_numpy(shifted), bins, arithmetic=arithmetic)
    np.testing.assert_allclose(summed.distances, np.nansum(expected, 0), relative, absolute)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_counts_are_those_of_numpy(dtype: torch.dtype) -> None:
    seen = 0
    for seed, width in enumerate((*WIDTHS, 512, 4096)):
        for rows in rows_of_every_kind(width, dtype, seed):
            for bins in (2, 3, 10, 16, 32, 64, 100, 1000):
                counts = row_histograms(rows, bins, arithmetic="reference")
                for row, found in zip(rows, counts, strict=True):
                    try:
                        with np.errstate(all="ignore"):
                            expected = np.histogram(row, bins)[0]
                    except (ValueError, IndexError):  # not finite, or too narrow for so many bins
                        continue
                    np.testing.assert_array_equal(found, expected)
                    seen += 1
    assert seen > 1000


@pytest.mark.parametrize("bins", [16, 32, 48, 64])
def test_values_on_edges_are_settled_as_numpy_does(bins: int) -> None:
    """Every edge, and its neighbours in floating point, of ranges whose edges do not fall on round numbers."""
    generator = np.random.default_rng(bins)
    for low, high in generator.uniform(-3, 3, (40, 2)).astype(np.float32):
        edges = np.linspace(low, high, bins + 1, dtype=np.float32)
        beside = [np.nextafter(edges, np.float32(side)) for side in (-9, 9)]
        row = np.clip(np.concatenate([edges, *beside]), min(low, high), max(low, high))
        np.testing.assert_array_equal(
            row_histograms(row[None], bins, arithmetic="reference")[0], np.histogram(row, bins)[0]
        )


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_no_shift_is_exactly_zero(arithmetic: str) -> None:
    rows = np.random.default_rng(0).standard_normal((50, 321)).astype(np.float32)
    assert shift_distances(rows, rows.copy(), arithmetic=arithmetic).distances.max() == 0
    # Nor do a row's scale and offset count; a power of two rounds nothing.
    assert shift_distances(rows, 8 * rows, arithmetic=arithmetic).distances.max() == 0


def test_measures_stay_in_their_ranges() -> None:
    clean, shifted = rows_of_every_kind(300, torch.float64)
    found = shift_distances(clean, shifted, per_row=True).distances
    found = found[~np.isnan(found[:, 0, 0])]
    assert (found >= 0).all()
    assert found[..., MEASURES.index("jensen_shannon")].max() <= np.log(2)
    assert found[..., MEASURES.index("bhattacharyya")].max() <= 1


def test_published_divergence_can_be_negative_and_the_corrected_one_cannot() -> None:
    clean, shifted = np.array([[0, 1.0, 1.0, 1.0, 1.0, 1.0]]), np.array([[0, 0.6, 0.6, 0.7, 0.9, 1.0]])
    leibler = MEASURES.index("kullback_leibler")
    assert shift_distances(shifted, clean, (4,), arithmetic="reference").distances[0, leibler] < 0
    assert shift_distances(shifted, clean, (4,)).distances[0, leibler] > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    clean = torch.randn(9, 130, generator=torch.Generator().manual_seed(0)).to(dtype)
    shifted = (clean.float() * 1.1).sin().to(dtype)
    expected = shift_distances(clean.float(), shifted.float())
    assert torch.equal(shift_distances(clean, shifted).distances, expected.distances)


@pytest.mark.parametrize("shape", [(4, 6, 5, 3), (4, 6, 9), (4, 6, 1, 1), (3, 5, 2, 3, 4)])
def test_maps_are_pooled_on_the_way(shape: tuple[int, ...]) -> None:
    generator = np.random.default_rng(1)
    clean, shifted = generator.standard_normal((2, *shape)).astype(np.float32)
    pooled = [torch.from_numpy(x).flatten(2).mean(2) for x in (clean, shifted)]
    expected = shift_distances(*pooled)
    assert torch.equal(
        shift_distances(torch.from_numpy(clean), torch.from_numpy(shifted)).distances, expected.distances
    )
    np.testing.assert_array_equal(shift_distances(clean, shifted).distances, expected.distances)


def test_strided_and_expanded_tensors() -> None:
    wide = torch.randn(7, 200, generator=torch.Generator().manual_seed(2), requires_grad=True)
    strided, expanded = wide[:, ::2], wide[:1, :100].expand(7, 100)
    expected = shift_distances(strided.detach().contiguous(), expanded.detach().contiguous())
    assert torch.equal(shift_distances(strided, expanded).distances, expected.distances)


def test_batches_add_up_bit_for_bit() -> None:
    clean, shifted = rows_of_every_kind(97, torch.float32)
    whole = shift_distances(clean, shifted)
    for size in (1, 5, 16):
        total, counts = np.zeros_like(whole.distances), np.zeros_like(whole.counts)
        for start in range(0, 16, size):
            part = shift_distances(clean[start : start + size], shifted[start : start + size], per_row=True)
            total = add_in_order(total, part.distances)
            counts += part.counts
        np.testing.assert_array_equal(total, whole.distances)
        np.testing.assert_array_equal(counts, whole.counts)


@pytest.mark.jit
def test_thread_count_changes_nothing() -> None:
    clean, shifted = rows_of_every_kind(97, torch.float32)
    threads = numba.get_num_threads()
    expected = shift_distances(clean, shifted)
    try:
        numba.set_num_threads(1)
        found = shift_distances(clean, shifted)
    finally:
        numba.set_num_threads(threads)
    np.testing.assert_array_equal(found.distances, expected.distances)
    np.testing.assert_array_equal(found.counts, expected.counts)


@pytest.mark.jit
def test_calls_of_several_threads_do_not_meet() -> None:
    """More threads than scratches were ever kept, of two numbers of bins; the kernel runs without Python's lock."""
    work = [(*rows_of_every_kind(256, torch.float32, seed), BINS[seed % 2]) for seed in range(12)]

    def distances(clean: np.ndarray, shifted: np.ndarray, bins: tuple[int, ...]) -> np.ndarray:
        return np.asarray(shift_distances(clean, shifted, bins, per_row=True).distances)

    expected = [distances(*one) for one in work]
    together = threading.Barrier(len(work))

    def repeated(i: int) -> list[np.ndarray]:
        together.wait()
        return [distances(*work[i]) for _ in range(50)]

    with ThreadPoolExecutor(len(work)) as pool:
        for own, found in zip(expected, pool.map(repeated, range(len(work))), strict=True):
            for again in found:
                np.testing.assert_array_equal(again, own)


def test_an_interrupted_call_leaves_nothing_to_the_next_one() -> None:
    """Without compilation, KeyboardInterrupt can end a call between the two halves of the sorted difference."""
    clean, shifted = rows_of_every_kind(64, torch.float32)
    expected = shift_distances(clean[:3], shifted[:3])
    cpu._kept.last[1][cpu._HEIGHTS][:] = 1
    found = shift_distances(clean[:3], shifted[:3])
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.jit
def test_rows_of_a_million() -> None:
    generator = np.random.default_rng(3)
    clean = generator.standard_normal((2, 1_000_000)).astype(np.float32)
    shifted = np.maximum(clean, 0)
    expected, _ = definition.shift_distances(clean, shifted)
    found = shift_distances(clean, shifted, per_row=True)
    np.testing.assert_allclose(found.distances, expected, 1e-11)
    assert found.counts.sum() == 4_000_000


def test_counts_are_of_the_finest_bins_without_rows_left_out() -> None:
    clean, shifted = rows_of_every_kind(64, torch.float32)
    found = shift_distances(clean, shifted)
    assert found.counts.shape == (2, 64)
    assert (found.counts.sum(1) == (16 - found.left_out) * 64).all()


def test_no_rows_is_no_distance() -> None:
    found = shift_distances(np.empty((0, 5), np.float32), np.empty((0, 5), np.float32))
    assert found.distances.shape == (3, 5)
    assert found.distances.max() == found.left_out == found.counts.max() == 0


ROWS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((ROWS, ROWS, ()), ValueError, "at least one number of bins"),
        ((ROWS, ROWS, (1, 2)), ValueError, "at least 2; at position 0 stands 1"),
        ((ROWS, ROWS, (16, 64, 32)), ValueError, "bins must rise; at position 2, 32 follows 64"),
        ((ROWS, ROWS, (16, 16)), ValueError, "bins must rise; at position 1"),
        ((ROWS, ROWS, (16, 32.0)), TypeError, "at position 1 stands 32.0"),
        ((ROWS, ROWS, 16), TypeError, "bins must be a sequence"),
        ((ROWS, ROWS.astype(int)), TypeError, "shifted must hold float16, .* not int64"),
        (
            (torch.zeros(2, 3, dtype=torch.int32), ROWS),
            TypeError,
            "clean must hold float16, .* not torch.int32",
        ),
        (([[1.0]], ROWS), TypeError, "clean must be a torch.Tensor or numpy.ndarray, not list"),
        ((ROWS, ROWS[:1]), ValueError, r"shape \(2, 3\) but shifted \(1, 3\)"),
        ((ROWS[0], ROWS[0]), ValueError, r"rows \(R, C\) or maps .* not of shape \(3,\)"),
        ((ROWS[:, :0], ROWS[:, :0]), ValueError, "rows of no values"),
        ((ROWS, ROWS.astype(np.float64)), TypeError, "clean holds float32 but shifted float64"),
        ((ROWS, torch.zeros(2, 3)), TypeError, "both be tensors or both be arrays"),
        (
            (torch.zeros(2, 3), torch.zeros(2, 3, device="meta")),
            ValueError,
            "clean is on cpu but shifted on meta",
        ),
    ],
)
def test_refuses_what_it_cannot_read(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        shift_distances(*arguments)


def test_refuses_an_unknown_arithmetic() -> None:
    with pytest.raises(ValueError, match="arithmetic must be one of corrected, reference, not 'published'"):
        shift_distances(ROWS, ROWS, arithmetic="published")
