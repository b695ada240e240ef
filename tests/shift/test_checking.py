"""Models whose shapes do not tell where samples stand, against samples that go through them one at a time."""

from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.shift_distances import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import hitl_fast as hf
from hitl_fast.shift.arrangement import Arrangement, arrangements, difference, magnitude

N, CLASSES = 12, 3
LABELS = torch.arange(N) % CLASSES


def seeded(make: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().double()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cut(x: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return list(zip(x.split(size), LABELS.split(size), strict=True))


def oracle(model: nn.Module, name: str, clean: Tensor, shifted: Tensor) -> float:
    """Mean Jensen-Shannon divergence of a layer with features last: each sample alone, pooled over the rest."""
    kept: list[np.ndarray] = []
    module = model.get_submodule(name)
    handle = module.register_forward_hook(
        lambda m, a, y: kept.append(y.detach().reshape(-1, y.shape[-1]).mean(0).numpy())
    )
    with torch.no_grad():
        for x in (*clean, *shifted):
            model.eval()(x.unsqueeze(0))
    handle.remove()
    rows = np.stack(kept).reshape(2, len(clean), -1)
    return float(reference.shift_distances(rows[0], rows[1], (32,))[0][:, 0, 0].mean())


class Views(nn.Module):
    """Two views of each sample, concatenated along the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(torch.cat([x, x.flip(1)])).relu()
        return self.head((hidden[: len(x)] + hidden[len(x) :]) / 2)


class Folded(nn.Module):
    """Time first inside, and folded into the batch, time or samples first."""

    def __init__(self, samples_first: bool) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 16), nn.Linear(16, CLASSES)
        self.samples_first = samples_first

    def forward(self, x: Tensor) -> Tensor:
        n, steps, width = x.shape
        if self.samples_first:
            return self.head(self.body(x.reshape(n * steps, width)).tanh().view(n, steps, 16).mean(1))
        hidden = self.body(x.transpose(0, 1).reshape(n * steps, width))
        return self.head(hidden.tanh().view(steps, n, 16).mean(0))


class Grouped(nn.Module):
    """A wrapper that repeats the width of the layer inside it, and one that is left out where nothing calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.body.out_features = 16  # type: ignore[assignment]
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.mark.parametrize(
    ("make", "layer", "shape"),
    [
        (Views, "body", (6,)),
        (lambda: Folded(True), "body", (5, 6)),
        (lambda: Folded(False), "body", (5, 6)),
        (lambda: Folded(False), "body", (4, 6)),  # as many steps as samples in some batches
        (Grouped, "body.0", (6,)),
    ],
)
def test_equal_to_samples_alone_at_every_batch_size(make: Any, layer: str, shape: tuple[int, ...]) -> None:
    clean = normal(N, *shape)
    shifted = clean + normal(N, *shape, seed=1)
    expected = oracle(seeded(make), layer, clean, shifted)
    for size in (1, 4, 5, N):
        report = hf.preindex(seeded(make), cut(clean, size), cut(shifted, size))
        assert list(report.layers) == [layer]
        assert report.layers[layer].rows % N == 0
        assert report.distance == pytest.approx(expected, abs=1e-6)
        assert not [
            note for note in report.notes if "effort score" not in note
        ]  # of 12 samples it is doubtful


def test_a_shift_of_nothing_is_nothing_however_samples_are_joined() -> None:
    clean = normal(N, 6)
    for size in (4, N):
        report = hf.preindex(seeded(Views), cut(clean, size), cut(clean + 1e-12 * normal(N, 6, seed=1), size))
        assert report.distance == pytest.approx(0, abs=1e-6)


class Prompts(nn.Module):
    """Scores of samples against prompts that they share: as many prompts as samples in a batch of 10."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.text = nn.Linear(6, 16), nn.Linear(4, 16)

    def forward(self, x: Tensor, prompts: Tensor) -> Tensor:
        return self.image(x).relu() @ self.text(prompts).T


def test_shared_inputs_are_not_samples() -> None:
    clean, prompts = normal(20, 6), normal(10, 4, seed=3)
    labels = torch.arange(20) % 10
    found = []
    for size in (10, 4):
        sides = [
            [(x, prompts, y) for x, y in zip(side.split(size), labels.split(size), strict=True)]
            for side in (clean, clean + normal(20, 6, seed=1))
        ]
        report = hf.preindex(seeded(Prompts), *sides, embedding="image")
        assert "does not grow with the number of samples" in report.skipped["text"]
        found.append(report)
    assert found[0].distance == pytest.approx(found[1].distance, abs=1e-6)


class Standardising(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / (x.std(0, correction=0) + 1e-5)


def test_arithmetic_that_sees_the_batch_is_said_and_never_joined() -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            nn.Linear(6, 16), Standardising(), nn.ReLU(), nn.Linear(16, 8), nn.Linear(8, CLASSES)
        )

    clean = normal(N, 6)
    report = hf.preindex(seeded(make), cut(clean, 4), cut(clean + 3, 4))
    assert any("sees the batch" in note for note in report.notes)
    assert "one batch" not in report.mode


class Tokens(nn.Module):
    """Texts to logits; a head on every token, of which the last that is no padding counts, or a masked mean."""

    def __init__(self, per_token: bool) -> None:
        super().__init__()
        self.words, self.body, self.head = nn.Embedding(50, 8), nn.Linear(8, 16), nn.Linear(16, CLASSES)
        self.per_token = per_token

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden = self.body(self.words(input_ids)).tanh()
        if self.per_token:
            last = (attention_mask * torch.arange(input_ids.shape[1])).argmax(1)
            return self.head(hidden)[torch.arange(len(input_ids)), last]
        kept = attention_mask.unsqueeze(2)
        return self.head((hidden * kept).sum(1) / kept.sum(1))


def texts(width: int, left: bool, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids, mask = torch.zeros(N, width, dtype=torch.long), torch.zeros(N, width, dtype=torch.long)
    for i in range(N):
        length = 3 + i % 5
        place = slice(width - length, width) if left else slice(0, length)
        ids[i, place] = torch.randint(1, 50, (length,), generator=generator)
        mask[i, place] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": LABELS}


@pytest.mark.parametrize("per_token", [False, True])
@settings(max_examples=6, deadline=None)
@given(widths=st.tuples(st.integers(7, 20), st.integers(7, 20)), left=st.tuples(st.booleans(), st.booleans()))
def test_padding_does_not_count(per_token: bool, widths: tuple[int, int], left: tuple[bool, bool]) -> None:
    def run(clean: dict[str, Tensor], shifted: dict[str, Tensor]) -> hf.PreIndexReport:
        return hf.preindex(seeded(lambda: Tokens(per_token)), [clean], [shifted])

    expected = run(texts(7, False, 0), texts(7, False, 1))
    report = run(texts(widths[0], left[0], 0), texts(widths[1], left[1], 1))
    for name in ("distance", "cka", "probe_error", "inverse_ari"):
        assert getattr(report, name) == pytest.approx(getattr(expected, name), abs=1e-6)
    notes = [note for note in report.notes if "effort score" not in note]
    assert notes == ["padding left out by attention_mask"]
    assert ("at the position of the logits" in report.embedding) == per_token


class Averaging(nn.Module):
    """Counts its passes in a buffer and replaces another."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x).relu()
        self.passes += 1
        self.mean = 0.9 * self.mean + 0.1 * hidden.mean(0)
        return self.head(hidden)


def test_buffers_are_restored() -> None:
    model = seeded(Averaging)
    mean = model.mean
    hf.preindex(model, cut(normal(N, 6), 4), cut(normal(N, 6, seed=1), 4))
    assert model.passes == 0
    assert model.mean is mean
    assert not mean.any()


def test_lazy_modules_are_refused_by_name() -> None:
    model = nn.Sequential(nn.LazyLinear(8), nn.Linear(8, CLASSES))
    with pytest.raises(ValueError, match="LazyLinear '0' has no weights"):
        hf.preindex(model, cut(normal(N, 6), 4), cut(normal(N, 6, seed=1), 4))


def test_recurrent_layers_count() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.rnn, self.head = nn.Embedding(9, 6), nn.LSTM(6, 16), nn.Linear(16, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.rnn(self.words(x).transpose(0, 1))[0][-1])

    clean, shifted = (torch.randint(0, 9, (N, 5), generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    found = [hf.preindex(seeded(Last), cut(clean, size), cut(shifted, size)) for size in (1, 5, N)]
    for report in found:
        assert list(report.layers) == ["rnn"]
        assert report.layers["rnn"].units == 16
        assert report.distance == pytest.approx(found[0].distance, abs=1e-6)


@given(
    n=st.integers(2, 5),
    each=st.integers(1, 4),
    rest=st.lists(st.integers(1, 4), max_size=2),
    axis=st.integers(0, 2),
    interleaved=st.booleans(),
)
def test_every_arrangement_is_found_and_undone(
    n: int, each: int, rest: list[int], axis: int, interleaved: bool
) -> None:
    axis = min(axis, len(rest))
    samples = torch.arange(n * each * int(np.prod(rest))).reshape(n, each, *rest)

    def folded(part: Tensor) -> Tensor:
        flat = (part.transpose(0, 1) if interleaved else part).reshape(-1, *rest)
        return flat.movedim(0, axis)

    batch, alone = folded(samples), folded(samples[:1])
    wanted = Arrangement(axis, each, interleaved and each > 1)
    assert wanted in arrangements(tuple(batch.shape), n, tuple(alone.shape), 1)
    expected = samples[:, 0] if each == 1 else samples
    assert torch.equal(wanted.apply(batch, n), expected)


@pytest.mark.parametrize(
    ("batch", "options"),
    [
        (lambda x, y: {"image": x, "label": y}, {"inputs": "image"}),
        (lambda x, y: {"x": x, "idx": torch.arange(len(x)), "label": y}, {}),
        (lambda x, y: (x, y, torch.arange(len(x))), {"inputs": 0, "labels": 1}),
        (lambda x, y: (x, y, torch.arange(len(x))), {"inputs": lambda batch: batch[0], "labels": 1}),
        (lambda x, y: [{"x": a, "label": int(b)} for a, b in zip(x, y, strict=True)], {}),
        (lambda x, y: (x.numpy(), y.numpy()), {}),
    ],
)
def test_batches_of_many_forms(batch: Any, options: dict[str, Any]) -> None:
    clean = normal(N, 6)
    shifted = clean + normal(N, 6, seed=1)
    expected = hf.preindex(seeded(Grouped), cut(clean, 4), cut(shifted, 4))
    sides = [[batch(x, y) for x, y in cut(side, 4)] for side in (clean, shifted)]
    report = hf.preindex(seeded(Grouped), *sides, **options)
    assert report.distances == expected.distances
    assert report.accuracy == expected.accuracy


@pytest.mark.parametrize(
    "batch",
    [
        lambda x, y: {"image": x, "label": y},
        lambda x, y: (x, y, torch.arange(len(x))),
    ],
)
def test_batches_that_do_not_fit_the_model_say_how_to_choose(batch: Any) -> None:
    sides = [[batch(x, y) for x, y in cut(normal(N, 6, seed=seed), 4)] for seed in (0, 1)]
    with pytest.raises(TypeError, match="by inputs="):
        hf.preindex(seeded(Grouped), *sides)


@pytest.mark.parametrize(
    "targets",
    [
        torch.rand(N),  # regression
        torch.eye(N, CLASSES),  # soft labels
        torch.zeros(N, 5, dtype=torch.long),  # a class for each token or label
        torch.zeros(N, 4, 4, dtype=torch.long),  # masks
        [{"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2])} for _ in range(N)],  # detection
        ["a text"] * N,  # generation
        (torch.zeros(N, dtype=torch.long), torch.ones(N, dtype=torch.long), 0.5),  # mixed samples
    ],
)
def test_targets_that_are_not_one_class_are_refused(targets: Any) -> None:
    with pytest.raises(TypeError, match="labels of clean.*one class for each sample"):
        hf.preindex(seeded(Grouped), [(normal(N, 6), targets)], [(normal(N, 6), targets)])


@pytest.mark.parametrize("side", ["clean", "shifted"])
def test_labels_that_losses_ignore_are_no_class(side: str) -> None:
    labels = LABELS.clone()
    labels[7] = -100
    sides = [cut(normal(N, 6), 4), list(zip(normal(N, 6, seed=1).split(4), labels.split(4), strict=True))]
    with pytest.raises(ValueError, match=f"sample 7 of {side} is -100"):
        hf.preindex(seeded(Grouped), *(sides if side == "shifted" else sides[::-1]))
    if side == "shifted":  # unknown, where labels may be
        assert hf.preindex(seeded(Grouped), *sides, label_budget=9).samples == N


@given(
    st.lists(st.floats(width=32), max_size=20), st.sampled_from([torch.float16, torch.float32, torch.float64])
)
def test_magnitude_is_the_largest_of_the_finite(values: list[float], dtype: torch.dtype) -> None:
    held = torch.tensor(values, dtype=torch.float64).to(dtype)
    finite = [abs(float(v)) for v in held if torch.isfinite(v)]
    assert magnitude(held) == max(finite, default=0.0)
    assert magnitude(held.reshape(1, -1, 1)) == max(finite, default=0.0)


PLACES = st.lists(st.tuples(st.floats(width=16), st.floats(width=16)), max_size=12)


@given(PLACES, st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_difference_leaves_out_what_is_not_finite_on_both_sides(
    places: list[tuple[float, float]], dtype: torch.dtype
) -> None:
    a, b = (torch.tensor([place[side] for place in places], dtype=dtype) for side in (0, 1))
    expected = 0.0
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        if np.isfinite(x) and np.isfinite(y):
            expected = max(expected, abs(x - y))
        elif not (x == y or (np.isnan(x) and np.isnan(y))):
            expected = float("inf")
    assert difference(a, b) == pytest.approx(expected, rel=1e-6)
