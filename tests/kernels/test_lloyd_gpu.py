"""The Triton twins of k-means and of the Rand index: through the interpreter, and on a device where there is one."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hitl_kernels.lloyd import kmeans, kmeans_plusplus, lloyd, plusplus
from hitl_kernels.lloyd.rows import Rows
from hitl_kernels.rand_index import rand_index
from hitl_kernels.rand_index import reference as rand_reference
from test_lloyd import blobs, noise

# Labels, iterations and the order of relocation are equal; of centroids and inertia, relative to the CPU's:
CENTROIDS, INERTIA = 2e-5, 1e-5


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs programs one after the other."""
    from hitl_kernels.lloyd import gpu

    monkeypatch.setattr(gpu, "PROGRAMS", 8)


def run(x: np.ndarray, starts: np.ndarray, max_iter: int = 4, tol: float = 1e-4) -> None:
    """gpu.py on CPU tensors, by way of the interpreter, against cpu.py."""
    from hitl_kernels.lloyd import gpu

    rows = gpu.Rows(torch.from_numpy(x))
    result = gpu.lloyd(rows, starts - rows.mean, max_iter, tol)
    expected = lloyd(x, starts, max_iter, tol)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_allclose(result.centroids + rows.mean, expected.centroids, rtol=0, atol=CENTROIDS)
    assert result.iterations == expected.iterations
    assert result.inertia == pytest.approx(expected.inertia, rel=INERTIA, abs=1e-6)


@pytest.mark.interpreter
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [(1, 1, 1), (2, 1, 2), (5, 3, 5), (131, 17, 13), (150, 65, 17), (140, 130, 3)],
)
@pytest.mark.parametrize("data", [blobs, noise])
def test_interpreted(n: int, d: int, k: int, data: type) -> None:
    run(*data(n, d, k))


@pytest.mark.interpreter
def test_interpreted_with_more_clusters_than_a_step_takes() -> None:
    x, _ = blobs(200, 9, 66)
    run(x, x[:66], max_iter=2)


@pytest.mark.interpreter
@pytest.mark.parametrize(("max_iter", "tol"), [(1, 1e-4), (300, 0.0), (300, 1e9)])
def test_interpreted_stops_alike(max_iter: int, tol: float) -> None:
    run(*noise(150, 4, 5), max_iter, tol)


@pytest.mark.interpreter
def test_interpreted_empty_clusters() -> None:
    x, _ = blobs(100, 3, 4)
    run(x, np.concatenate([x[:2], np.full((1, 3), 1000, np.float32)]))
    few = np.array([[0.0], [0.0], [3.0], [3.0], [3.0]], np.float32)
    for starts in ([[0.0], [3.0], [7.0]], [[7.0], [0.0], [3.0]]):
        run(few, np.array(starts, np.float32))


@pytest.mark.interpreter
def test_interpreted_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.lloyd import gpu

    monkeypatch.setattr(gpu, "CHUNK", 200)  # of 40 rows
    run(*blobs(150, 5, 3))


def on_gpu_backend(x: torch.Tensor) -> tuple[object, object]:
    from hitl_kernels.lloyd import gpu

    return gpu, gpu.Rows(x)


def test_draws_the_rows_that_the_cpu_draws() -> None:
    """k-means++ has no kernel of its own: torch computes distances, which the CPU can do as well."""
    x, _ = blobs(300, 4, 6, spread=1.0)
    backend, rows = on_gpu_backend(torch.from_numpy(x))
    state, ours = np.random.RandomState(0), np.random.RandomState(0)
    for drawn in plusplus.kmeans_plusplus(backend, rows, 6, 3, state):
        np.testing.assert_allclose(drawn + rows.mean, kmeans_plusplus(x, 6, ours), rtol=0, atol=1e-6)
    assert rows.variance == pytest.approx(Rows(x, stream=False).variance, rel=1e-6)


class Launch:
    """A kernel's definition in torch, launched like the kernel: what is around it runs without the interpreter."""

    def __init__(self, definition: Callable[..., None]) -> None:
        self.definition = definition

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        def launch(*arguments: object, **options: object) -> None:
            self.definition(*arguments)

        return launch


def assign(x: torch.Tensor, mean: torch.Tensor, c: torch.Tensor, norms: torch.Tensor, labels: torch.Tensor,
           *_: int) -> None:  # fmt: skip
    labels[:] = (norms - 2 * (x - mean) @ c.T).argmin(1)


def sums(x: torch.Tensor, order: torch.Tensor, start: torch.Tensor, out: torch.Tensor, *_: int) -> None:
    out[:] = 0
    for cluster, (first, last) in enumerate(pairwise(start.tolist())):
        out[cluster, 0] = x[order[first:last]].double().sum(0)


def contingency(rows: torch.Tensor, columns: torch.Tensor, table: torch.Tensor, *_: int) -> None:
    for row, column in zip(rows, columns, strict=True):
        table[0, row, column] += 1


