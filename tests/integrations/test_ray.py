"""``preindex_ray`` on a Ray of two CPUs: the report of one process; what is refused, and how."""

import gc
import inspect
import os
import sys
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast._common.errors import InputError, InputTypeError, MissingExtraError
from hitl_fast.integrations import preindex_ray
from hitl_fast.integrations.ray import _cuts, _results

TESTS = Path(__file__).parents[1]
ROWS, WIDTH, CLASSES, BATCH = 203, 8, 3, 32
pytestmark = [
    pytest.mark.jit,  # whole processes: the compiled pass is enough
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),  # of its own settings
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # pipes and logs of its processes
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "amdsmi", None)  # as in tests/without_amdsmi, in this process
        patch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS / "without_amdsmi"), *sys.path]))
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else a token is left in the home folder
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=200 * 2**20, log_to_driver=False)
        yield ray
        ray.shutdown()
        gc.collect()  # what Ray leaves behind warns here, where that is ignored, and not in another file


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(WIDTH, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, CLASSES)
    )


class Broken(nn.Module):
    """Fails on a batch in the middle."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = model()

    def forward(self, x: Tensor) -> Any:
        if bool((x == 1e6).any()):
            raise OverflowError("a pixel of 1e6")
        return self.inner(x)


def only_in(process: int) -> nn.Module:
    if os.getpid() != process:
        raise OverflowError("not on this machine")
    return model()


def arrays(rows: int = ROWS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    labels = generator.integers(0, CLASSES, rows)
    clean = generator.standard_normal((rows, WIDTH), np.float32) + labels[:, None].astype(np.float32)
    return clean, clean + generator.standard_normal(clean.shape, np.float32), labels


def dataset(ray: Any, values: np.ndarray, labels: np.ndarray, cuts: list[int]) -> Any:
    """Blocks that end where ``cuts`` say; some may be empty."""
    from ray.data.extensions import ArrowTensorArray

    return ray.data.from_arrow(
        [
            pa.table({
                "x": ArrowTensorArray.from_numpy(x), "label": y, "path": [f"{i}.png" for i in range(len(y))]
            })
            for x, y in zip(np.split(values, cuts), np.split(labels, cuts), strict=True)
        ]
    )  # fmt: skip


def loader(values: np.ndarray, labels: np.ndarray) -> list[dict[str, Tensor]]:
    return [
        {"x": torch.from_numpy(values[i : i + BATCH]), "label": torch.from_numpy(labels[i : i + BATCH])}
        for i in range(0, len(labels), BATCH)
    ]


@pytest.mark.parametrize(("actors", "rows"), [(2, ROWS), (2, BATCH)])
def test_as_one_process(ray: Any, actors: int, rows: int) -> None:
    """Uneven and empty blocks; a single batch is one actor's."""
    clean, shifted, labels = arrays(rows)
    expected = hf.preindex(
        model(), loader(clean, labels), loader(shifted, labels), inputs="x", effort_samples=50, progress=False
    )
    cuts = [[3, 3, 20], [31]]
    got = preindex_ray(
        model, dataset(ray, clean, labels, cuts[0]), dataset(ray, shifted, labels, cuts[1]), batch_size=BATCH,
        actors=actors, inputs="x", effort_samples=50, progress=False,
    )  # fmt: skip
    assert got.mode.endswith("2 Ray actors" if rows > BATCH else "1 Ray actor")
    for name in ("samples", "classes", "accuracy", "left_out", "embedding", "skipped", "input_rms", "notes",
                 "effort_samples", "inverse_ari"):  # fmt: skip
        assert getattr(got, name) == getattr(expected, name), name
    assert list(got.layers) == list(expected.layers)
    for name, layer in got.layers.items():
        assert layer.histogram == expected.layers[name].histogram
        assert (layer.rows, layer.units) == (expected.layers[name].rows, expected.layers[name].units)
        for bins, values in layer.distances.items():
            assert values == pytest.approx(expected.layers[name].distances[bins], rel=1e-8)
    for name in ("index", "cka", "probe_error", "resque_angle", "effort_score", "confidence_drop"):
        assert getattr(got, name) == pytest.approx(getattr(expected, name), rel=1e-8), name


def test_an_error_in_an_actor_comes_with_its_cause(ray: Any) -> None:
    clean, shifted, labels = arrays(64)
    sides = dataset(ray, clean, labels, []), dataset(ray, shifted, labels, [])
    with pytest.raises(RuntimeError, match=r"actor.*OverflowError.*not on this machine") as caught:
        preindex_ray(partial(only_in, os.getpid()), *sides, batch_size=BATCH, inputs="x", progress=False)
    assert caught.value.__cause__ is not None
    shifted[40, 2] = 1e6
    sides = dataset(ray, clean, labels, []), dataset(ray, shifted, labels, [])
    with pytest.raises(RuntimeError, match=r"actor.*sample 32\b.*OverflowError.*a pixel of 1e6") as caught:
        preindex_ray(Broken, *sides, batch_size=BATCH, inputs="x", progress=False)
    assert caught.value.__cause__ is not None


