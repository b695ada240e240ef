"""The adjusted Rand index against its definition, against scikit-learn, and at its edges."""

import numpy as np
import pytest
import torch
from hitl_kernels.rand_index import cpu, rand_index, reference
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

SKLEARN = 1e-12  # against the definition nothing: both round the same exact fraction once


@pytest.mark.parametrize("n", [1, 2, 7, 97, 500])
@pytest.mark.parametrize(("n_classes", "n_clusters"), [(1, 1), (1, 3), (2, 2), (10, 7), (200, 300)])
def test_equals_the_definition(n: int, n_classes: int, n_clusters: int) -> None:
    generator = np.random.default_rng(n)
    labels, clusters = generator.integers(n_classes, size=n), generator.integers(n_clusters, size=n)
    assert rand_index(labels, clusters) == reference.rand_index(labels, clusters)
    assert rand_index(labels, clusters) == pytest.approx(adjusted_rand_score(labels, clusters), abs=SKLEARN)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_equals_the_definition_on_anything(pairs: list[tuple[int, int]]) -> None:
    labels, clusters = np.array(pairs).T
    assert rand_index(labels, clusters) == reference.rand_index(labels, clusters)
    assert rand_index(labels, clusters) == rand_index(clusters, labels)


def test_does_not_depend_on_names_dtype_or_layout() -> None:
    labels, clusters = np.array([0, 0, 1, 1, 2]), np.array([1, 1, 0, 2, 2])
    expected = reference.rand_index(labels, clusters)
    renamed = torch.tensor([9, 9, -4, -4, 10**12])
    assert rand_index(renamed, clusters.astype(np.uint8)) == expected
    assert rand_index(labels.astype(">i4"), np.repeat(clusters, 2)[::2]) == expected
    assert rand_index(labels.astype(np.uint64) + np.uint64(2**64 - 3), clusters.tolist()) == expected
    assert rand_index(np.array([-(2**63), 2**63 - 1]), np.array([True, False])) == 1.0


def hashed(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels as a hash of themselves: one to one, spread over all of int64."""
    return (values.astype(np.uint64) * np.uint64(0xD1342543DE82EF95) ^ np.uint64(1 << 63)).view(np.int64)


@pytest.mark.parametrize("distinct", [3, 3000])
def test_hashes_count_as_their_labels(distinct: int) -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(distinct, size=6000)
    clusters = np.where(generator.random(6000) < 0.5, labels, generator.integers(distinct, size=6000))
    expected = adjusted_rand_score(labels, clusters)
    assert rand_index(hashed(labels), clusters) == pytest.approx(expected, abs=SKLEARN)
    assert rand_index(hashed(labels), hashed(clusters)) == rand_index(labels, clusters)


def test_keys_that_share_their_low_or_high_half() -> None:
    labels = np.concatenate([np.arange(3000) << 32, np.arange(3000)])
    assert rand_index(labels, hashed(labels)) == 1.0


def test_a_table_too_large_to_be_dense_is_counted_by_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    labels, clusters = generator.integers(700, size=2000), generator.integers(900, size=2000)
    dense = rand_index(labels, clusters)
    monkeypatch.setattr(cpu, "CELLS", 1)
    monkeypatch.setattr(cpu, "ROWS", 300)
    assert rand_index(labels, clusters) == dense


@pytest.mark.jit
def test_a_million_by_a_million_fits_into_memory() -> None:
    labels = np.random.default_rng(0).permutation(1_000_000)
    halves = labels // 2
    # 500,000 pairs share a cluster, none a class: the index is exactly 0.
    assert rand_index(labels, halves) == 0.0
    assert rand_index(halves, hashed(halves)) == 1.0


@pytest.mark.jit
def test_counts_do_not_overflow() -> None:
    half = 5_000_000
    labels = np.repeat(np.array([0, 1], np.uint8), half)
    assert rand_index(labels, 1 - labels) == 1.0


def test_pair_counts_of_a_billion_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of 10**9 samples in a 2 x 2 table, by way of the table alone."""
    table = np.array([[400_000_000, 100_000_000], [150_000_000, 350_000_000]])

    def fill(_rows: object, _low: object, _columns: object, _low2: object, out: NDArray[np.int64]) -> None:
        out += table

    monkeypatch.setattr(cpu, "_contingency", fill)
    both, same_class, same_cluster = cpu.pair_counts(np.array([0, 1]), np.array([0, 1]))
    assert both == reference.pairs(table)
    assert same_class == reference.pairs(table.sum(1))
    assert same_cluster == reference.pairs(table.sum(0))


def test_refuses_what_it_cannot_read() -> None:
    with pytest.raises(TypeError, match="clusters must hold integers, not float64"):
        rand_index(np.array([0, 1]), np.array([0.0, 1.0]))
    with pytest.raises(TypeError, match=r"labels must hold integers, not torch\.float32"):
        rand_index(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match=r"labels must have shape \(n,\) with n >= 1, not \(0,\)"):
        rand_index(np.array([], dtype=int), np.array([0]))
    with pytest.raises(ValueError, match=r"clusters must have shape \(n,\) with n >= 1, not \(2, 1\)"):
        rand_index(np.array([0, 1]), np.array([[0], [1]]))
    with pytest.raises(ValueError, match="2 labels but 3 clusters"):
        rand_index(np.array([0, 1]), np.array([0, 1, 1]))
    with pytest.raises(ValueError, match="labels has 3000000001 samples"):
        rand_index(torch.zeros(1, dtype=torch.int64).expand(3_000_000_001), torch.zeros(1, dtype=torch.int64))
