"""``preindex`` on every kind of model and batch, what it leaves alone, and what it refuses."""

import random
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import hitl_fast as hf
from hitl_fast.shift.inputs import Inputs

N, CLASSES = 30, 3
Batches = list[tuple[Tensor, Tensor]]


def classes(n: int = N) -> Tensor:
    return torch.arange(n) % CLASSES


def samples(*shape: int, n: int = N, seed: int = 0) -> Tensor:
    """Random samples whose mean tells the class."""
    noise = torch.randn(n, *shape, generator=torch.Generator().manual_seed(seed))
    return noise + classes(n).view(-1, *[1] * len(shape))


def batches(x: Tensor, size: int = 10) -> Batches:
    return list(zip(x.split(size), classes(len(x)).split(size), strict=True))


def shift(x: Tensor) -> Tensor:
    return x + 0.8 * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make()


def mlp() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    )


def cnn() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 12, 3, 2), nn.BatchNorm2d(12),
            nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, CLASSES),
        )
    )  # fmt: skip


def sequence_cnn() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv1d(4, 8, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(8, CLASSES)
        )
    )


class Encoder(nn.Module):
    """Tokens (N, T, 8) to logits; inside, samples first or time first."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, CLASSES)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encoder(x if self.batch_first else x.transpose(0, 1))
        return self.head(hidden[:, 0] if self.batch_first else hidden[0])


MODELS = {
    "mlp": (mlp, (6,), ["0", "2"]),
    "cnn": (cnn, (1, 9, 9), ["0", "2"]),
    "conv1d": (sequence_cnn, (4, 11), ["0"]),
    "encoder": (
        lambda: seeded(lambda: Encoder(True)), (5, 8),
        [f"encoder.layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("arithmetic", ["corrected", "reference"])
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model(name: str, arithmetic: str, pooling: str) -> None:
    make, shape, layers = MODELS[name]
    clean = samples(*shape)
    report = hf.preindex(
        make(), batches(clean), batches(shift(clean)), arithmetic=arithmetic, pooling=pooling
    )
    assert list(report.layers) == layers
    assert report.samples == N
    assert report.classes == CLASSES
    assert 0 < report.distance < np.log(2)
    assert report.u == report.index == report.distance + report.inverse_ari
    assert 0 <= report.probe_error <= 1
    assert report.embedding.startswith("input of ")
    assert report.input_rms == pytest.approx(0.8, rel=0.1)
    assert set(report.distances) == {16, 32, 64}
    mean = np.mean([layer.distances[32]["jensen_shannon"] for layer in report.layers.values()])
    assert report.distance == pytest.approx(mean)
    for layer in report.layers.values():
        assert layer.rows == N
        assert sum(layer.histogram[0]) == pytest.approx(1)


def test_pooling_decides_the_units() -> None:
    clean = samples(1, 9, 9)
    units = {
        (arithmetic, pooling): [
            layer.units
            for layer in hf.preindex(
                cnn(), batches(clean), batches(shift(clean)), arithmetic=arithmetic, pooling=pooling
            ).layers.values()
        ]
        for arithmetic in ("corrected", "reference")
        for pooling in ("mean", "flatten")
    }
    assert units["corrected", "mean"] == units["reference", "mean"] == [8, 12]
    assert units["corrected", "flatten"] == units["reference", "flatten"] == [8 * 81, 12 * 16]


def test_tokens_are_pooled_only_under_corrected() -> None:
    clean = samples(5, 8)
    make = MODELS["encoder"][0]
    corrected = hf.preindex(make(), batches(clean), batches(shift(clean)))
    reference = hf.preindex(make(), batches(clean), batches(shift(clean)), arithmetic="reference")
    assert [layer.units for layer in corrected.layers.values()] == [16, 8, 16, 8]
    assert [layer.units for layer in reference.layers.values()] == [5 * 16, 5 * 8, 5 * 16, 5 * 8]


@pytest.mark.parametrize(
    "tokens", [5, 10, 20]
)  # 10 samples a batch: as many tokens as samples, and as two batches
def test_time_first_encoders_give_the_same_rows(tokens: int) -> None:
    clean = samples(tokens, 8)
    found = []
    for batch_first in (True, False):
        model = seeded(lambda first=batch_first: Encoder(first))
        found.append(hf.preindex(model, batches(clean), batches(shift(clean))))
    for name, layer in found[0].layers.items():
        assert found[1].layers[name].distances[32] == pytest.approx(layer.distances[32], rel=1e-3)
    assert found[1].accuracy == found[0].accuracy


def test_output_layer_is_left_out_by_identity() -> None:
    """Also with more classes than hidden units, behind a softmax, and under another name than the last."""

    class Early(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(4, 40), nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).relu()).log_softmax(-1)

    clean = samples(6)
    report = hf.preindex(seeded(Early), batches(clean), batches(shift(clean)))
    assert list(report.layers) == ["body"]
    assert report.skipped == {"head": "made the logits"}
    reference = hf.preindex(seeded(Early), batches(clean), batches(shift(clean)), arithmetic="reference")
    assert list(reference.layers) == ["body", "head"]  # rows longer than 3 classes


def test_a_layer_called_twice_counts_both_calls_and_one_never_called_is_said() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn, self.idle, self.head = nn.Linear(6, 6), nn.Linear(2, 2), nn.Linear(6, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.turn(self.turn(x).relu()))

    clean = samples(6)
    model = seeded(Twice)
    report = hf.preindex(model, batches(clean), batches(shift(clean)))
    assert report.layers["turn"].rows == 2 * N
    assert report.skipped["idle"] == "never ran in a forward pass"
    single = hf.PreIndexAccumulator()
    for x in (lambda v: model.turn(v), lambda v: model.turn(model.turn(v).relu())):
        with torch.no_grad():
            single.update("turn", x(clean), x(shift(clean)))
    expected = single.result()["turn"].distances[32]["jensen_shannon"]
    assert report.distance == pytest.approx(expected, rel=1e-3)


def test_attention_that_is_never_called_says_why() -> None:
    clean = samples(5, 8)
    report = hf.preindex(MODELS["encoder"][0](), batches(clean), batches(shift(clean)))
    assert (
        report.skipped["encoder.layers.0.self_attn.out_proj"]
        == "attention uses its weights without calling it"
    )


class Wrapped(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.model, self.wrap = mlp(), wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self.model(x))


class Logits:
    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


@pytest.mark.parametrize(
    ("wrap", "output"),
    [
        (lambda z: {"logits": z, "hidden": z[:, :1]}, None),
        (lambda z: {"scores": z}, "scores"),
        (lambda z: (z, 3), None),
        (lambda z: ("text", z), 1),
        (lambda z: [None, {"deep": z}], lambda out: out[1]["deep"]),
        (Logits, None),
        (Logits, "logits"),
    ],
)
def test_where_the_logits_are(wrap: Callable[[Tensor], Any], output: Any) -> None:
    clean = samples(6)
    plain = hf.preindex(mlp(), batches(clean), batches(shift(clean)))
    report = hf.preindex(Wrapped(wrap), batches(clean), batches(shift(clean)), output=output)
    assert report.accuracy == plain.accuracy
    assert report.distance == plain.distance


@pytest.mark.parametrize(
    ("wrap", "output", "message"),
    [
        (
            lambda z: {"scores": z},
            None,
            r"a dict with the keys \['scores'\]: no logits in it; pick them by output=",
        ),
        (lambda z: (z,), 4, "no logits at output=4"),
        (lambda z: z.argmax(1), None, "returns a Tensor: no logits"),
        (lambda z: None, "logits", "returns a NoneType: no logits at output='logits'"),
    ],
)
def test_logits_that_are_not_there(wrap: Callable[[Tensor], Any], output: Any, message: str) -> None:
    clean = samples(6)
    with pytest.raises(TypeError, match=message):
        hf.preindex(Wrapped(wrap), batches(clean), batches(clean + 1), output=output)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = mlp()

    def forward(self, first: Tensor, second: Tensor | None = None, scale: float = 1.0) -> Tensor:
        return self.model(first if second is None else first + second * scale)


@pytest.mark.parametrize("kind", ["tuple", "list", "mapping", "named label", "label first", "not a tensor"])
def test_every_kind_of_batch(kind: str) -> None:
    clean = samples(6)
    shifted = shift(clean)
    expected = hf.preindex(TwoInputs(), batches(clean), batches(shifted))

    def dressed(x: Tensor, y: Tensor) -> Any:
        return {
            "tuple": (x, torch.zeros_like(x), y),
            "list": [x, torch.zeros_like(x), y.numpy()],
            "mapping": {"first": x, "second": torch.zeros_like(x), "labels": y},
            "named label": {"first": x, "kind": y.tolist()},
            "label first": (y, x),
            "not a tensor": {"first": x, "second": torch.zeros_like(x), "scale": 2.0, "y": y.to(torch.uint8)},
        }[kind]

    labels = {"named label": "kind", "label first": 0}.get(kind)
    ours, theirs = ([dressed(x, y) for x, y in batches(z)] for z in (clean, shifted))
    report = hf.preindex(TwoInputs(), ours, theirs, labels=labels)
    assert report.distances[32] == pytest.approx(expected.distances[32], rel=1e-3)
    assert ("one batch" in report.mode) == (kind != "not a tensor")


def test_named_embedding_and_its_pooling() -> None:
    clean = samples(1, 9, 9)
    corrected = hf.preindex(cnn(), batches(clean), batches(shift(clean)), embedding="2")
    assert corrected.embedding == "2"
    flat = hf.preindex(cnn(), batches(clean), batches(shift(clean)), embedding="2", pooling="flatten")
    assert corrected.distances[16] != flat.distances[16]
    assert corrected.cka != flat.cka


def test_in_place_modules_do_not_reach_into_what_was_kept() -> None:
    """The ReLU after layer 0 works in place: the embedding must be what layer 0 gave."""
    clean = samples(6)

    def make(inplace: bool) -> nn.Module:
        return seeded(lambda: nn.Sequential(nn.Linear(6, 9), nn.ReLU(inplace=inplace), nn.Linear(9, CLASSES)))

    for arithmetic in ("corrected", "reference"):
        reports = [
            hf.preindex(make(i), batches(clean), batches(shift(clean)), embedding="0", arithmetic=arithmetic)
            for i in (True, False)
        ]
        assert reports[0].clusters == reports[1].clusters
        assert reports[0].distances == reports[1].distances


def test_autocast_is_respected() -> None:
    clean = samples(6)
    seen = []
    model = mlp()
    handle = model[0].register_forward_hook(lambda module, args, output: seen.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        report = hf.preindex(model, batches(clean), batches(shift(clean)))
    handle.remove()
    assert set(seen) == {torch.bfloat16}
    assert report.distance > 0


def test_half_precision_models_work() -> None:
    clean = samples(6).bfloat16()
    report = hf.preindex(mlp().bfloat16(), batches(clean), batches(shift(clean.float()).bfloat16()))
    assert report.distance > 0


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda m: torch.compile(m, backend="eager")])
def test_wrappers_do_not_hide_layers(wrap: Callable[[nn.Module], nn.Module]) -> None:
    clean = samples(6)
    report = hf.preindex(wrap(mlp()), batches(clean), batches(shift(clean)))
    assert list(report.layers) == ["0", "2"]


def test_parts_compiled_in_place_do_not_hide_layers() -> None:
    clean = samples(6)
    model = mlp()
    model.compile(backend="eager")
    with torch.no_grad():
        model(clean)  # compiled before any hook is there
    report = hf.preindex(model, batches(clean), batches(shift(clean)))
    assert list(report.layers) == ["0", "2"]


@pytest.mark.parametrize("size", [1, 7, 30, 100])
def test_any_batch_size(size: int) -> None:
    clean = samples(1, 9, 9)
    whole = hf.preindex(cnn(), batches(clean, N), batches(shift(clean), N))
    report = hf.preindex(cnn(), batches(clean, size), batches(shift(clean), size))
    assert report.distance == pytest.approx(whole.distance, rel=1e-3)
    assert report.input_rms == pytest.approx(whole.input_rms, rel=1e-12)


def test_one_class_and_one_sample_a_class() -> None:
    x = samples(6)
    one = torch.zeros(N, dtype=torch.long)
    report = hf.preindex(mlp(), [(x, one)], [(shift(x), one)])
    assert report.classes == 1
    assert report.inverse_ari == 0
    each = torch.arange(4)
    report = hf.preindex(mlp(), [(x[:4], each)], [(x[:4] + 0.1, each)])
    assert report.classes == report.samples == 4


class Counting(nn.Module):
    """Draws in the forward pass and counts, to see what is restored."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        torch.rand(1), np.random.rand(), random.random()  # noqa: NPY002
        assert not self.training
        return self.head(self.drop(self.body(x)))


