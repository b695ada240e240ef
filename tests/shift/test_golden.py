"""The published arithmetic on real digits: values of a repaired copy of the published code.

Two statements, since a forward pass in float32 rounds differently on different processors, and a value that crosses
a histogram edge moves a distance by about 1e-5. On the activations of this machine, our report equals the plain NumPy
definition to 1e-9. The golden values, made on another machine, are met within their stated tolerance plus what
rounding alone does here: the largest difference between the reports of a float32 and a float64 forward pass.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.shift_distances import MEASURES, reference
from networks import SmallResNet, SmallViT

import hitl_fast as hf

DATA = Path(__file__).parent.parent / "data"
MODELS = {"digits_resnet_gauss": SmallResNet, "digits_vit_gauss": SmallViT}
OVER_LAYERS, A_LAYER, ARI = 1e-5, 1e-4, 2e-3
OWN_ARITHMETIC = 1e-9

Batches = list[tuple[torch.Tensor, torch.Tensor]]


def golden(name: str, batch_size: int = 32) -> tuple[torch.nn.Module, Batches, Batches, dict[str, Any]]:
    expected = json.loads((DATA / f"{name}.json").read_text())
    held = np.load(DATA / f"{name}.npz", allow_pickle=False)
    model = MODELS[name]()
    model.load_state_dict(
        {key[2:]: torch.from_numpy(held[key]) for key in held.files if key.startswith("w:")}
    )
    labels = torch.from_numpy(held["labels"]).long()
    clean = torch.from_numpy(held["clean"]).float() / 16
    shifted = torch.from_numpy(held["shifted"])

    def cut(images: torch.Tensor) -> Batches:
        return list(zip(images.split(batch_size), labels.split(batch_size), strict=True))

    return model, cut(clean), cut(shifted), expected


def published(
    model: torch.nn.Module, clean: Batches, shifted: Batches, expected: dict[str, Any], **options: Any
) -> hf.PreIndexReport:
    return hf.preindex(
        model,
        clean,
        shifted,
        embedding=expected["embedding"],
        arithmetic="reference",
        pooling=expected["pooling"],
        **options,
    )


def every_value(report: hf.PreIndexReport) -> tuple[np.ndarray, np.ndarray]:
    """The distances over layers, [bins, measures], and of each layer, [layers, bins, measures]."""

    def values(distances: dict[int, dict[str, float]]) -> list[list[float]]:
        return [[by_measure[measure] for measure in MEASURES[:4]] for by_measure in distances.values()]

    layers = [values(layer.distances) for layer in report.layers.values()]
    return np.array(values(report.distances)), np.array(layers)


def golden_values(expected: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    def values(by_bins: dict[str, dict[str, float]]) -> list[list[float]]:
        return [[by_measure[measure] for measure in MEASURES[:4]] for by_measure in by_bins.values()]

    return np.array(values(expected["distances"])), np.array(
        [values(by_bins) for by_bins in expected["layers"].values()]
    )


@pytest.mark.jit
@pytest.mark.parametrize("name", MODELS)
def test_golden_values_within_rounding(name: str) -> None:
    model, clean, shifted, expected = golden(name)
    report = published(model, clean, shifted, expected)
    exact = published(
        model.double(),
        [(x.double(), y) for x, y in clean],
        [(x.double(), y) for x, y in shifted],
        expected,
    )
    assert report.samples == expected["samples"]
    assert report.classes == expected["classes"]
    assert list(report.layers) == list(expected["layers"])
    for stated, ours, in_double, golden_value in zip(
        (OVER_LAYERS, A_LAYER),
        every_value(report),
        every_value(exact),
        golden_values(expected),
        strict=True,
    ):
        rounding = np.max(np.abs(ours / in_double - 1))
        assert rounding < 3 * stated  # else the bound would hold anything
        np.testing.assert_allclose(ours, golden_value, rtol=stated + rounding)
    for kind, values in expected["clusters"].items():
        assert report.clusters[kind].ari == pytest.approx(values["ari"], abs=ARI)
        assert report.clusters[kind].inverse_ari == 1 - report.clusters[kind].ari
    assert report.accuracy == pytest.approx(expected["accuracy"], abs=1e-6)
    assert report.distance == report.distances[32]["jensen_shannon"]
    assert report.inverse_ari == report.clusters["shifted_from_clean"].inverse_ari
    assert report.index == report.u == report.distance + report.inverse_ari


def recorded(model: torch.nn.Module, layers: list[str], data: Batches) -> dict[str, np.ndarray]:
    """Outputs of the layers in evaluation mode, all samples."""
    modules, outputs = dict(model.named_modules()), {name: list[np.ndarray]() for name in layers}
    handles = [
        modules[name].register_forward_hook(lambda m, x, y, kept=kept: kept.append(y.numpy()))
        for name, kept in outputs.items()
    ]
    with torch.no_grad():
        for x, _ in data:
            model.eval()(x)
    for handle in handles:
        handle.remove()
    return {name: np.concatenate(kept) for name, kept in outputs.items()}


@pytest.mark.jit
@pytest.mark.parametrize("name", MODELS)
def test_report_equals_the_definition_on_the_activations_of_this_machine(name: str) -> None:
    model, clean, shifted, expected = golden(name)
    clean, shifted = clean[:4], shifted[:4]
    report = published(model, clean, shifted, expected)
    pooled = expected["pooling"] == "mean"
    ours, theirs = (recorded(model, list(report.layers), side) for side in (clean, shifted))
    over_layers = []
    for layer, found in report.layers.items():
        rows = [x if pooled and x.ndim == 4 else x.reshape(len(x), -1) for x in (ours[layer], theirs[layer])]
        distances, left_out = reference.shift_distances(*rows, arithmetic="reference")
        assert left_out == 0
        over_layers.append(distances.mean(0))
        for bins, values in zip((16, 32, 64), distances.mean(0), strict=True):
            assert list(found.distances[bins].values()) == pytest.approx(values, rel=OWN_ARITHMETIC)
    for bins, values in zip((16, 32, 64), np.mean(over_layers, axis=0), strict=True):
        assert list(report.distances[bins].values()) == pytest.approx(values, rel=OWN_ARITHMETIC)


@pytest.mark.jit
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("arithmetic", ["corrected", "reference"])
def test_no_shift_is_no_distance(name: str, arithmetic: str) -> None:
    model, clean, _, expected = golden(name, batch_size=100)
    clean = clean[:5]
    report = hf.preindex(model, clean, clean, arithmetic=arithmetic, pooling=expected["pooling"])
    assert report.distance == 0
    assert all(value == 0 for measures in report.distances.values() for value in measures.values())
    assert report.input_rms == report.resque_angle == report.accuracy_drop == 0
    assert report.cka == pytest.approx(1, abs=1e-12)
    assert report.inverse_ari == report.clusters["clean"].inverse_ari
    assert "equal batches once" in report.mode


@pytest.mark.jit
@pytest.mark.parametrize("name", MODELS)
def test_batch_size_and_way_through_the_model_hardly_count(name: str) -> None:
    """Only the model's own float32 arithmetic can differ: a value in a million then falls into the next bin."""
    reports = []
    for batch_size in (32, 7):
        model, clean, shifted, _ = golden(name, batch_size)
        n = 448 // batch_size
        reports.append(hf.preindex(model, clean[:n], shifted[:n], max_memory=0 if batch_size == 7 else None))
    together, in_file = reports
    assert "as one batch" in together.mode
    assert "embeddings in a file" in in_file.mode
    for bins, measures in together.distances.items():
        assert in_file.distances[bins] == pytest.approx(measures, rel=1e-4)
    assert in_file.inverse_ari == pytest.approx(together.inverse_ari, abs=ARI)
    assert in_file.cka == pytest.approx(together.cka, abs=1e-5)
    assert in_file.probe_error == pytest.approx(together.probe_error, abs=1e-6)
