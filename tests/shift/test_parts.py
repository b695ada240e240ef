"""Batches that several workers send through the model give the report of one process, or an error that says where."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ranks_at_work import CLASSES, data, model, summary
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast.shift.parts import Request, Worker, of_parts

Batch = dict[str, Any]
BATCH = 16


def batches(values: Tensor, labels: Tensor, size: int = BATCH) -> list[Batch]:
    return [
        {"x": x, "label": y} for x, y in zip(values.split(size), labels.split(size), strict=True) if len(x)
    ]


def parts(
    clean: list[Batch],
    shifted: list[Batch],
    request: Request,
    workers: int = 2,
    made: Callable[[], nn.Module] = model,
) -> Iterator[bytes]:
    """Batches dealt to workers by turns, as an idle actor takes the next."""
    team = [Worker(made, request) for _ in range(workers)]
    first = 0
    for number, pair in enumerate(zip(clean, shifted, strict=True)):
        yield team[number % workers].part(*pair, first)
        first += len(pair[0]["label"])


def both(
    clean: list[Batch], shifted: list[Batch], workers: int = 2, made: Any = model, **options: Any
) -> list[Any]:
    """Summaries of one process and of the workers."""
    options = {"inputs": "x", "effort_samples": 64, **options}
    one = hf.preindex(made(), clean, shifted, progress=False, **options)
    request = Request.of(options)
    put = of_parts(
        made(), parts(clean, shifted, request, workers, made), request, f"{workers} workers", progress=False
    )
    assert put.mode.startswith("cpu, ")
    assert f", {workers} workers" in put.mode
    assert ("in a file" in one.mode) == ("in a file" in put.mode) == ("max_memory" in options)
    assert put.seconds.keys() == one.seconds.keys()
    return [summary(one), summary(put)]


def assert_equal(expected: dict[str, Any], got: dict[str, Any]) -> None:
    assert got["exact"] == expected["exact"]
    assert got["close"] == pytest.approx(expected["close"], rel=1e-8, abs=1e-12)


def normed() -> nn.Module:
    """In place, with statistics that a pass in training would change."""
    torch.manual_seed(2)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, CLASSES)
    )


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "a worker without batches": {"workers": 13},
    "reference": {"arithmetic": "reference", "pooling": "flatten"},
    "half": {"embedding_dtype": "float16"},
    "embedding": {"embedding": "3"},
    "no effort": {"effort_samples": 0},
    "all effort": {"effort_samples": 180},
    "effort within a batch": {"effort_samples": 21},
    "in place": {"made": normed},
    "some": {"embedding_samples": 100},
}


@pytest.mark.jit
@pytest.mark.parametrize(
    ("kind", "of"),
    [*((kind, "nan") for kind in KINDS), ("plain", ""), ("plain", "sorted"), ("plain", "same")],
)
def test_as_one_process(kind: str, of: str) -> None:
    clean, shifted, labels = data(of)
    shifted = clean if of == "same" else shifted
    if of == "nan":
        with pytest.warns(UserWarning, match="the first is sample 171"):
            found = both(batches(clean, labels), batches(shifted, labels), **KINDS[kind])
    else:
        found = both(batches(clean, labels), batches(shifted, labels), **KINDS[kind])
    assert_equal(*found)


@pytest.mark.jit
@settings(max_examples=4, deadline=None)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=8), st.integers(1, 4), st.integers(0, 200))
def test_batches_of_any_size_and_any_number_of_workers(sizes: list[int], workers: int, effort: int) -> None:
    clean, shifted, labels = (side[: sum(sizes)] for side in data())
    sizes = [len(part) for part in labels.split(sizes[0])] if sum(sizes) > len(labels) else sizes
    sides = [
        [{"x": x, "label": y} for x, y in zip(values.split(sizes), labels.split(sizes), strict=True)]
        for values in (clean, shifted)
    ]
    one, put = both(*sides, workers=workers, effort_samples=effort)
    assert put["exact"]["samples"] == len(labels)
    assert put["exact"]["accuracy"] == one["exact"]["accuracy"]
    assert put["exact"]["effort"][3] == one["exact"]["effort"][3]
    # Workers see other batches alone than one process does, and join others: the model's own rounding.
    assert put["close"] == pytest.approx(one["close"], rel=1e-4, abs=1e-6)


@pytest.mark.jit
def test_embeddings_beyond_the_memory_go_to_a_file() -> None:
    clean, shifted, labels = data()
    assert_equal(*both(batches(clean, labels), batches(shifted, labels), max_memory=0))


def put(
    clean: list[Batch], shifted: list[Batch], made: Any = model, driver: Any = model, **options: Any
) -> Any:
    request = Request.of({"inputs": "x", "effort_samples": 8, **options})
    return of_parts(driver(), parts(clean, shifted, request, made=made), request, "2 workers", progress=False)


@pytest.mark.parametrize("at", [0, 15, 16, 100, 179])
def test_labels_that_differ_are_named_by_their_place_among_all(at: int) -> None:
    clean, shifted, labels = data()
    other = labels.clone()
    other[at] = (other[at] + 1) % CLASSES
    with pytest.raises(InputError, match=rf"sample {at}\b"):
        put(batches(clean, labels), batches(shifted, other))


def test_weights_that_differ_are_named() -> None:
    clean, shifted, labels = data()
    sides = batches(clean, labels), batches(shifted, labels)

    def other() -> nn.Module:
        made = model()
        with torch.no_grad():
            made[3].weight[0, 0] += 1  # type: ignore[index, operator, union-attr]
        return made

    calls = iter([model, other])
    with pytest.raises(InputError, match=r"sample 16 at '3\.weight'.*seed"):
        put(*sides, made=lambda: next(calls)())


def test_another_embedding_on_one_worker_is_refused() -> None:
    """Where logits are equal to what another layer made in one batch only."""

    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 4)
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            made = self.body(x)
            return self.a(made) if x.mean() < 1 else self.b(made)

    def made() -> nn.Module:
        torch.manual_seed(0)
        return Branch()

    x = torch.rand(32, 3)
    x[16:] += 5
    labels = torch.arange(32) % 2
    sides = batches(x, labels), batches(x + 0.1, labels)
    with pytest.raises(
        InputError, match=r"differs between actors.*input of a.*sample 0.*input of b.*sample 16"
    ):
        put(*sides, made=made, driver=made)


def test_batches_in_another_order_are_refused() -> None:
    clean, shifted, labels = data()
    request = Request.of({"inputs": "x", "effort_samples": 8})
    held = list(parts(batches(clean, labels), batches(shifted, labels), request))
    with pytest.raises(RuntimeError, match="sample 32 .*sample 16"):
        of_parts(model(), [held[0], held[2], held[1]], request, "2 workers", progress=False)
    with pytest.raises(RuntimeError, match="sample 16"):  # a batch twice
        of_parts(model(), [held[0], held[0]], request, "2 workers", progress=False)


@pytest.mark.jit
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_workers_may_see_batches_in_any_order(kind: str, workers: int) -> None:
    """Which batch an idle worker takes next is chance."""
    options = {"inputs": "x", "effort_samples": 64, **KINDS[kind]}
    made, _ = options.pop("made", model), options.pop("workers", None)
    clean, shifted, labels = data()
    sides = batches(clean, labels), batches(shifted, labels)
    expected = summary(hf.preindex(made(), *sides, progress=False, **options))
    request = Request.of(options)
    generator = np.random.default_rng(workers)
    for order in (list(range(len(sides[0])))[::-1], generator.permutation(len(sides[0])).tolist()):
        team = [Worker(made, request) for _ in range(workers)]
        seen = {
            number: team[generator.integers(workers)].part(sides[0][number], sides[1][number], BATCH * number)
            for number in order
        }
        got = of_parts(made(), [seen[number] for number in sorted(seen)], request, "workers", progress=False)
        assert_equal(expected, summary(got))


def test_what_a_model_raises_is_raised_by_the_worker() -> None:
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model()

        def forward(self, x: Tensor) -> Tensor:
            raise KeyError("disk")

    clean, shifted, labels = data()
    with pytest.raises(RuntimeError, match="a batch of clean .from sample 0.*KeyError: 'disk'") as caught:
        put(batches(clean, labels), batches(shifted, labels), made=Broken)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"group": "world"}, InputTypeError, "group is not for pairs in parts"),
        ({"paired": False}, InputTypeError, "paired is not"),
        ({"lable": "y"}, InputTypeError, "lable is no argument.*labels"),
        ({"bins": (1,)}, InputError, "bins"),
        ({"measure": "cosine"}, InputError, "measure"),
        ({"effort_samples": -1}, InputError, "effort_samples"),
        ({"embedding_dtype": "bfloat16"}, InputError, "embedding_dtype"),
        ({"max_memory": -1}, InputError, "max_memory"),
    ],
)
def test_options_are_checked_before_anything_runs(
    arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        Request.of(arguments)


def test_a_model_on_a_device_that_is_not_there() -> None:
    clean, shifted, labels = data()
    with pytest.raises(InputError, match="device"):
        put(batches(clean, labels), batches(shifted, labels), device="cuda:99")


def test_the_driver_keeps_its_state() -> None:
    clean, shifted, labels = data()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    made = model()
    after_model = torch.get_rng_state()
    made.train()
    put(batches(clean, labels), batches(shifted, labels), driver=lambda: made)
    assert made.training
    assert not any(module._forward_hooks for module in made.modules())
    assert torch.equal(torch.get_rng_state(), after_model)
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]  # noqa: NPY002
