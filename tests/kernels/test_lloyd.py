"""k-means against its definition, against scikit-learn, and at its edges."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hitl_kernels.lloyd import (
    KMeansResult,
    cpu,
    kmeans,
    kmeans_plusplus,
    lloyd,
    nearest,
    plusplus,
    products,
    reference,
)
from hitl_kernels.lloyd import rows as rows_module
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

# Labels are equal. Inertia, relative, against the definition in float64 and scikit-learn's float32 sum.
CENTROIDS = {"rtol": 0, "atol": 2e-6}
INERTIA, INERTIA_SKLEARN = 1e-6, 2e-6

Float32 = NDArray[np.float32]


def blobs(n: int, d: int, k: int, spread: float = 0.3, seed: int = 0) -> tuple[Float32, Float32]:
    """Rows about k centres away from the origin, and k other rows to start from."""
    generator = np.random.default_rng(seed)
    centres = generator.standard_normal((k, d)) + 3
    x = centres[generator.integers(k, size=n)] + spread * generator.standard_normal((n, d))
    starts = x[generator.permutation(n)[:k]] + 0.1 * generator.standard_normal((k, d))
    return x.astype(np.float32), starts.astype(np.float32)


def noise(n: int, d: int, k: int, seed: int = 0) -> tuple[Float32, Float32]:
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal((n, d)).astype(np.float32),
        generator.standard_normal((k, d)).astype(np.float32),
    )


def assert_equals_the_definition(x: Float32, starts: Float32, max_iter: int = 300, tol: float = 1e-4) -> None:
    result = lloyd(x, starts, max_iter, tol)
    labels, centroids, iterations, inertia = reference.lloyd(
        x.astype(np.float64), starts.astype(np.float64), max_iter, tol
    )
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_allclose(result.centroids, centroids, **CENTROIDS)
    assert result.iterations == iterations
    assert result.inertia == pytest.approx(inertia, rel=INERTIA, abs=1e-9)


SHAPES = [
    (1, 1, 1),
    (2, 1, 2),
    (3, 5, 1),
    (4, 4, 4),
    (5, 3, 5),
    (61, 7, 3),
    (97, 1, 4),
    (131, 17, 13),
    (300, 33, 5),
]


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("data", [blobs, noise])
def test_equals_the_definition(n: int, d: int, k: int, data: type) -> None:
    assert_equals_the_definition(*data(n, d, k))


@pytest.mark.parametrize(("max_iter", "tol"), [(1, 1e-4), (2, 0.0), (300, 0.0), (300, 0.05), (300, 1e9)])
def test_stops_as_the_definition_does(max_iter: int, tol: float) -> None:
    assert_equals_the_definition(*noise(200, 4, 5), max_iter, tol)


@pytest.mark.parametrize("settled", [0.0, 0.01, 0.1, 0.99])
def test_stops_when_labels_have_settled(settled: float) -> None:
    x, starts = noise(300, 4, 7)
    result = lloyd(x, starts, 300, 0.0, settled)
    labels, centroids, iterations, _ = reference.lloyd(
        x.astype(np.float64), starts.astype(np.float64), 300, 0.0, settled
    )
    assert result.iterations == iterations
    np.testing.assert_array_equal(result.labels, labels)
    np.testing.assert_allclose(result.centroids, centroids, **CENTROIDS)
    assert iterations <= lloyd(x, starts, 300, 0.0).iterations
    with pytest.raises(ValueError, match=r"settled .* not 1"):
        lloyd(x, starts, settled=1.0)


def test_running_sums_of_many_rows_are_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Float32 sums of 2e7 distances of one size stand still before the end: the last rows are never drawn."""
    generator = np.random.default_rng(0)
    closest = generator.random(1000, dtype=np.float32)
    closest[:3] = 0  # a row at distance 0 is never drawn
    drawn = np.concatenate([generator.random(200), [1e-9, 1.0, 1.5]]) * closest.sum(dtype=np.float64)
    expected = np.searchsorted(np.cumsum(closest, dtype=np.float64), drawn)
    monkeypatch.setattr(plusplus, "FLOAT32_SUMS", 64)
    found = plusplus._located(closest, drawn).clip(max=999)
    np.testing.assert_array_equal(found, expected.clip(max=999))
    assert found.min() >= 3