def test_what_is_around_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.lloyd import gpu
    from hitl_kernels.rand_index import _adjusted
    from hitl_kernels.rand_index import gpu as rand_gpu

    monkeypatch.setattr(gpu, "_assign", Launch(assign))
    monkeypatch.setattr(gpu, "_sums", Launch(sums))
    monkeypatch.setattr(rand_gpu, "_contingency", Launch(contingency))
    monkeypatch.setattr(gpu, "CHUNK", 200)
    run(*blobs(131, 17, 13), max_iter=300)
    run(*noise(150, 4, 5), max_iter=2)
    run(*noise(150, 4, 5), tol=1e9)
    x, _ = blobs(100, 3, 4)
    run(x, np.concatenate([x[:2], np.full((1, 3), 1000, np.float32)]))
    few = np.array([[0.0], [0.0], [3.0], [3.0], [3.0]], np.float32)
    for starts in ([[0.0], [3.0], [7.0]], [[7.0], [0.0], [3.0]]):
        run(few, np.array(starts, np.float32))
    x, _ = noise(90, 3, 5)
    best = plusplus.kmeans(*on_gpu_backend(torch.from_numpy(x)), 5, 6, np.random.RandomState(0), 300, 1e-4)
    np.testing.assert_array_equal(best.labels, kmeans(x, 5, 6, 0).labels)
    a, b = np.array([3, 3, 1, 1, 0]), np.array([0, 0, 1, 2, 2])
    counts = rand_gpu.pair_counts(torch.from_numpy(a), torch.from_numpy(b))
    assert _adjusted(*counts, 10) == rand_reference.rand_index(a, b)


def test_refuses_what_is_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.lloyd import gpu

    monkeypatch.setattr(gpu, "CHUNK", 60)  # of 20 rows
    x = torch.zeros(70, 3)
    x[66, 2] = torch.nan
    with pytest.raises(ValueError, match=r"x must be finite in float32, but x\[66, 2\] is nan"):
        on_gpu_backend(x)
    with pytest.raises(ValueError, match="x spreads too far for float32"):
        on_gpu_backend(torch.tensor([[1e20], [-1e20]]))


@pytest.mark.interpreter
@pytest.mark.parametrize(
    ("n", "classes", "clusters"), [(1, 1, 1), (97, 5, 3), (1500, 10, 7), (300, 200, 150)]
)
def test_interpreted_rand_index(n: int, classes: int, clusters: int) -> None:
    from hitl_kernels.rand_index import _adjusted, gpu

    generator = np.random.default_rng(n)
    a, b = generator.integers(classes, size=n) - 2, generator.integers(clusters, size=n)
    counts = gpu.pair_counts(torch.from_numpy(a), torch.from_numpy(b.astype(np.uint8)))
    assert _adjusted(*counts, n * (n - 1) // 2) == rand_reference.rand_index(a, b)


def test_rand_index_of_hashes_counts_pairs_by_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.rand_index import _adjusted, gpu

    monkeypatch.setattr(gpu, "CELLS", 1)
    generator = np.random.default_rng(0)
    a, b = generator.integers(-(2**63), 2**63 - 1, size=(2, 40))
    a, b = a[generator.integers(40, size=300)], b[generator.integers(40, size=300)]
    counts = gpu.pair_counts(torch.from_numpy(a.view(np.uint64)), torch.from_numpy(b))
    assert _adjusted(*counts, 300 * 299 // 2) == rand_reference.rand_index(a, b)


@pytest.mark.gpu
@pytest.mark.parametrize(("n", "d", "k"), [(5, 3, 5), (5000, 64, 10), (3000, 8192, 7), (20_000, 100, 100)])
def test_device(n: int, d: int, k: int) -> None:
    x, starts = blobs(n, d, k)
    result = lloyd(torch.from_numpy(x).cuda(), torch.from_numpy(starts).cuda())
    expected = lloyd(x, starts)
    np.testing.assert_array_equal(result.labels.cpu(), expected.labels)
    np.testing.assert_allclose(result.centroids.cpu(), expected.centroids, rtol=0, atol=CENTROIDS)
    assert result.labels.is_cuda
    assert result.iterations == expected.iterations
    assert result.inertia == pytest.approx(expected.inertia, rel=INERTIA)


@pytest.mark.gpu
def test_device_gives_the_same_bits_twice() -> None:
    x = torch.randn(50_000, 96, generator=torch.Generator().manual_seed(0)).cuda()
    first, second = (lloyd(x, x[:50], 20, 0.0) for _ in range(2))
    assert torch.equal(first.centroids, second.centroids)
    assert torch.equal(first.labels, second.labels)


@pytest.mark.gpu
def test_device_kmeans_and_rand_index() -> None:
    x, _ = blobs(4000, 32, 10)
    result, expected = kmeans(torch.from_numpy(x).cuda(), 10, 3, 0), kmeans(x, 10, 3, 0)
    np.testing.assert_array_equal(result.labels.cpu(), expected.labels)
    clusters = torch.from_numpy(expected.labels).cuda()
    assert rand_index(result.labels, clusters) == 1.0
    labels = torch.randint(5, (4000,), generator=torch.Generator().manual_seed(0))
    assert rand_index(labels.cuda(), clusters) == rand_index(labels, expected.labels)