def states() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()  # noqa: NPY002


@pytest.mark.parametrize("broken", [False, True])
def test_leaves_everything_as_it_was(broken: bool) -> None:
    model = seeded(Counting)
    model.train()
    model.drop.eval()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    clean = samples(6)
    generator = torch.Generator().manual_seed(3)
    loaders = [
        DataLoader(TensorDataset(x, classes()), batch_size=7, generator=generator)
        for x in (clean, shift(clean))
    ]
    if broken:
        loaders[1] = DataLoader(TensorDataset(shift(clean), classes().flip(0)), batch_size=7)
    before, drawn = states(), generator.get_state()
    fused = torch.backends.mha.get_fastpath_enabled()
    if broken:
        with pytest.raises(ValueError, match="labels differ"):
            hf.preindex(model, *loaders)
    else:
        hf.preindex(model, *loaders)
    assert states() == before
    assert torch.equal(generator.get_state(), drawn)
    assert model.training
    assert model.body.training
    assert not model.drop.training
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert torch.is_grad_enabled()
    assert all(not module._forward_hooks for module in model.modules())
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])


def test_the_same_arguments_give_the_same_report() -> None:
    clean = samples(1, 9, 9)
    reports = [hf.preindex(cnn(), batches(clean), batches(shift(clean))) for _ in range(2)]
    texts = [str(report).rpartition("seconds")[0] for report in reports]
    assert texts[0] == texts[1]
    assert reports[0].layers == reports[1].layers


