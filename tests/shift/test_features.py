"""Embeddings of all samples: those of `preindex`, in the loader's order, with the model left as it was."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import hitl_fast as hf
from hitl_fast._common.errors import InputError, InputTypeError

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(37, 4, generator=G), torch.arange(37) % 3


class Tokens(nn.Module):
    """Token means that leave padding out, and a head on them."""

    def __init__(self, head_on_tokens: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.mix, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.on_tokens = head_on_tokens

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        h = torch.tanh(self.mix(self.embed(input_ids)))
        kept = attention_mask[..., None].float()
        if self.on_tokens:
            last = attention_mask.sum(1) - 1
            return self.head(h)[torch.arange(len(h)), last]
        return self.head((h * kept).sum(1) / kept.sum(1))


def layers() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.ReLU(), nn.Linear(16, 3))


@pytest.mark.parametrize("batch", [1, 8, 37])
def test_equals_the_layer_before_the_logits(batch: int) -> None:
    model = layers().train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found, labels = hf.embeddings(model, DataLoader(TensorDataset(X, Y), batch))
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    assert (found.dtype, labels.dtype) == (np.float32, np.int64)
    assert labels.tolist() == Y.tolist()
    with torch.no_grad():
        expected = model.eval()[:4](X)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("on_tokens", [False, True])
def test_padding_does_not_count(on_tokens: bool) -> None:
    ids, lengths = torch.randint(1, 20, (9, 6), generator=G), torch.tensor([6, 2, 3, 1, 6, 5, 4, 2, 6])
    mask = (torch.arange(6) < lengths[:, None]).long()
    model = Tokens(on_tokens).eval()
    batches = [
        {"input_ids": ids[a:b], "attention_mask": mask[a:b], "labels": Y[a:b]} for a, b in ((0, 4), (4, 9))
    ]
    found, _ = hf.embeddings(model, batches)
    with torch.no_grad():
        h = torch.tanh(model.mix(model.embed(ids)))
        mean = (h * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(
        found, h[torch.arange(9), lengths - 1] if on_tokens else mean, rtol=0, atol=1e-6
    )
    others = [{**batch, "real": batch["attention_mask"], "attention_mask": torch.ones(len(batch["labels"]), 6).long()}
              for batch in batches]  # fmt: skip
    given, _ = hf.embeddings(model, others, "mix", inputs=["input_ids", "attention_mask"], mask="real")
    named, _ = hf.embeddings(model, batches, "mix")
    np.testing.assert_allclose(given, named, rtol=0, atol=1e-6)
    with torch.no_grad():
        mixed = model.mix(model.embed(ids))
        expected = (mixed * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    np.testing.assert_allclose(named, expected, rtol=0, atol=1e-6)


def test_maps_of_a_named_layer_are_pooled_and_the_same_as_of_preindex(tmp_path: Path) -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 16, 3)).eval()
    images = torch.randn(12, 1, 6, 6, generator=G)
    found, _ = hf.embeddings(model, [(images, Y[:12])], "0")
    with torch.no_grad():
        np.testing.assert_allclose(found, model[0](images).mean((2, 3)), rtol=0, atol=1e-6)
    found, _ = hf.embeddings(model, [(images, Y[:12])])
    assert found.shape == (12, 80)
    report = hf.preindex(model, [(images, Y[:12])], [(images, Y[:12])], progress=False)
    assert report.embedding == "input of 3"


def test_features_for_signals() -> None:
    found, labels = hf.embeddings(layers(), [(X, Y)])
    assert len(hf.Signals.of(found, labels)) == 37


@pytest.mark.parametrize(
    ("loader", "error", "named"),
    [
        ([], InputError, "loader holds no batch"),
        ([X], InputTypeError, "a batch of loader.*: embeddings returns one class"),
        ([(X, torch.arange(37), Y)], InputTypeError, "by inputs="),
        ([{"image": X, "labels": Y}], InputTypeError, "by inputs='image'"),
        ("abc", InputTypeError, "loader must yield batches"),
        (TensorDataset(X, Y), InputTypeError, "loader must yield batches"),
        (
            [(X, Y.float())],
            InputTypeError,
            "labels of loader.*: embeddings returns one class.*floating point",
        ),
        ([(torch.full((5, 4), torch.nan), Y[:5])], InputError, "sample 0 is not finite"),
        ([(X[:5], Y[:5]), (torch.full((3, 4), torch.inf), Y[:3])], InputError, "sample 5 is not finite"),
    ],
)
def test_what_is_refused(loader: Any, error: type[Exception], named: str) -> None:
    model = layers()
    with pytest.raises(error, match=named) as raised:
        hf.embeddings(model, loader)
    assert "PreIndex" not in str(raised.value)
    assert "preindex" not in str(raised.value)
    assert model.training
    assert not any(m._forward_hooks for m in model.modules())


class SeesBatch(nn.Module):
    """Takes the mean of the batch away."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.enter(x)
        return self.leave(hidden - hidden.mean(0))


def test_arithmetic_that_sees_the_batch_warns() -> None:
    torch.manual_seed(3)
    with pytest.warns(UserWarning, match="batch size"):
        hf.embeddings(SeesBatch(), [(X, Y)])


def test_an_embedding_that_is_not_there() -> None:
    model = layers()
    assert hf.embeddings(model, [(X, Y)], "0")[0].shape == (37, 16)
    with pytest.raises(InputError, match="'b'"):
        hf.embeddings(model, [(X, Y)], "b")
    with pytest.raises(InputTypeError, match="Module"):
        hf.embeddings(3, [(X, Y)])  # type: ignore[arg-type]