def fitted(x: Float32, init: Float32 | str, n_init: int = 1, k: int = 0, **kwargs: float) -> KMeans:
    return KMeans(k or len(init), init=init, n_init=n_init, random_state=0, **kwargs).fit(x)


def assert_equals_sklearn(result: KMeansResult[Float32], expected: KMeans) -> None:
    np.testing.assert_array_equal(result.labels, expected.labels_)
    assert result.labels.dtype == np.int32
    np.testing.assert_allclose(result.centroids, expected.cluster_centers_, rtol=0, atol=1e-5)
    assert result.iterations == expected.n_iter_
    assert result.inertia == pytest.approx(float(expected.inertia_), rel=INERTIA_SKLEARN, abs=1e-9)


@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
@pytest.mark.parametrize("data", [blobs, noise])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equals_sklearn(n: int, d: int, k: int, data: type) -> None:
    x, starts = data(n, d, k)
    assert_equals_sklearn(lloyd(x, starts), fitted(x, starts))


@pytest.mark.jit
@pytest.mark.parametrize(
    ("n", "d", "k"), [(3000, 8192, 7), (5000, 64, 100), (20_000, 10, 3), (600, 20_000, 2)]
)
def test_equals_sklearn_on_wide_and_long_data(n: int, d: int, k: int) -> None:
    x, starts = blobs(n, d, k, spread=1.0)
    assert_equals_sklearn(lloyd(x, starts), fitted(x, starts))


# Every width of the last panel, two panels, more than a group of them; one, two and three pieces of columns.
TILES = [(k, 3) for k in (1, 8, 9, 16, 17, 24, 25, 40, 48, 49, 485)] + [(17, 512), (50, 513), (5, 1100)]


def assign(
    x: Float32, mean: Float32, centroids: Float32, labels: NDArray[np.int32], bounds: nearest.Bounds
) -> None:
    points = products.panels(centroids)
    moves = bounds.move_to(centroids, points[1])
    nearest.assign(x, mean, points, (labels, bounds.squares, bounds.gaps), moves)


def assigned(k: int, d: int, n: int = 131) -> None:
    """Rows beside known centroids find them."""
    generator = np.random.default_rng(k)
    centroids = generator.standard_normal((k, d)).astype(np.float32)
    mean = generator.standard_normal(d).astype(np.float32)
    own = generator.integers(k, size=n)
    x = (mean + centroids[own] + 0.001 * generator.standard_normal((n, d))).astype(np.float32)
    labels = np.full(n, -1, np.int32)
    rows = rows_module.Rows(x, stream=False)
    rows.mean = mean
    assign(x, mean, centroids, labels, nearest.Bounds(rows))
    np.testing.assert_array_equal(labels, own)


@pytest.mark.parametrize(("k", "d"), TILES)
def test_every_tile_finds_the_nearest_centroid(k: int, d: int) -> None:
    assigned(k, d)