def test_a_batch_without_room_goes_in_turn() -> None:
    class Crowded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.more, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.more(self.body(x))
            if len(x) > 10:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return self.head(hidden)

    clean = samples(6)
    model = seeded(Crowded)
    report = hf.preindex(model, batches(clean), batches(shift(clean)))
    assert "in turn" in report.mode
    assert "one batch" not in report.mode
    assert {layer.rows for layer in report.layers.values()} == {N}


def test_embeddings_in_a_file_leave_no_file(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    clean = samples(6)
    seen: list[int] = []

    def watched() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches(shift(clean)):
            seen.append(len(list(tmp_path.iterdir())))
            yield batch

    report = hf.preindex(mlp(), batches(clean), watched(), max_memory=0)
    in_memory = hf.preindex(mlp(), batches(clean), batches(shift(clean)))
    assert report.mode.endswith("embeddings in a file")
    assert seen == [0, 0, 0]  # without a name from the start, so gone after a crash too
    assert report.clusters == in_memory.clusters
    assert report.cka == in_memory.cka


def broken_model(value: float, above: float) -> nn.Module:
    """Layer ``odd`` gives the value for samples whose first input is larger than a bound."""

    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.odd, self.head = nn.Linear(6, 8), nn.Linear(6, 8), nn.Linear(8, CLASSES)
            self.odd.register_forward_hook(self.spoil)

        def spoil(self, module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return torch.where(args[0][:, :1] > above, value, output)

        def forward(self, x: Tensor) -> Tensor:
            self.odd(x)
            return self.head(self.body(x).relu())

    return seeded(Broken)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_rows_that_are_not_finite_are_counted_and_named(value: float) -> None:
    clean = samples(6)
    clean[[3, 8, 13, 18, 23, 28], 0] = 100
    with pytest.warns(UserWarning, match="left out 6 row pairs of layer odd$"):
        report = hf.preindex(broken_model(value, 50), batches(clean), batches(shift(clean)))
    assert report.layers["odd"].left_out == 6
    assert report.layers["odd"].rows == N - 6
    assert report.layers["body"].left_out == 0
    assert "most in odd: 6 row pairs" in str(report)


def test_a_layer_of_nothing_but_nan_is_an_error() -> None:
    clean = samples(6)
    with pytest.raises(ValueError, match="layer 'odd': all 30 row pairs hold NaN or infinite values"):
        hf.preindex(broken_model(np.nan, -1e9), batches(clean), batches(shift(clean)))


def test_embeddings_that_are_not_finite_are_not_clustered() -> None:
    clean = samples(6)
    shifted = shift(clean)
    shifted[4] = np.nan
    with pytest.warns(
        UserWarning, match="left out 1 row pairs of layer 0, .*, 1 sample pairs from the clusters"
    ):
        report = hf.preindex(mlp(), batches(clean), batches(shifted))
    assert report.left_out == 1
    assert report.input_rms == pytest.approx(0.8, rel=0.1)


def test_layers_that_give_no_floats_are_skipped_and_said() -> None:
    class Rounding(nn.Module):
        out_features = 4

        def forward(self, x: Tensor) -> Tensor:
            return x.round().long()

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes, self.body, self.head = Rounding(), nn.Linear(6, 8), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            self.codes(x)
            return self.head(self.body(x))

    clean = samples(6)
    report = hf.preindex(seeded(Odd), batches(clean), batches(shift(clean)))
    assert report.skipped["codes"] == "its output holds torch.int64, not floating point numbers"
    with pytest.raises(
        ValueError, match=r"embedding layer 'codes' gives torch\.int64, not a floating point tensor"
    ):
        hf.preindex(seeded(Odd), batches(clean), batches(clean + 1), embedding="codes")


class Stream(IterableDataset[Any]):
    def __init__(self, x: Tensor) -> None:
        self.x = x

    def __iter__(self) -> Iterator[Any]:
        yield from zip(self.x, classes(len(self.x)), strict=True)


def test_iterable_data_sets_and_generators() -> None:
    clean = samples(6)
    expected = hf.preindex(mlp(), batches(clean), batches(shift(clean)))
    report = hf.preindex(mlp(), DataLoader(Stream(clean), 10), (b for b in batches(shift(clean))))
    assert report.distances == expected.distances


X = samples(6)
GOOD = batches(X)
ROLLED = [(x, y.roll(i)) for i, (x, y) in enumerate(GOOD)]


@pytest.mark.parametrize(
    ("clean", "shifted", "error", "message"),
    [
        (GOOD, GOOD[:2], ValueError, "clean has 3 batches but shifted 2"),
        (iter(GOOD), iter(GOOD[:2]), ValueError, "shifted ends after 20 samples, clean does not"),
        (iter(GOOD[:2]), iter(GOOD), ValueError, "clean ends after 20 samples, shifted does not"),
        (GOOD, batches(X[:27]), ValueError, "after 20 samples, clean has a batch of 10 but shifted one of 7"),
        (GOOD, ROLLED, ValueError, "labels differ at sample 11: 2 in clean, 1 in shifted .9 of 10 differ"),
        ([], [], ValueError, "clean and shifted hold no batch"),
        (X, GOOD, TypeError, "clean must yield batches .* not Tensor"),
        ([X], [X], TypeError, "must be .inputs, ..., labels. or a mapping with labels, not a tensor"),
        (
            [{"x": X}],
            [{"x": X}],
            TypeError,
            r"a batch of clean has the keys \['x'\], not any of labels, label",
        ),
        ([(X, X)], [(X, X)], TypeError, r"labels of clean must be \(n,\) integer classes, .* not float32"),
        (TensorDataset(X, classes()), GOOD, TypeError, "clean must yield batches .* not TensorDataset"),
        (3, GOOD, TypeError, "clean must yield batches .* not int"),
    ],
)
def test_refuses_data_that_cannot_be_paired(
    clean: Any, shifted: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hf.preindex(mlp(), clean, shifted)


def test_refuses_loaders_that_shuffle_or_differ() -> None:
    data = TensorDataset(X, classes())
    ordered = DataLoader(data, 10)
    with pytest.raises(ValueError, match="shifted shuffles .its sampler is a RandomSampler.*shuffle=False"):
        hf.preindex(mlp(), ordered, DataLoader(data, 10, shuffle=True))
    with pytest.raises(ValueError, match="clean has 30 samples but shifted 20"):
        hf.preindex(mlp(), ordered, DataLoader(TensorDataset(X[:20], classes(20)), 10))
    same = iter(GOOD)
    with pytest.raises(ValueError, match="the same iterator"):
        hf.preindex(mlp(), same, same)
    persistent = DataLoader(data, 10, num_workers=1, persistent_workers=True)
    with pytest.raises(ValueError, match="the same iterator.*persistent_workers"):
        hf.preindex(mlp(), persistent, persistent)
    persistent._iterator._shutdown_workers()  # type: ignore[union-attr]


class Nested(torch.nn.Module):
    """Takes tensors in containers, and works in place on one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = mlp()

    def forward(self, held: Any) -> Any:
        return self.mlp(held["parts"][0].mul_(0.5) + held["parts"][1])


def test_tensors_in_containers_are_seen_and_left_as_they_are() -> None:
    parts = X / 2, X.clone()
    kept = [part.clone() for part in parts]
    shifted = X / 2 + 1, X.clone()
    report = hf.preindex(
        Nested(),
        [({"parts": parts, "ids": ["a"] * 30}, classes())],
        [({"parts": shifted, "ids": ["b"] * 30}, classes())],
    )
    assert report.input_rms == pytest.approx(0.5**0.5)  # of the two, one moved by 1
    assert all(torch.equal(part, before) for part, before in zip(parts, kept, strict=True))
    moved = Inputs(({"parts": [torch.ones(2)]},), {}).to(torch.device("meta"))
    assert moved.args[0]["parts"][0].is_meta
    with pytest.raises(ValueError, match="a batch of clean holds 2 values but one of shifted 1"):
        hf.preindex(Nested(), [({"parts": parts}, classes())], [({"parts": parts[:1]}, classes())])


class Unsized(IterableDataset[Any]):
    def __iter__(self) -> Any:
        yield from TensorDataset(X, classes())

    def __len__(self) -> int:
        raise NotImplementedError


def test_a_length_that_cannot_be_told_is_no_reason_to_refuse() -> None:
    assert hf.preindex(mlp(), DataLoader(Unsized(), 10), DataLoader(Unsized(), 10)).samples == 30


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"embedding": "fc"}, ValueError, "the model has no layer 'fc'; near ones: "),
        ({"bins": (1, 2)}, ValueError, "bins must each be at least 2; at position 0 stands 1"),
        ({"bins": (64, 32)}, ValueError, "bins must rise"),
        ({"measure_bins": 33}, ValueError, r"measure_bins must be one of bins \(16, 32, 64\), not 33"),
        ({"measure": "js"}, ValueError, "measure must be one of jensen_shannon, .* not 'js'"),
        ({"pooling": "max"}, ValueError, "pooling must be one of mean, flatten, not 'max'"),
        ({"arithmetic": "paper"}, ValueError, "arithmetic must be one of corrected, reference, not 'paper'"),
        ({"scale": -1.0}, ValueError, "scale must be a finite number >= 0, not -1.0"),
        ({"offset": float("nan")}, ValueError, "offset must be a finite number"),
        ({"max_memory": -1}, ValueError, "max_memory must be a number of bytes >= 0, not -1"),
        ({"max_memory": "1GB"}, TypeError, "max_memory must be a number of bytes >= 0, not '1GB'"),
        ({"max_memory": float("nan")}, TypeError, "max_memory must be a number of bytes"),
        ({"embedding_samples": 0}, ValueError, "embedding_samples must be a number of samples >= 1, not 0"),
        ({"embedding_samples": 2.5}, TypeError, "embedding_samples must be a number of samples"),
        ({"embedding_samples": True}, TypeError, "embedding_samples must be a number of samples"),
        ({"effort_samples": "9"}, TypeError, "effort_samples must be a number of samples"),
        ({"kmeans": "yes"}, TypeError, "kmeans must be True, False or None, not 'yes'"),
        ({"labels": "kind"}, TypeError, "labels='kind' is not in it"),
    ],
)
def test_refuses_options(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        hf.preindex(mlp(), GOOD, GOOD, **options)


def test_near_names_are_listed() -> None:
    with pytest.raises(
        ValueError, match="no layer 'encoder.layer.0.linear1'; near ones: encoder.layers.0.linear1"
    ):
        hf.preindex(MODELS["encoder"][0](), GOOD, GOOD, embedding="encoder.layer.0.linear1")


class Gated(nn.Module):
    """No layer gives the logits: they are a product of two."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(6, 2 * CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)[:, :CLASSES] * self.body(x)[:, CLASSES:]


def test_refuses_models_without_layers() -> None:
    with pytest.raises(ValueError, match="Flatten has no layer with out_features or out_channels"):
        hf.preindex(nn.Flatten(), GOOD, GOOD)
    with pytest.raises(TypeError, match="model must be a torch.nn.Module, not function"):
        hf.preindex(lambda x: x, GOOD, GOOD)
    with pytest.raises(ValueError, match="no layer counts: 0: made the logits"):
        hf.preindex(nn.Sequential(nn.Linear(6, 3)), GOOD, batches(X + 1))
    with pytest.raises(ValueError, match="no default embedding: name .* by embedding="):
        hf.preindex(Gated(), GOOD, batches(X + 1))


def test_index_follows_scale_and_offset() -> None:
    clean = samples(6)
    plain = hf.preindex(mlp(), batches(clean), batches(shift(clean)))
    report = hf.preindex(mlp(), batches(clean), batches(shift(clean)), scale=0.5, offset=0.25)
    assert report.u == plain.u
    assert report.index == pytest.approx(plain.u / (1 + 0.5 * plain.u) - 0.25)


def test_is_an_ordinary_function() -> None:
    import inspect
    import pickle

    assert inspect.isfunction(hf.preindex)
    assert pickle.loads(pickle.dumps(hf.preindex)) is hf.preindex
    assert list(inspect.signature(hf.preindex).parameters)[:4] == ["model", "clean", "shifted", "embedding"]


class Attending(nn.Module):
    """Channels as tokens, attention on its own with its default layout, a head."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, channels, 3, padding=1)
        self.emb = nn.Linear(8, 12)
        self.attn = nn.MultiheadAttention(12, 2)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:  # x: [samples, 1, 8]
        tokens = self.emb(self.conv(x).transpose(0, 1))  # [channels, samples, 12]
        return self.head(self.attn(tokens, tokens, tokens)[0].mean(0))


@pytest.mark.parametrize("size", [5, 10, 15, 30])
@pytest.mark.parametrize("channels", [10, 20, 30])
def test_as_many_samples_as_steps_or_channels_are_told_apart(channels: int, size: int) -> None:
    clean = samples(1, 8)
    whole = hf.preindex(seeded(lambda: Attending(channels)), batches(clean, 29), batches(shift(clean), 29))
    report = hf.preindex(
        seeded(lambda: Attending(channels)), batches(clean, size), batches(shift(clean), size)
    )
    assert list(report.layers) == ["conv", "emb"]
    for name, layer in report.layers.items():
        assert layer.distances[32] == pytest.approx(whole.layers[name].distances[32], rel=1e-3)
        assert layer.rows == N


def test_mappings_are_paired_by_key() -> None:
    clean, other = samples(6), samples(6, seed=5)
    expected = hf.preindex(
        TwoInputs(), [{"first": clean, "second": other, "y": classes()}],
        [{"first": shift(clean), "second": other, "y": classes()}],
    )  # fmt: skip
    report = hf.preindex(
        TwoInputs(), [{"first": clean, "second": other, "y": classes()}],
        [{"second": other, "y": classes(), "first": shift(clean)}],
    )  # fmt: skip
    assert report.distances == expected.distances
    with pytest.raises(
        ValueError, match=r"a batch of clean has \['first', 'second'\] but one of shifted \['first'\]"
    ):
        hf.preindex(
            TwoInputs(),
            [{"first": clean, "second": other, "y": classes()}],
            [{"first": clean, "y": classes()}],
        )


def test_what_a_batch_carries_beside_is_left_out() -> None:
    clean = samples(6)
    paths = [f"{i}.png" for i in range(N)]
    report = hf.preindex(
        TwoInputs(), [{"first": clean, "path": paths, "y": classes()}],
        [{"first": shift(clean), "path": paths, "y": classes()}],
    )  # fmt: skip
    assert report.samples == N


def test_samples_that_share_statistics_are_not_joined() -> None:
    def make() -> nn.Module:
        return seeded(
            lambda: nn.Sequential(
                nn.Linear(6, 8),
                nn.BatchNorm1d(8, track_running_stats=False),
                nn.ReLU(),
                nn.Linear(8, CLASSES),
            )
        )

    clean = samples(6)
    shifted = 3 * clean + 2
    report = hf.preindex(make(), batches(clean), batches(shifted))
    assert "one batch" not in report.mode
    model = make().eval()
    with torch.no_grad():
        right = [float((model(x).argmax(1) == y).float().sum()) for x, y in batches(shifted)]
    assert report.accuracy is not None
    assert report.accuracy["shifted"] == pytest.approx(sum(right) / N)


@pytest.mark.parametrize("move", [1, -1, 2**61])
def test_no_accuracy_where_labels_do_not_number_the_logits(move: int) -> None:
    clean = samples(6)
    report = hf.preindex(mlp(), [(clean, classes() + move)], [(shift(clean), classes() + move)])
    assert report.accuracy is None
    assert report.accuracy_drop is None
    assert "accuracy" not in str(report)


@pytest.mark.parametrize("embedding", [None, "0"])
def test_embeddings_do_not_keep_whole_activations(
    embedding: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hitl_fast.shift.embeddings import EmbeddingStore

    kept: list[Tensor] = []
    append = EmbeddingStore.append

    def watched(self: EmbeddingStore, clean: Tensor, shifted: Tensor) -> None:
        kept.extend((clean, shifted))
        append(self, clean, shifted)

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(6, 8, batch_first=True), nn.Linear(8, CLASSES)
            self.body = nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.lstm(self.body(x))[0][:, -1])

    monkeypatch.setattr(EmbeddingStore, "append", watched)
    clean = samples(50, 6)
    name = None if embedding is None else "body"
    hf.preindex(seeded(Last), batches(clean), batches(shift(clean)), embedding=name)
    both = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    assert sum(both.values()) == sum(tensor.nbytes for tensor in kept)


@pytest.mark.parametrize("arithmetic", ["corrected", "reference"])
def test_the_callers_tensors_are_not_changed(arithmetic: str) -> None:
    clean = samples(6)
    shifted = shift(clean)
    before = clean.clone(), shifted.clone()
    model = seeded(lambda: nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 8), nn.Linear(8, CLASSES)))
    hf.preindex(model, batches(clean), batches(shifted), arithmetic=arithmetic)
    hf.preindex(model, batches(clean), batches(clean), arithmetic=arithmetic)
    assert torch.equal(clean, before[0])
    assert torch.equal(shifted, before[1])


def test_a_layer_on_two_resolutions_counts_both_calls_when_flattened() -> None:
    class Pyramid(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.turn, self.head = nn.Conv2d(1, 1, 3, padding=1), nn.Linear(16, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.turn(nn.functional.avg_pool2d(self.turn(x), 2)).flatten(1))

    clean = samples(1, 8, 8)
    for arithmetic in ("corrected", "reference"):
        report = hf.preindex(
            seeded(Pyramid), batches(clean), batches(shift(clean)), pooling="flatten", arithmetic=arithmetic
        )
        assert report.layers["turn"].rows == 2 * N
        assert report.layers["turn"].units == 64


def test_maps_averaged_into_logits_are_the_output_layer() -> None:
    model = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.Conv2d(8, CLASSES, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
    )
    clean = samples(1, 9, 9)
    report = hf.preindex(model, batches(clean), batches(shift(clean)), embedding="0")
    assert list(report.layers) == ["0"]
    assert report.skipped == {"2": "taken for what made the logits (the last layer to run)"}


def test_samplers_and_drop_last_say_how_many_samples() -> None:
    clean = samples(6)
    longer = TensorDataset(torch.cat([clean, clean]), torch.cat([classes(), classes()]))
    exact = TensorDataset(shift(clean), classes())
    report = hf.preindex(mlp(), DataLoader(longer, 10, sampler=range(N)), DataLoader(exact, 10))
    assert report.samples == N
    report = hf.preindex(mlp(), *(DataLoader(exact, 7, drop_last=True) for _ in range(2)))
    assert report.samples == 28


def test_equal_halves_of_a_joined_batch_are_at_no_distance() -> None:
    """Without the shortcut for equal batches: one sample moves, all others must stay where they are."""
    clean = samples(1, 9, 9)
    shifted = clean.clone()
    shifted[13] += 1  # in the second batch, which goes joined
    for arithmetic in ("corrected", "reference"):
        report = hf.preindex(cnn(), batches(clean), batches(shifted), arithmetic=arithmetic)
        moved = hf.preindex(cnn(), batches(clean[13:14]), batches(shifted[13:14]), arithmetic=arithmetic)
        for name in ("0", "2"):
            expected = moved.layers[name].distances[32]["jensen_shannon"] / N
            assert report.layers[name].distances[32]["jensen_shannon"] == pytest.approx(expected, rel=1e-3)


def test_refuses_models_without_values_or_python() -> None:
    with pytest.raises(ValueError, match="the model is on the meta device"):
        hf.preindex(mlp().to("meta"), GOOD, GOOD)
    with pytest.raises(ValueError, match="device must be, .* not 'gpu7'"):
        hf.preindex(mlp(), GOOD, GOOD, device="gpu7")


class Merging(nn.Linear):
    """Adds a low-rank change to its weights in evaluation and takes it out in training, as LoRA layers do."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.a, self.b = nn.Parameter(torch.randn(2, inputs)), nn.Parameter(torch.randn(outputs, 2))
        self.merged = False

    def train(self, mode: bool = True) -> "Merging":
        super().train(mode)
        if self.merged == mode:
            self.weight.data += (-1 if mode else 1) * self.b @ self.a
            self.merged = not mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (0 if self.merged else x @ self.a.T @ self.b.T)


def test_modules_that_override_train_stay_as_they_were() -> None:
    model = seeded(lambda: nn.Sequential(Merging(6, 16), nn.ReLU(), nn.Linear(16, CLASSES)))
    first = model[0]
    assert isinstance(first, Merging)
    weight = first.weight.clone()
    clean = samples(6)
    hf.preindex(model, batches(clean), batches(shift(clean)))
    assert torch.equal(first.weight, weight)
    assert first.training
    assert not first.merged
    model(clean).sum().backward()
    assert first.a.grad is not None


@pytest.mark.parametrize(
    "finish",
    [
        lambda h: h,
        lambda h: h.squeeze(1),
        lambda h: h.sigmoid().squeeze(1),
        lambda h: h.squeeze(1).sigmoid(),
        lambda h: h[:, 0].double() * 1.0,
    ],
)
@pytest.mark.parametrize("size", [1, 10])
def test_one_logit_is_the_output_layer(finish: Callable[[Tensor], Tensor], size: int) -> None:
    class Binary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 20), nn.Linear(20, 1)

        def forward(self, x: Tensor) -> Tensor:
            return finish(self.head(self.body(x).relu()))

    clean = samples(6)
    report = hf.preindex(seeded(Binary), batches(clean, size), batches(shift(clean), size))
    assert list(report.layers) == ["body"]
    assert list(report.skipped) == ["head"]
    assert "made the logits" in report.skipped["head"]


def test_a_map_averaged_into_one_logit_is_the_output_layer() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 1, 1), nn.Sigmoid(), Averaged())
    )
    clean = samples(1, 9, 9)
    report = hf.preindex(model, batches(clean), batches(shift(clean)), embedding="0")
    assert list(report.layers) == ["0"]
    assert report.skipped == {"2": "taken for what made the logits (the last layer to run)"}