def test_a_refused_batch_ends_the_actors(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left of their results is not read, nor left to the garbage collector."""
    clean, shifted, labels = arrays()
    other = labels.copy()
    other[40] = (other[40] + 1) % CLASSES
    sides = dataset(ray, clean, labels, []), dataset(ray, shifted, other, [])
    made = []

    def kept(of: Any) -> Generator[bytes, None, None]:
        made.append(_results(of))
        return made[-1]

    monkeypatch.setattr("hitl_fast.integrations.ray._results", kept)
    with pytest.raises(InputError, match=r"sample 40\b"):
        preindex_ray(model, *sides, batch_size=4, inputs="x", progress=False)
    assert [inspect.getgeneratorstate(one) for one in made] == [inspect.GEN_CLOSED]


def test_what_the_datasets_lack_is_named_before_an_actor_starts(ray: Any) -> None:
    clean, shifted, labels = arrays(64)
    whole, less = dataset(ray, clean, labels, [9]), dataset(ray, shifted[:50], labels[:50], [])
    with pytest.raises(InputError, match="clean_dataset has 64 rows but shifted_dataset 50"):
        preindex_ray(model, whole, less, inputs="x")
    for options, says in (
        ({"inputs": "y"}, "clean_dataset has no column 'y', which inputs= names; it has x, label, path"),
        ({"inputs": ["x", "z"]}, "no column 'z', which inputs="),
        ({"labels": "class"}, "no column 'class', which labels="),
        ({"mask": "mask"}, "no column 'mask', which mask="),
    ):
        with pytest.raises(InputError, match=says):
            preindex_ray(model, whole, whole, **options)
    with pytest.raises(InputError, match="shifted_dataset has no column with labels.*labels="):
        preindex_ray(model, whole, whole.drop_columns(["label"]), inputs="x")
    empty = ray.data.from_arrow(
        [pa.table({"x": pa.array([], pa.float32()), "label": pa.array([], pa.int64())})]
    )
    with pytest.raises(InputError, match="no rows"):
        preindex_ray(model, empty, empty, inputs="x")


def test_arguments_that_cannot_be_used(ray: Any) -> None:
    clean, _, labels = arrays(4)
    side = dataset(ray, clean, labels, [])
    for arguments, options, kind, says in (
        ((model(), side, side), {}, InputTypeError, "model_fn must be a function.*Sequential"),
        ((None, side, side), {}, InputTypeError, "model_fn must be a function.*NoneType"),
        ((dict, side, side), {}, InputTypeError, "model_fn must return a torch.nn.Module, not dict"),
        ((model, [clean], side), {}, InputTypeError, "clean_dataset must be a ray.data.Dataset, not list"),
        ((model, side, None), {}, InputTypeError, "shifted_dataset must be a ray.data.Dataset"),
        ((model, side, side), {"actors": 0}, InputError, "actors must be a whole number >= 1, not 0"),
        ((model, side, side), {"batch_size": 2.5}, InputError, "batch_size"),
        ((model, side, side), {"paired": False}, InputTypeError, "paired"),
        ((model, side, side), {"measure": "cosine"}, InputError, "measure"),
    ):
        with pytest.raises(kind, match=says):
            preindex_ray(*arguments, **options)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'ray'", name="ray")

    monkeypatch.setattr("hitl_fast._common.errors.importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(MissingExtraError, match=r"hitl-fast\[ray\]"):
        preindex_ray(model, None, None)


def test_a_broken_amdsmi_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> Any:
        assert "ray.half_imported" not in sys.modules
        sys.modules["ray.half_imported"] = ModuleType("ray.half_imported")
        raise KeyError("libamd_smi.so")

    monkeypatch.setattr("hitl_fast._common.errors.importlib", SimpleNamespace(import_module=broken))
    for _ in range(2):  # what was imported by half does not change the second answer
        with pytest.raises(MissingExtraError, match="amdsmi.*ROCm"):
            preindex_ray(model, None, None)


def test_cuts_cover_every_row_once() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        counts = generator.integers(1, 9, generator.integers(1, 9)).tolist()
        size = int(generator.integers(1, 12))
        cuts = list(_cuts(counts, size))
        rows = [(block, row) for cut in cuts for block, start, stop in cut for row in range(start, stop)]
        assert rows == [(block, row) for block, count in enumerate(counts) for row in range(count)]
        sizes = [sum(stop - start for _, start, stop in cut) for cut in cuts]
        assert all(found == size for found in sizes[:-1])
        assert 0 < sizes[-1] <= size