@pytest.mark.parametrize(
    ("k", "d", "close"), [(1, 3, 1), (2, 1, 1), (3, 2, 0), (10, 5, 1), (49, 3, 1), (5, 520, 0)]
)
def test_rows_that_are_not_looked_at_keep_the_label_they_would_get(k: int, d: int, close: float) -> None:
    """Centroids that move little, much, toward each other and onto each other, and ties."""
    generator = np.random.default_rng(k)
    n, mean = 150, np.zeros(d, np.float32)
    centroids = generator.standard_normal((k, d)).astype(np.float32)
    x = np.concatenate([close * generator.standard_normal((n, d)), centroids[generator.integers(k, size=n)]])
    x = x.astype(np.float32)
    x[:9] = (centroids[:1] + centroids[-1:]) / 2  # as far from one as from the other
    rows = rows_module.Rows(x, stream=False)
    rows.mean = mean
    bounds, labels = nearest.Bounds(rows), np.full(2 * n, -1, np.int32)
    bounds.kept = True
    kept = 0
    for step in (0, 1e-7, 1e-4, 1e-4, 0.02, 0, 1e-3, 3, 1e-3, 100, 0.1, -1, 0):
        change = step * generator.standard_normal((k, d))
        centroids = (
            centroids[generator.integers(k, size=k)] if step < 0 else centroids + change.astype(np.float32)
        )
        assign(x, mean, centroids, labels, bounds)
        expected = np.full(2 * n, -1, np.int32)
        assign(x, mean, centroids, expected, nearest.Bounds(rows))
        np.testing.assert_array_equal(labels, expected)
        distances = np.sqrt(((x[:, None].astype(np.float64) - centroids) ** 2).sum(2))
        own = distances[np.arange(2 * n), labels]
        distances[np.arange(2 * n), labels] = np.inf
        assert (bounds.gaps <= distances.min(1) - own).all()
        kept += int((bounds.gaps > 0).sum())
    assert kept > 0


@pytest.mark.parametrize("far", [1e18, 6e18, 1e25])
def test_starts_whose_distances_leave_float32(far: float) -> None:
    x, starts = blobs(60, 3, 3)
    starts[2] = far
    assert_equals_the_definition(x, starts)


NARROW = """
import llvmlite.binding
features = llvmlite.binding.get_host_cpu_features()
features["avx512f"] = False
llvmlite.binding.get_host_cpu_features = lambda: features
from hitl_kernels.lloyd import tile
from test_lloyd import TILES, assigned
assert (tile.LANES, tile.ROWS) == (8, 4)
for k, d in TILES:
    assigned(k, d)
"""


@pytest.mark.jit
def test_tiles_for_narrow_registers_find_the_nearest_centroid(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
        "NUMBA_CACHE_DIR": str(tmp_path),  # the usual cache holds the tiles of this machine
    }
    subprocess.run([sys.executable, "-c", NARROW], check=True, env=environment)


def test_empty_clusters_get_the_farthest_rows() -> None:
    x, _ = blobs(150, 3, 4)
    starts = np.concatenate(
        [x[:2], np.full((4, 3), 1000, np.float32) + np.arange(4, dtype=np.float32)[:, None]]
    )
    result = lloyd(x, starts)
    assert set(result.labels) == set(range(6))
    assert_equals_sklearn(result, fitted(x, starts))
    assert_equals_the_definition(x, starts)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_more_clusters_than_distinct_rows(order: tuple[int, ...]) -> None:
    x = np.array([[0.0], [0.0], [3.0], [3.0], [3.0]], np.float32)
    starts = np.array([[0.0], [3.0], [7.0]], np.float32)[list(order)]
    assert_equals_sklearn(lloyd(x, starts), fitted(x, starts))
    same = np.ones((6, 2), np.float32)
    assert_equals_sklearn(lloyd(same, same[:3]), fitted(same, same[:3]))


def test_far_from_the_origin_distances_are_about_the_mean() -> None:
    x, starts = blobs(200, 5, 4)
    moved = lloyd(x + np.float32(4096), starts + np.float32(4096))
    np.testing.assert_array_equal(moved.labels, lloyd(x, starts).labels)


def digits() -> Float32:
    return load_digits().data.astype(np.float32)


@pytest.mark.jit
@pytest.mark.parametrize("n_init", [1, 10])
@pytest.mark.parametrize("k", [1, 2, 10, 33])
@pytest.mark.parametrize("data", ["digits", "blobs", "noise"])
def test_kmeans_reproduces_sklearn(data: str, k: int, n_init: int) -> None:
    x = {"digits": digits, "blobs": lambda: blobs(2000, 16, 10)[0], "noise": lambda: noise(3000, 20, 1)[0]}[
        data
    ]()
    expected = fitted(x, "k-means++", n_init=n_init, k=k)
    result = kmeans(x, k, n_init=n_init, random_state=0)
    np.testing.assert_array_equal(result.labels, expected.labels_)
    assert result.inertia == pytest.approx(float(expected.inertia_), rel=INERTIA_SKLEARN)
    # Restarts that find one partition in more or fewer iterations are not told apart by float32 inertia.
    assert abs(result.iterations - expected.n_iter_) <= 1


