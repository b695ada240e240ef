"""Philox against its published vectors, on every path, and the uniforms made of its words."""

import numpy as np
import pytest
from hitl_kernels.philox import Purpose, Stream, cpu, reference, uniforms

ALL = 0xFFFFFFFF
# kat_vectors of Random123 (Salmon et al.), philox4x32 10: counter, key, words
PUBLISHED = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL, ALL, ALL, ALL), (ALL, ALL), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def stream_and_draw(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[Stream, int]:
    return Stream(key[0] | counter[3] << 32, key[1], counter[2]), counter[0] | counter[1] << 32


@pytest.mark.parametrize(("counter", "key", "words"), PUBLISHED)
def test_published_vectors(counter: tuple[int, ...], key: tuple[int, ...], words: tuple[int, ...]) -> None:
    stream, draw = stream_and_draw(counter, key)
    assert reference.blocks(stream, np.array([draw], np.uint64)).tolist() == [list(words)]
    assert tuple(int(w) for w in cpu.block(np.uint64(draw), cpu.words(stream))) == words


@pytest.mark.parametrize(
    ("start", "count", "stride"), [(0, 1, 1), (5, 97, 3), (2**32 - 3, 7, 1), (2**62, 2, 2**40), (0, 0, 1)]
)
def test_equals_the_definition(start: int, count: int, stride: int) -> None:
    stream = Stream(2**63 + 5, 2**32 - 1, Purpose.SHUFFLE)
    draws = np.uint64(start) + np.arange(count, dtype=np.uint64) * np.uint64(stride)
    expected = reference.uniforms(stream, draws)
    assert np.array_equal(uniforms(stream, start, count, stride), expected)
    assert expected.shape == (2, count)


def test_uniforms_are_53_bits_below_one() -> None:
    found = uniforms(Stream(1, 2, 3), 0, 500)
    assert found.min() >= 0
    assert found.max() < 1
    assert np.array_equal(np.floor(found * 2.0**53), found * 2.0**53)
    assert (found * 2.0**52 % 1 != 0).any()  # the last of the 53 is not always 0


@pytest.mark.parametrize("purposes", [list(Purpose)])
def test_streams_do_not_meet(purposes: list[Purpose]) -> None:
    streams = [Stream(seed, epoch, p) for seed in (0, 1, 2**32) for epoch in (0, 1) for p in purposes]
    numbers = np.stack([uniforms(stream, 0, 4)[0] for stream in streams])
    assert len(np.unique(numbers)) == numbers.size


def test_refuses_draws_outside_the_counter() -> None:
    for start, count, stride in [(-1, 1, 1), (0, -1, 1), (0, 1, 0), (2**63 - 1, 1, 1)]:
        with pytest.raises(ValueError, match="expected within 0 to"):
            uniforms(Stream(0, 0, 0), start, count, stride)


@pytest.mark.interpreter
@pytest.mark.parametrize(("start", "count", "stride"), [(0, 1, 1), (1, 700, 1), (2**32 - 3, 7, 2**33)])
def test_triton_gives_the_same_bits(start: int, count: int, stride: int) -> None:
    import torch
    from hitl_kernels.philox import gpu

    for stream in (Stream(1, 1, 1), Stream(2**64 - 1, 2**32 - 1, 2**32 - 1), Stream(0, 0, 0)):
        found = gpu.uniforms(stream, start, count, stride, torch.device("cpu"))
        assert np.array_equal(found.numpy(), cpu.uniforms(stream, start, count, stride))


@pytest.mark.gpu
def test_a_gpu_gives_the_same_bits() -> None:
    stream = Stream(2**40 + 1, 7, 0)
    assert np.array_equal(
        uniforms(stream, 3, 10_000, 5, "cuda").cpu().numpy(), uniforms(stream, 3, 10_000, 5)
    )
