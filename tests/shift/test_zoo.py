"""Many transformers classifiers, and other kinds of model, against samples that go through them one at a time.

The oracle is of this file: hooks of its own on linear and convolutional layers, one sample after the other, features
pooled over all positions that are no padding. Everything is float64, so that rounding moves nothing.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hitl_kernels.shift_distances import reference
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

import hitl_fast as hf

pytestmark = pytest.mark.jit

N, CLASSES, TOKENS = 6, 3, 9
LABELS = torch.arange(N) % CLASSES
SMALL = {
    "vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "num_labels": CLASSES,
}  # fmt: skip
GROUPED = {"num_key_value_heads": 1, "head_dim": 8}
TEXT: dict[str, dict[str, Any]] = {
    "Bert": {}, "Roberta": {"pad_token_id": 0}, "Electra": {"embedding_size": 16}, "Albert": {"embedding_size": 16},
    "Camembert": {}, "XLMRoberta": {}, "MPNet": {}, "ConvBert": {"embedding_size": 16, "head_ratio": 1},
    "RoFormer": {"embedding_size": 16}, "MegatronBert": {},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32},
    "Deberta": {}, "DebertaV2": {}, "SqueezeBert": {"embedding_size": 16, "q_groups": 2, "k_groups": 2, "v_groups": 2,
    "post_attention_groups": 1, "intermediate_groups": 2, "output_groups": 2}, "MobileBert": {"embedding_size": 16,
    "intra_bottleneck_size": 16, "num_feedforward_networks": 1}, "Ernie": {},
    "Llama": GROUPED, "Mistral": GROUPED, "Qwen2": GROUPED, "Qwen3": GROUPED, "Gemma": GROUPED, "Phi": {},
    "StableLm": {"num_key_value_heads": 2}, "GPTNeoX": {}, "OPT": {"ffn_dim": 32, "word_embed_proj_dim": 16},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40}, "Bloom": {"n_layer": 2, "n_head": 2},
    "Falcon": {}, "Starcoder2": {"num_key_value_heads": 1},
}  # fmt: skip


def text_model(name: str) -> nn.Module:
    config = getattr(transformers, f"{name}Config")(**(SMALL | TEXT[name]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made: nn.Module = getattr(transformers, f"{name}ForSequenceClassification")(config)
    return made.double().eval()


def texts(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(5, 60, (N, TOKENS), generator=generator)
    mask = (torch.arange(TOKENS) < 5 + torch.arange(N).unsqueeze(1) % 5).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def lone_rows(model: nn.Module, inputs: dict[str, Tensor]) -> dict[str, list[list[np.ndarray]]]:
    """By layer and sample, a row for each call."""
    found: dict[str, list[list[np.ndarray]]] = {}
    sample, kept = 0, torch.ones(0, dtype=torch.bool)

    def hook(name: str) -> Callable[..., None]:
        def see(module: nn.Module, args: Any, output: Any) -> None:
            values = output
            if isinstance(module, _ConvNd):
                values = output.flatten(2).transpose(1, 2)
            rows = values.reshape(-1, values.shape[-1])
            if len(rows) == len(kept):
                rows = rows[kept]
            found.setdefault(name, [[] for _ in range(N)])[sample].append(rows.mean(0).numpy())

        return see

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | _ConvNd) or type(module).__name__ == "Conv1D"
    ]
    with torch.no_grad():
        for sample in range(N):
            one = {key: values[sample : sample + 1] for key, values in inputs.items()}
            mask = one.get("attention_mask")
            kept = torch.ones(1, dtype=torch.bool) if mask is None else mask[0].bool()
            model(**one)
    for handle in handles:
        handle.remove()
    return found


def divergence(clean: list[list[np.ndarray]], shifted: list[list[np.ndarray]]) -> float:
    pairs = [(x, y) for a, b in zip(clean, shifted, strict=True) for x, y in zip(a, b, strict=True)]
    rows = [np.stack(side) for side in zip(*pairs, strict=True)]
    return float(reference.shift_distances(rows[0], rows[1], (32,))[0][:, 0, 0].mean())


def check(
    model: nn.Module, clean: dict[str, Tensor], shifted: dict[str, Tensor], least: int
) -> hf.PreIndexReport:
    """Every layer of the report that the oracle sees is equal to it, at two batch sizes."""
    ours, theirs = lone_rows(model, clean), lone_rows(model, shifted)
    for size in (N, 4):
        sides = [
            [
                {k: v[i : i + size] for k, v in side.items()} | {"labels": LABELS[i : i + size]}
                for i in range(0, N, size)
            ]
            for side in (clean, shifted)
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = hf.preindex(model, *sides)
        seen = [name for name in report.layers if name in ours]
        assert len(seen) >= least, report.skipped
        for name in seen:
            expected = divergence(ours[name], theirs[name])
            assert report.layers[name].distances[32]["jensen_shannon"] == pytest.approx(expected, abs=1e-6), (
                name
            )
    return report


@pytest.mark.parametrize("name", TEXT)
def test_text_classifiers(name: str) -> None:
    check(text_model(name), texts(0), texts(1), least=4)


PIXELS = {"image_size": 16, "num_labels": CLASSES}
PATCHES = {
    "patch_size": 4, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
}  # fmt: skip
VISION: dict[str, dict[str, Any]] = {
    "ViT": PATCHES, "DeiT": PATCHES,
    "Swinv2": {"patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4},
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    "MobileNetV2": {"depth_multiplier": 0.25, "min_depth": 4, "depth_divisible_by": 4},
}  # fmt: skip


@pytest.mark.parametrize("name", VISION)
def test_image_classifiers(name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = getattr(transformers, f"{name}Config")(**(PIXELS | VISION[name]))
        model = getattr(transformers, f"{name}ForImageClassification")(config).double().eval()
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(N, 3, 16, 16, generator=generator, dtype=torch.float64)
    shifted = clean + torch.randn(N, 3, 16, 16, generator=generator, dtype=torch.float64)
    report = check(model, {"pixel_values": clean}, {"pixel_values": shifted}, least=3)
    assert not any("position_bias" in layer for layer in report.layers)


class Experts(nn.Module):
    """Each sample goes to one of two experts."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.router = nn.Linear(6, 8), nn.Linear(8, 2)
        self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x).tanh()
        chosen = self.router(hidden).argmax(1)
        made = torch.zeros_like(hidden)
        for place, expert in enumerate(self.experts):
            rows = (chosen == place).nonzero()[:, 0]
            if len(rows):
                made[rows] = expert(hidden[rows])
        return self.head(made)


