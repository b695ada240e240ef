"""The Triton twin against the definition: through the interpreter on the CPU, and on a device where there is one."""

from typing import Any

import numpy as np
import pytest
import torch
from hitl_kernels.shift_distances import ARITHMETICS, reference, shift_distances
from test_shift_distances import TOLERANCE, rows_of_every_kind


def compare(
    device: str, dtype: torch.dtype, width: int, bins: tuple[int, ...], arithmetic: str, rows: int = 16
) -> None:
    from hitl_kernels.shift_distances import gpu

    clean, shifted = (x[:rows] for x in rows_of_every_kind(width, dtype, seed=width))
    with np.errstate(all="ignore"):
        expected, left_out = reference.shift_distances(clean, shifted, bins, arithmetic)
        tensors = torch.from_numpy(clean).to(device), torch.from_numpy(shifted).to(device)
        found, out, counts = gpu.shift_distances(*tensors, bins, arithmetic == "corrected", True)
        summed, _, _ = gpu.shift_distances(*tensors, bins, arithmetic == "corrected", False)
    np.testing.assert_allclose(found.cpu(), expected, *TOLERANCE[dtype])
    np.testing.assert_allclose(summed.cpu(), np.nansum(expected, 0), *TOLERANCE[dtype])
    assert int(out) == left_out
    same = shift_distances(clean, shifted, bins, arithmetic=arithmetic)
    np.testing.assert_array_equal(counts.cpu(), same.counts)


@pytest.mark.interpreter
@pytest.mark.parametrize(
    ("dtype", "width", "bins", "arithmetic"),
    [
        (torch.float32, 1, (2,), "corrected"),
        (torch.float32, 1, (2,), "reference"),
        (torch.float64, 7, (5, 7), "corrected"),
        (torch.float32, 7, (5, 7, 16), "reference"),
        (torch.float32, 130, (8, 16, 32), "corrected"),
        (torch.float64, 2049, (10, 20), "reference"),
    ],
)
def test_interpreted(dtype: torch.dtype, width: int, bins: tuple[int, ...], arithmetic: str) -> None:
    compare("cpu", dtype, width, bins, arithmetic)


@pytest.mark.interpreter
def test_a_row_split_over_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    from hitl_kernels.shift_distances import gpu

    monkeypatch.setattr(gpu, "_BLOCK", {4: 16})  # 300 values are then 3 shares of 8 blocks
    compare("cpu", torch.float32, 300, (16, 64), "corrected", rows=4)


@pytest.mark.interpreter
def test_no_shift_and_no_rows() -> None:
    from hitl_kernels.shift_distances import gpu

    rows = torch.randn(5, 77, generator=torch.Generator().manual_seed(0))
    assert float(gpu.shift_distances(rows, rows.clone(), (16, 32, 64), True, False)[0].max()) == 0
    distances, left_out, counts = gpu.shift_distances(rows[:0], rows[:0], (16, 32), True, False)
    assert distances.shape == (2, 5)
    assert float(distances.abs().max()) == int(left_out) == int(counts.sum()) == 0


@pytest.mark.interpreter
def test_maps_of_half_precision_are_pooled_in_float32() -> None:
    from hitl_kernels.shift_distances import gpu

    maps = torch.randn(2, 3, 6, 4, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    expected = shift_distances(maps[0].float(), maps[1].float(), (8, 16))
    found = gpu.shift_distances(maps[0], maps[1], (8, 16), True, False)[0]
    torch.testing.assert_close(found, expected.distances, rtol=1e-11, atol=1e-13)


@pytest.mark.interpreter
@pytest.mark.parametrize(("spread", "reads"), [(1.0, 2), (1e-5, 4), (1e-6, 1)])
def test_bytes_read_per_value(spread: float, reads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For extremes and finest bins; narrow rows, whose edges may not nest, once a size; constant ones for extremes."""
    from hitl_kernels.shift_distances import gpu
    from triton.runtime.interpreter import InterpreterBuilder

    rows = 1 + spread * torch.rand((2, 2, 64), generator=torch.Generator().manual_seed(0))
    first, last = rows.data_ptr(), rows.data_ptr() + rows.nbytes
    load, read = InterpreterBuilder.create_masked_load, []

    def counted(self: object, pointers: Any, mask: Any, *rest: Any) -> Any:
        read.append(int(((pointers.data >= first) & (pointers.data < last) & mask.data).sum()))
        return load(self, pointers, mask, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", counted)
    gpu.shift_distances(rows[0], rows[1], (4, 8, 16), True, False)
    assert sum(read) == reads * rows.numel()


@pytest.mark.gpu
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [1, 7, 257, 2049, 150_000])
def test_on_the_device(dtype: torch.dtype, width: int, arithmetic: str) -> None:
    compare("cuda", dtype, width, (16, 32, 64), arithmetic)
