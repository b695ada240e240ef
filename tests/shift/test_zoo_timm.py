"""Image models of timm and torchvision against samples that go through them one at a time.

The two are installed beside the other packages, not among them (see the Makefile): torchvision's wheel is built for one
kind of torch, and with another its import fails where its operators are declared. No classifier calls them, so they are
declared here where nothing has done so.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from test_zoo import CLASSES, LABELS, N, check
from torch import Tensor, nn

import hitl_fast as hf

pytestmark = [pytest.mark.jit, pytest.mark.filterwarnings("ignore")]

BESIDE = Path(sys.prefix) / "zoo"

# Small ones of every kind: residual, inverted residual, re-parametrised, mixers, attention of several sorts (across
# channels, with positions of its own), two heads. The size of their images, and whether they must be told it.
TIMM = {
    **dict.fromkeys(
        ("resnet10t", "test_efficientnet", "test_convnext", "test_byobnet", "test_mambaout"), (32, False)
    ),
    **dict.fromkeys(
        ("mobilenetv3_small_050", "lcnet_050", "tinynet_e", "ghostnet_050", "repvgg_a0"), (32, False)
    ),
    **dict.fromkeys(
        ("test_vit", "test_vit2", "vit_tiny_patch16_224", "resmlp_12_224", "gmlp_ti16_224"), (32, True)
    ),
    **dict.fromkeys(("xcit_nano_12_p16_224", "deit_tiny_distilled_patch16_224"), (32, True)),
    "edgenext_xx_small": (64, False),
    "levit_128s": (64, True),
}
TORCHVISION = ("mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2_x0_5", "squeezenet1_1", "mnasnet0_5")


@pytest.fixture(scope="module", autouse=True)
def found() -> Iterator[None]:
    """Both can be imported, and are forgotten afterwards: other libraries would take torchvision for usable."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BESIDE))
        library = torch.library.Library("torchvision", "FRAGMENT")
        try:
            import torchvision
        except RuntimeError:
            _forget()
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            import torchvision  # noqa: F401
        yield
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("torchvision", "timm")]:
        del sys.modules[name]


class Inside(nn.Module):
    """A model within another, which names its images."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.double().eval()

    def forward(self, pixel_values: Tensor) -> Tensor:
        made: Tensor = self.model(pixel_values)
        return made


def timm_model(name: str) -> Inside:
    import timm

    size, told = TIMM[name]
    options = {"img_size": size} if told else {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Inside(timm.create_model(name, num_classes=CLASSES, **options))


def images(size: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(N, 3, size, size, generator=generator, dtype=torch.float64)
    return {"pixel_values": clean}, {"pixel_values": clean + clean.roll(1, 0)}


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    report = check(timm_model(name), *images(TIMM[name][0]), least=10)
    assert report.embedding not in ("input", "input of model"), "pixels are no embedding"


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvision(name: str) -> None:
    from torchvision import models

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Inside(getattr(models, name)(num_classes=CLASSES))
    report = check(model, *images(32), least=15)
    assert report.embedding.startswith(("input of model.classifier", "input of model.fc"))


def test_two_heads_are_in_doubt() -> None:
    """No single layer makes the logits of a model that averages two heads."""
    clean, shifted = ([(side["pixel_values"], LABELS)] for side in images(32))
    report = hf.preindex(timm_model("deit_tiny_distilled_patch16_224"), clean, shifted)
    assert "(" in report.embedding
