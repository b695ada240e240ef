"""Each shift does what its line says."""

import pytest
import torch

from hitl_fast.experiments.calibration import shifts
from hitl_fast.experiments.calibration.networks import ARCHITECTURES
from hitl_fast.experiments.calibration.shifts import SHIFTS, shifted
from hitl_fast.experiments.common.digits import Digits, seeded

GENERATOR = torch.Generator().manual_seed(0)


def blobs(n: int = 12) -> Digits:
    """Strokes with grey edges on black, no two at one place."""
    images = torch.zeros(n, 1, 28, 28)
    images[:, :, 8:20, 12:15] = 1.0
    images[:, :, 8:20, 15] = 0.5
    images[::2, :, 10:13, 8:20] = 0.8
    moved = [image.roll((i % 4 - 2, i % 3 - 1), (1, 2)) for i, image in enumerate(images)]
    return Digits(torch.stack(moved), torch.arange(n) % 10)


@pytest.mark.parametrize("name", SHIFTS)
def test_a_stronger_shift_changes_more_and_stays_an_image(name: str) -> None:
    data, changes = blobs(), []
    for strength in range(3):
        moved = shifted(data, name, strength, seed=1)
        assert moved.images.shape == data.images.shape
        assert moved.images.dtype == torch.float32
        assert torch.equal(moved.labels, data.labels)
        assert float(moved.images.min()) >= -1e-6
        assert float(moved.images.max()) <= 1 + 1e-6
        assert torch.equal(moved.images, shifted(data, name, strength, seed=1).images)
        changes.append(float((moved.images - data.images).square().mean()))
    assert 0 < changes[0] < changes[1] < changes[2]


def test_patches_lose_nothing_and_are_the_same_for_all() -> None:
    images = torch.rand(3, 1, 28, 28, generator=GENERATOR)
    moved = shifts.patches(images, 1.0, seed=2)
    assert not torch.equal(moved, images)
    assert torch.equal(moved.flatten(1).sort().values, images.flatten(1).sort().values)
    assert torch.equal(shifts.patches(images[2:], 1.0, seed=2), moved[2:])


def test_translation_moves_by_whole_pixels() -> None:
    images = torch.zeros(40, 1, 28, 28)
    images[:, :, 14, 14] = 1.0
    moved = shifts.translation(images, 3.0, seed=0)
    places = {tuple(divmod(int(image.argmax()), 28)) for image in moved}
    assert places == {(11, 14), (17, 14), (14, 11), (14, 17)}
    torch.testing.assert_close(moved.amax((1, 2, 3)), torch.ones(40), atol=1e-4, rtol=0)


def test_strokes_grow_and_shrink() -> None:
    images = blobs().images
    assert (shifts.dilation(images, 1.4) >= shifts.dilation(images, 1.0)).all()
    assert (shifts.dilation(images, 1.0) >= images).all()
    assert (shifts.erosion(images, 0.7) <= images).all()
    torch.testing.assert_close(shifts.inversion(images, 1.0), 1 - images)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures_read_digits(name: str) -> None:
    model = seeded(ARCHITECTURES[name], 0)
    images = blobs().images
    logits = model(images)
    assert logits.shape == (12, 10)
    # One image at a time, each sample is read by itself.
    torch.testing.assert_close(logits[:1], model(images[:1]), rtol=1e-4, atol=1e-5)
    assert torch.equal(logits, seeded(ARCHITECTURES[name], 0)(images))