class Averaged(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("embedding", [None, "body"])
def test_models_that_switch_gradients_on_keep_no_graph(
    embedding: str | None, pooling: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hitl_fast.shift import one_pass

    kept: list[Tensor] = []

    class Watched(one_pass.EmbeddingStore):
        def append(self, clean: Tensor, shifted: Tensor) -> None:
            kept.extend((clean, shifted))
            super().append(clean, shifted)

    def found(self: one_pass.Pass, name: str, ours: Tensor, theirs: Tensor) -> None:
        kept.extend((ours, theirs))
        rows(self, name, ours, theirs)

    class Gradients(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            with torch.enable_grad():
                return self.head(self.body(x).mean(1))

    rows = one_pass.Pass._found
    monkeypatch.setattr(one_pass.Pass, "_found", found)
    monkeypatch.setattr("hitl_fast.shift.estimate.EmbeddingStore", Watched)
    clean = samples(5, 6)
    hf.preindex(
        seeded(Gradients), batches(clean), batches(shift(clean)), embedding=embedding, pooling=pooling
    )
    assert len(kept) >= 12
    assert not any(tensor.requires_grad for tensor in kept)


def test_a_module_with_two_names_is_an_embedding_by_either() -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 20), nn.Linear(20, CLASSES)
            self.encoder = self.body

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(x).relu())

    clean = samples(6)
    ours, theirs = (
        hf.preindex(seeded(Named), batches(clean), batches(shift(clean)), embedding=name)
        for name in ("body", "encoder")
    )
    assert theirs.embedding == "encoder"
    assert list(theirs.layers) == list(ours.layers) == ["body"]
    assert (theirs.index, theirs.cka) == (ours.index, ours.cka)


def test_a_loader_may_have_a_generator_that_is_not_of_torch() -> None:
    class Loader(list[tuple[Tensor, Tensor]]):
        generator = np.random.default_rng(0)

    clean = samples(6)
    report = hf.preindex(mlp(), Loader(batches(clean)), Loader(batches(shift(clean))))
    assert report.samples == N


class Steps(nn.Module):
    """Sequences to logits, time first inside as PyTorch's encoder is by default; the input samples or time first."""

    def __init__(self, time_first: bool) -> None:
        super().__init__()
        self.enter, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.time_first = time_first
        self.passes = 0

    def forward(self, x: Tensor, padding: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        self.passes += 1
        hidden = self.enter(x if self.time_first else x.transpose(0, 1))
        return self.head(self.encoder(hidden, mask=mask, src_key_padding_mask=padding).mean(0))


def cut(x: Tensor, size: int | list[int], time_first: bool) -> Batches:
    parts = x.transpose(0, 1).split(size, 1) if time_first else x.split(size)
    return list(zip(parts, classes().split(size), strict=True))


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("steps", [1, 7, 10, 20])
def test_time_first_distances_do_not_depend_on_the_batch_size(
    steps: int, time_first: bool, pooling: str
) -> None:
    clean = samples(steps, 6)
    shifted = shift(clean)
    expected = hf.preindex(
        seeded(lambda: Steps(False)),
        cut(clean, [14, 16], False),
        cut(shifted, [14, 16], False),
        pooling=pooling,
    )
    model = seeded(lambda: Steps(time_first))
    for size in (1, 10, [2, 10, 18], [1, 14, 15]):
        report = hf.preindex(
            model, cut(clean, size, time_first), cut(shifted, size, time_first), pooling=pooling
        )
        assert list(report.layers) == list(expected.layers)
        for name, layer in report.layers.items():
            assert layer.units == expected.layers[name].units
            assert layer.distances[32] == pytest.approx(expected.layers[name].distances[32], rel=1e-3)
        assert report.accuracy == expected.accuracy


@pytest.mark.parametrize("time_first", [False, True])
@pytest.mark.parametrize("together", [False, True])
def test_masks_of_as_many_steps_as_samples(time_first: bool, together: bool) -> None:
    """With 10 steps and batches of 10 the shapes of input, padding (n, T) and mask (T, T) are the same."""
    clean = samples(10, 6)
    shifted = shift(clean)
    padding = torch.arange(10) >= 4 + torch.arange(N).unsqueeze(1) % 7
    mask = torch.ones(10, 10).triu(1).bool()
    found = []
    for size in (10, 15):
        sides = [
            [
                (x, p, mask, y)
                for (x, y), p in zip(cut(side, size, time_first), padding.split(size), strict=True)
            ]
            for side in (clean, shifted)
        ]
        model = seeded(lambda: Steps(time_first))
        found.append(hf.preindex(model, *sides, pooling="flatten" if together else "mean"))
        assert "in turn" in found[-1].mode
        # The mask is causal, shared by all samples: not one of padding.
        assert not [note for note in found[-1].notes if "effort score" not in note]
    for name, layer in found[0].layers.items():
        assert layer.distances[32] == pytest.approx(found[1].layers[name].distances[32], rel=1e-3)


def test_few_samples_go_alone_before_the_first_batch_of_each_kind() -> None:
    clean = samples(10, 6)
    model = seeded(lambda: Steps(False))
    assert isinstance(model, Steps)
    report = hf.preindex(model, cut(clean, 10, False), cut(shift(clean), 10, False))
    batches_run = 2 + 1 + 1  # the first in turn, two joined
    finding_the_head, exchanging_samples_and_steps = 1, 2
    assert model.passes == batches_run + finding_the_head + exchanging_samples_and_steps + 3 * 2
    assert report.seconds["checking"] > 0


class Tagging(nn.Module):
    """Logits for every step: nothing tells samples from steps where there are as many."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())


def test_samples_and_steps_that_can_change_places_are_refused() -> None:
    clean = samples(10, 6)
    for time_first in (False, True):
        with pytest.raises(ValueError, match=r"cannot tell which dimension .* \(10, 10, 6\)"):
            hf.preindex(seeded(Tagging), cut(clean, 10, time_first), cut(shift(clean), 10, time_first))
    ours, theirs = (
        hf.preindex(seeded(Tagging), cut(clean, 5, time_first), cut(shift(clean), 5, time_first))
        for time_first in (False, True)
    )
    assert theirs.layers["body"].distances[32] == pytest.approx(ours.layers["body"].distances[32], rel=1e-3)


def test_a_layer_without_samples_is_skipped_however_many_there_are() -> None:
    class Placed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.enter, self.place, self.head = nn.Linear(6, 8), nn.Linear(2, 8), nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            places = self.place(torch.ones(10, 10, 2).cumsum(0)).mean(0)
            return self.head((self.enter(x) + places).mean(1))

    clean = samples(10, 6)
    for size in (10, 15):
        report = hf.preindex(seeded(Placed), batches(clean, size), batches(shift(clean), size))
        assert list(report.layers) == ["enter"]
        assert "does not grow with the number of samples" in report.skipped["place"]
