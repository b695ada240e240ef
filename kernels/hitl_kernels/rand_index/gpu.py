"""Adjusted Rand index on a GPU: one program a block of samples, integer atomics into a contingency table."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

BLOCK = 1024  # samples a program
CELLS = 1 << 24  # a table of 128 MiB; a larger one, mostly empty, is counted by sorting pairs
SPREAD = 1 << 16  # cells over which the atomics of a small table are spread, in copies of it


@triton.jit
def _contingency(  # type: ignore[no-untyped-def]
    rows, columns, table, n, n_columns, cells, copies, BLOCK: tl.constexpr
):
    """table[copy, rows[i], columns[i]] += 1; integers, so in any order."""
    block = tl.program_id(0).to(tl.int64)
    i = block * BLOCK + tl.arange(0, BLOCK)
    row = tl.load(rows + i, mask=i < n, other=0)
    column = tl.load(columns + i, mask=i < n, other=0)
    cell = (block % copies) * cells + row * n_columns + column
    tl.atomic_add(table + cell, tl.full((BLOCK,), 1, tl.int64), mask=i < n, sem="relaxed")


OPTIONS = {"enable_fp_fusion": False}  # nothing here is a float

KERNELS = {
    "contingency": (
        _contingency,
        {
            "rows": "*i64", "columns": "*i64", "table": "*i64", "n": "i64", "n_columns": "i64",
            "cells": "i64", "copies": "i64", "BLOCK": "constexpr",
        },
        {"BLOCK": BLOCK},
        OPTIONS,
    )
}  # fmt: skip


def pair_counts(labels: torch.Tensor, clusters: torch.Tensor) -> tuple[int, int, int]:
    """Pairs of samples that share class and cluster, class, cluster."""
    (rows, n_rows), (columns, n_columns) = _dense(labels), _dense(clusters)
    if n_rows * n_columns <= max(CELLS, labels.numel()):
        table = _table(rows, columns, n_rows, n_columns)
        counts = (_pairs(table), _pairs(table.sum(1)), _pairs(table.sum(0)))
    else:
        pairs = torch.unique(rows * n_columns + columns, return_counts=True)[1]
        counts = (_pairs(pairs), _pairs(torch.bincount(rows)), _pairs(torch.bincount(columns)))
    same_both, same_class, same_cluster = torch.stack(counts).tolist()
    return same_both, same_class, same_cluster


def _dense(values: torch.Tensor) -> tuple[torch.Tensor, int]:
    """Values as 0 .. k - 1: by offset where the range is small, else by sorting."""
    values = values.view(torch.int64) if values.dtype == torch.uint64 else values.long()
    low, high = torch.stack(torch.aminmax(values)).tolist()
    if high - low < max(4096, values.numel() // 16):
        return values - low, high - low + 1
    distinct, codes = torch.unique(values, return_inverse=True)
    return codes, distinct.numel()


def _table(rows: torch.Tensor, columns: torch.Tensor, n_rows: int, n_columns: int) -> torch.Tensor:
    cells = n_rows * n_columns
    copies = max(1, SPREAD // cells)
    table = torch.zeros((copies, n_rows, n_columns), dtype=torch.int64, device=rows.device)
    grid = (triton.cdiv(rows.numel(), BLOCK),)
    _contingency[grid](rows, columns, table, rows.numel(), n_columns, cells, copies, BLOCK=BLOCK, **OPTIONS)
    return table.sum(0)


def _pairs(sizes: torch.Tensor) -> torch.Tensor:
    return (sizes * (sizes - 1) // 2).sum()
