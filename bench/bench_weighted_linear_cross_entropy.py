"""The last layer and the loss in chunks, beside a layer and a loss of PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from memory import extra_peak
from problems import language_head
from race import race, record
from torch.nn import functional as F

from hitl_fast.losses import weighted_linear_cross_entropy

N, H, V = 4096, 768, 50257
SHAPE = f"N={N} H={H} V={V}"


def eager(
    hidden: torch.Tensor, table: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    losses = F.cross_entropy(F.linear(hidden, table, bias), target, reduction="none")
    return (losses * weight).sum() / len(target)


def test_forward_and_backward() -> None:
    hidden, table, bias, target, weight = language_head(N, H, V)
    leaves = (hidden, table, bias)

    def step(loss: Callable[..., torch.Tensor]) -> list[torch.Tensor | None]:
        for leaf in leaves:
            leaf.grad = None
        loss(hidden, table, target, weight, bias).backward()
        return [leaf.grad for leaf in leaves]

    for ours, theirs in zip(step(weighted_linear_cross_entropy), step(eager), strict=True):
        assert ours is not None
        assert theirs is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * theirs.abs().max().item())
    del ours, theirs
    for name, loss in (("hitl_fast", weighted_linear_cross_entropy), ("torch eager", eager)):
        for leaf in leaves:
            leaf.grad = None
        megabytes = extra_peak(lambda loss=loss: step(loss)) / 2**20
        record("weighted_linear_cross_entropy", name, "extra peak memory", megabytes, unit="MiB", shape=SHAPE)
    race(
        "weighted_linear_cross_entropy",
        {
            "hitl_fast": lambda: step(weighted_linear_cross_entropy),
            "torch eager": lambda: step(eager),
        },
        shape=SHAPE,
        rounds=5,
        warmup=0,
        unit="s",
    )
