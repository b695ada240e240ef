"""The published arithmetic on real digits: values of a repaired copy of the published code."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import SmallResNet, SmallViT

import hitl_fast as hf

DATA = Path(__file__).parent.parent / "data"
MODELS = {"digits_resnet_gauss": SmallResNet, "digits_vit_gauss": SmallViT}
OVER_LAYERS, A_LAYER, ARI = 1e-5, 1e-4, 2e-3

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


@pytest.mark.jit
@pytest.mark.parametrize("name", MODELS)
def test_reference_arithmetic(name: str) -> None:
    model, clean, shifted, expected = golden(name)
    report = hf.preindex(
        model,
        clean,
        shifted,
        embedding=expected["embedding"],
        arithmetic="reference",
        pooling=expected["pooling"],
    )
    assert report.samples == expected["samples"]
    assert report.classes == expected["classes"]
    assert list(report.layers) == list(expected["layers"])
    for bins, measures in expected["distances"].items():
        for measure, value in measures.items():
            assert report.distances[int(bins)][measure] == pytest.approx(value, rel=OVER_LAYERS)
    for layer, by_bins in expected["layers"].items():
        for bins, measures in by_bins.items():
            for measure, value in measures.items():
                assert report.layers[layer].distances[int(bins)][measure] == pytest.approx(value, rel=A_LAYER)
    for kind, values in expected["clusters"].items():
        assert report.clusters[kind].ari == pytest.approx(values["ari"], abs=ARI)
        assert report.clusters[kind].inverse_ari == 1 - report.clusters[kind].ari
    assert report.accuracy == pytest.approx(expected["accuracy"], abs=1e-6)
    assert report.distance == report.distances[32]["jensen_shannon"]
    assert report.inverse_ari == report.clusters["shifted_from_clean"].inverse_ari
    assert report.index == report.u == report.distance + report.inverse_ari


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
