"""CUDA_VISIBLE_DEVICES by CUDA's rules, without CUDA."""

import pytest

from hitl_fast.energy.sensors.visible_devices import visible

A, B, C = "GPU-a1b2-0", "GPU-a1c3-1", "GPU-d4e5-2"
MIG = {"MIG-11-x": A, "MIG-12-y": A, "MIG-21-z": B}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, [A, B, C]),
        ("", []),
        ("0", [A]),
        ("2,0", [C, A]),
        (" 1 , 2 ", [B, C]),
        ("0,1,-1,2", [A, B]),  # the first invalid entry ends the list
        ("7,0", []),
        ("1,9,0", [B]),
        ("0,0", []),  # named twice: none
        ("1,0,1", []),
        ("NoDevFiles", []),
        ("all", []),
        (A, [A]),
        ("GPU-d", [C]),
        ("GPU-a1c", [B]),
        ("GPU-a1", []),  # the beginning of two
        ("GPU-d,GPU-a1b", [C, A]),
        ("GPU-d,GPU-ffff,GPU-a1b", [C]),
        ("GPU-d,2", []),  # the same one, named in two ways
        ("MIG-11-x", [A]),
        ("MIG-11-x,MIG-21", [A, B]),
        ("MIG-11-x,MIG-12-y", [A]),  # two slices of one GPU: counted once
        ("MIG-9", []),
        (f"MIG-{A}/1/0", [A]),  # as drivers before 450 named them
        ("٣", []),  # a digit, but not CUDA's
    ],
)
def test_table(value: str | None, expected: list[str]) -> None:
    environment = {} if value is None else {"CUDA_VISIBLE_DEVICES": value}
    chosen, note = visible([A, B, C], environment, MIG)
    assert chosen == expected
    assert bool(note) == (not expected)


def test_order_is_doubtful_only_among_different_gpus() -> None:
    environment = {"CUDA_VISIBLE_DEVICES": "1"}
    assert visible([A, B], environment, alike=True) == ([B], "")
    chosen, note = visible([A, B], environment, alike=False)
    assert chosen == [B]
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in note
    assert visible([A, B], {**environment, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, alike=False) == ([B], "")
    assert visible([A, B], {"CUDA_VISIBLE_DEVICES": A}, alike=False) == ([A], "")