class Compiled(nn.Module):
    """A part that is compiled and stands under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.body = torch.compile(nn.Linear(6, 16), backend="eager")
        self.again, self.head = self.body, nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.again(x).relu())


class Adapted(nn.Module):
    """A layer with a low-rank change, as adapters build it: the base, two factors, and a wrapper of the same width."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.in_features, self.out_features = inner, outer
        self.base_layer = nn.Linear(inner, outer)
        self.lora_A, self.lora_B = nn.Linear(inner, 2, bias=False), nn.Linear(2, outer, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


@pytest.mark.parametrize(
    ("make", "layers", "skipped"),
    [
        (Experts, ["enter", "router"], ["experts.0", "experts.1"]),
        (Compiled, ["body"], []),
        (lambda: nn.Sequential(Adapted(6, 16), nn.ReLU(), Adapted(16, CLASSES)), ["0"], []),
    ],
)
@pytest.mark.parametrize("size", [N, 4])
def test_each_weight_counts_once(
    make: Callable[[], nn.Module], layers: list[str], skipped: list[str], size: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = make().double()
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(N, 6, generator=generator, dtype=torch.float64)
    shifted = clean + torch.randn(N, 6, generator=generator, dtype=torch.float64)
    sides = [list(zip(side.split(size), LABELS.split(size), strict=True)) for side in (clean, shifted)]
    report = hf.preindex(model, *sides)
    assert list(report.layers) == layers
    assert set(skipped) <= set(report.skipped)
    assert all(layer.rows == N for layer in report.layers.values())


@pytest.mark.filterwarnings("ignore")
def test_dynamic_int8_is_never_joined() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        base = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, CLASSES))
    model = torch.ao.quantization.quantize_dynamic(base, {nn.Linear}, dtype=torch.qint8)
    clean = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(24) % CLASSES
    sides = [
        list(zip(side.split(8), labels.split(8), strict=True))
        for side in (clean, clean + 100 * clean.roll(1, 0))
    ]
    report = hf.preindex(model, *sides)
    assert "one batch" not in report.mode
    assert any("sees the batch" in note for note in report.notes)