@pytest.mark.parametrize(("n", "d", "k"), [(1, 1, 1), (5, 2, 5), (150, 4, 6), (211, 3, 12)])
def test_kmeans_plusplus_draws_the_rows_of_the_definition(n: int, d: int, k: int) -> None:
    x, _ = blobs(n, d, k, spread=1.0)
    expected = reference.kmeans_plusplus(x.astype(np.float64), k, np.random.RandomState(3))
    np.testing.assert_allclose(kmeans_plusplus(x, k, 3), expected, **CENTROIDS)


def test_kmeans_of_a_small_set_reproduces_sklearn() -> None:
    x, _ = blobs(150, 4, 6, spread=1.0)
    expected = fitted(x, "k-means++", n_init=3, k=6)
    result = kmeans(x, 6, n_init=3)
    np.testing.assert_array_equal(result.labels, expected.labels_)
    assert result.inertia == pytest.approx(float(expected.inertia_), rel=INERTIA_SKLEARN)


@pytest.mark.parametrize("together", [1, 2, 7])
def test_starts_do_not_depend_on_how_many_are_drawn_together(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = blobs(150, 4, 6, spread=1.0)
    trials = 2 + int(np.log(6))
    monkeypatch.setattr(plusplus, "AT_HAND", together * trials * len(x))
    rows, state = rows_module.Rows(x, stream=False), np.random.RandomState(5)
    drawn = np.stack(list(plusplus.kmeans_plusplus(cpu, rows, 6, 7, np.random.RandomState(5))))
    np.testing.assert_array_equal(drawn + rows.mean, [kmeans_plusplus(x, 6, state) for _ in range(7)])


@pytest.mark.parametrize("d", [40, 300])  # below and above candidates.WIDE
def test_squared_distances_are_float64(d: int) -> None:
    x, starts = blobs(150, d, 6, spread=1.0)
    rows = rows_module.Rows(x, stream=False)
    centred = (x - rows.mean).astype(np.float64)
    expected = ((centred[None] - starts[:, None]) ** 2).sum(2).astype(np.float32)
    far = np.full((1, len(x)), np.inf, np.float32)
    np.testing.assert_array_equal(cpu.distances(rows, starts[None], far)[0], expected)
    # Two starts of three candidates each; what a row already has is kept where a candidate is no closer.
    near = np.stack([expected[:3].min(0), np.full(len(x), expected.mean(), np.float32)])
    found = cpu.distances(rows, starts.reshape(2, 3, d), near)
    np.testing.assert_array_equal(found, np.minimum(near[:, None], expected.reshape(2, 3, -1)))
    result = lloyd(x, starts)
    means = result.centroids - rows.mean
    inertia = ((centred - means.astype(np.float64)[result.labels]) ** 2).sum()
    assert result.inertia == pytest.approx(inertia, rel=1e-6)
    assert rows.variance == pytest.approx((centred**2).mean(), rel=1e-12)


def test_draws_from_the_state_given_and_no_other() -> None:
    x, _ = blobs(60, 3, 4)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    state = np.random.RandomState(5)
    first, second = kmeans_plusplus(x, 4, state), kmeans_plusplus(x, 4, state)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, kmeans_plusplus(x, 4, 5))
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_tensors_give_tensors(dtype: torch.dtype) -> None:
    x, starts = blobs(90, 5, 3)
    tensor = torch.from_numpy(x).to(dtype)
    result = lloyd(tensor, torch.from_numpy(starts).to(dtype))
    expected = lloyd(tensor.float().numpy(), torch.from_numpy(starts).to(dtype).float().numpy())
    assert result.labels.dtype == torch.int64
    assert result.centroids.dtype == torch.float32
    np.testing.assert_array_equal(result.labels.numpy(), expected.labels)
    np.testing.assert_array_equal(result.centroids.numpy(), expected.centroids)
    assert torch.equal(
        kmeans_plusplus(tensor, 3, 0), torch.from_numpy(kmeans_plusplus(tensor.float().numpy(), 3, 0))
    )


def test_layout_does_not_matter_and_arguments_stay_as_they_are() -> None:
    x, starts = blobs(90, 6, 3)
    before = x.copy(), starts.copy()
    expected = lloyd(x, starts)
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(starts, before[1])
    strided = np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3]
    for other in (np.asfortranarray(x), strided, x.astype(np.float64), x.astype(">f4")):
        result = lloyd(other, np.asfortranarray(starts))
        np.testing.assert_array_equal(result.labels, expected.labels)
        np.testing.assert_array_equal(result.centroids, expected.centroids)
    expanded = torch.ones(1, 4).expand(7, 4)
    assert lloyd(expanded, torch.ones(1, 4).requires_grad_()).inertia == 0.0


class Slices:
    """The least that is asked of a source: a shape, a dtype, slices of rows."""

    def __init__(self, rows: NDArray[np.floating]) -> None:
        self.shape, self.dtype, self.rows = rows.shape, rows.dtype, rows
        self.longest = 0

    def __getitem__(self, rows: slice) -> NDArray[np.floating]:
        part = self.rows[rows]
        self.longest = max(self.longest, len(part))
        return part


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_gives_the_same_bits_as_memory(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "CHUNK", 1)  # chunks of 256 rows
    x, starts = blobs(700, 5, 4, spread=1.0)
    starts[3] = 1000  # relocated
    file = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    file[:] = x
    file.flush()
    mapped = np.memmap(tmp_path / "x", np.float32, mode, shape=x.shape)
    if mode != "r":
        mapped[650] = x[650] = 7  # written to the map: not lost when pages are given back
    source = Slices(x)
    expected = lloyd(x, starts)
    for result in (lloyd(mapped, starts), lloyd(source, starts), lloyd(mapped[:], starts)):
        np.testing.assert_array_equal(result.labels, expected.labels)
        np.testing.assert_array_equal(result.centroids, expected.centroids)
        assert (result.iterations, result.inertia) == (expected.iterations, expected.inertia)
    assert source.longest == 256
    computed = mapped.copy()  # still called a memmap, though no file is behind it
    np.testing.assert_array_equal(lloyd(computed, starts).labels, expected.labels)
    np.testing.assert_array_equal(kmeans_plusplus(mapped, 4, 0), kmeans_plusplus(x, 4, 0))
    np.testing.assert_array_equal(mapped, x)
    part = np.memmap(tmp_path / "x", np.float32, mode, shape=x.shape)[5::2, 1:]
    np.testing.assert_array_equal(
        lloyd(part, starts[:, 1:]).labels, lloyd(np.array(part), starts[:, 1:]).labels
    )


PEAK = """
import sys, numpy as np
from hitl_kernels.lloyd import kmeans

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))

def rows(n):
    return np.memmap(sys.argv[1], np.float32, "r", shape=(n, 512))

kmeans(rows(50_000), 4, max_iter=2)  # compiles, for as many threads
before = peak()
result = kmeans(rows(100_000), 4, max_iter=3)
print(len(set(result.labels)), peak() - before)
"""


@pytest.mark.jit
def test_peak_memory_does_not_grow_with_a_file(tmp_path: Path) -> None:
    """205 MB of rows: whoever clusters them grows by labels and distances, not by the pages read."""
    path = tmp_path / "x"
    file = np.memmap(path, np.float32, "w+", shape=(100_000, 512))
    generator = np.random.default_rng(0)
    for start in range(0, 100_000, 10_000):
        file[start : start + 10_000] = generator.standard_normal((10_000, 512), dtype=np.float32)
    file.flush()
    run = subprocess.run(
        [sys.executable, "-c", PEAK, str(path)],
        capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    clusters, kilobytes = map(int, run.stdout.split())
    assert clusters == 4
    assert kilobytes < 20_000


THREADS = """
import sys, numba, numpy as np
from hitl_kernels import policy
from hitl_kernels.lloyd import kmeans, lloyd
policy.WORK_PER_THREAD = 1  # small work too runs on all threads
numba.set_num_threads(int(sys.argv[1]))
x = np.random.default_rng(0).standard_normal((9001, 300), dtype=np.float32) + 2
for result in (lloyd(x, x[:37], 20, 0.0), kmeans(x[:3000, :7], 5, n_init=4), kmeans(x[:1000], 9, max_iter=3)):
    print(result.labels.tobytes().hex()[-64:], result.centroids.tobytes().hex(), result.inertia.hex())
"""


@pytest.mark.jit
def test_the_same_bits_for_any_number_of_threads() -> None:
    def output(threads: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", THREADS, str(threads)],
            capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_NUM_THREADS": "3"},
        ).stdout  # fmt: skip

    one = output(1)
    assert len(one.split()) == 9
    assert output(2) == one
    assert output(3) == one


def test_refuses_rows_that_are_not_finite() -> None:
    x, starts = blobs(600, 3, 2)
    x[517, 1] = np.nan
    x[518, 0] = np.inf
    with pytest.raises(ValueError, match=r"x must be finite in float32, but x\[517, 1\] is nan"):
        lloyd(x, starts)
    with pytest.raises(ValueError, match=r"x must be finite in float32, but x\[517, 1\] is nan"):
        kmeans(torch.from_numpy(x), 2)
    wide = blobs(9, 3, 2)[0].astype(np.float64)
    wide[4, 2] = 1e300
    with pytest.raises(ValueError, match=r"x\[4, 2\] is inf"):
        lloyd(wide, starts)


@pytest.mark.jit  # NumPy's scalars would warn of the overflow first
def test_refuses_rows_whose_distances_would_overflow() -> None:
    with pytest.raises(ValueError, match="the sum of a column overflows"):
        lloyd(np.full((4, 1), 2e38, np.float32), np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="x spreads too far for float32"):
        lloyd(np.array([[1e20], [-1e20]], np.float32), np.zeros((1, 1), np.float32))


def test_refuses_what_does_not_fit() -> None:
    x, starts = blobs(6, 3, 2)
    with pytest.raises(TypeError, match="x must hold floats, not int64"):
        lloyd(np.zeros((3, 2), np.int64), starts)
    with pytest.raises(TypeError, match=r"centroids must hold floats, not torch\.int64"):
        lloyd(x, torch.zeros(2, 3, dtype=torch.int64))
    with pytest.raises(TypeError, match="x must be an array or a tensor, not list"):
        lloyd(x.tolist(), starts)
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) with N, D >= 1, not \(6,\)"):
        lloyd(x[:, 0], starts)
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) with N, D >= 1, not \(0, 3\)"):
        kmeans(x[:0], 1)
    with pytest.raises(
        ValueError, match=r"centroids must have shape \(K, 3\) like the rows of x, not \(2, 2\)"
    ):
        lloyd(x, starts[:, :2])
    with pytest.raises(ValueError, match="centroids must be from 1 to the number of rows, 6, not 7"):
        lloyd(x, np.zeros((7, 3), np.float32))
    starts[1, 2] = np.inf
    with pytest.raises(
        ValueError, match=r"centroids must be finite in float32, but centroids\[1, 2\] is inf"
    ):
        lloyd(x, starts)
    with pytest.raises(ValueError, match="max_iter must be at least 1, not 0"):
        lloyd(x, x[:2], max_iter=0)
    with pytest.raises(ValueError, match=r"tol must be at least 0, not -0\.1"):
        lloyd(x, x[:2], tol=-0.1)
    with pytest.raises(ValueError, match="tol must be at least 0, not nan"):
        kmeans(x, 2, tol=float("nan"))
    with pytest.raises(ValueError, match="n_clusters must be from 1 to the number of rows, 6, not 7"):
        kmeans_plusplus(x, 7, 0)
    with pytest.raises(ValueError, match="n_init must be at least 1, not 0"):
        kmeans(x, 2, n_init=0)
