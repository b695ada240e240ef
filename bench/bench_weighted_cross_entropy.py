"""Weighted cross entropy, forward and backward, beside PyTorch eager; on a GPU beside torch.compile and Liger too."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from memory import extra_peak
from problems import CROSS_ENTROPY as CPU_SHAPES
from problems import classification as problem
from race import race, record
from torch.nn import functional as F

from hitl_fast.losses import weighted_cross_entropy

# In a training loop a loss follows itself, not another that left the heap in pieces.
INNER = {(8192, 10): 50, (8192, 1000): 10, (2048, 50257): 3}


def eager(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (F.cross_entropy(logits, target, reduction="none") * weight).sum() / len(target)


def step(loss: Callable[..., torch.Tensor], logits: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    logits.grad = None
    loss(logits, *others).backward()
    assert logits.grad is not None
    return logits.grad


@pytest.mark.parametrize("shape", CPU_SHAPES, ids=str)
def test_forward_and_backward(shape: tuple[int, int]) -> None:
    logits, target, weight = problem(*shape, "cpu", torch.float32)
    ours, theirs = (step(loss, logits, target, weight) for loss in (weighted_cross_entropy, eager))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5 * theirs.abs().max().item())
    del ours, theirs
    providers = {
        "hitl_fast": lambda: step(weighted_cross_entropy, logits, target, weight),
        "torch eager": lambda: step(eager, logits, target, weight),
        "hitl_fast, no weights": lambda: step(weighted_cross_entropy, logits, target),
        "torch eager, no weights": lambda: step(F.cross_entropy, logits, target),
    }
    race(
        "weighted_cross_entropy",
        providers,
        shape=f"N={shape[0]} C={shape[1]}",
        inner=dict.fromkeys(providers, INNER[shape]),
        rounds=30,  # the heap gives pages back or keeps them, and every choice lasts for a while
    )


def test_extra_peak_memory() -> None:
    shape = CPU_SHAPES[-1]  # the smaller ones fit into what the heap kept
    logits, target, weight = problem(*shape, "cpu", torch.float32)
    for name, loss in (("hitl_fast", weighted_cross_entropy), ("torch eager", eager)):
        step(loss, logits, target, weight)
        logits.grad = None
        copies = extra_peak(lambda loss=loss: step(loss, logits, target, weight)) / logits.nbytes
        logits.grad = None
        record(
            "weighted_cross_entropy",
            name,
            "extra peak memory",
            copies,
            unit="logits",
            shape=f"N={shape[0]} C={shape[1]}",
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("classes", [32_768, 131_072])
def test_on_a_gpu(classes: int) -> None:
    """Liger has no weights for samples: its users take the losses without reduction and weight them outside."""
    logits, target, weight = problem(8192, classes, "cuda", torch.bfloat16)
    providers: dict[str, Callable[..., torch.Tensor]] = {
        "hitl_fast": weighted_cross_entropy,
        "torch eager": lambda *a: eager(a[0].float(), *a[1:]),
        "torch.compile": torch.compile(lambda *a: eager(a[0].float(), *a[1:])),
    }
    if importlib.util.find_spec("liger_kernel") is not None:
        from liger_kernel.transformers.functional import liger_cross_entropy

        providers["Liger"] = lambda x, t, w: (liger_cross_entropy(x, t, reduction="none") * w).sum() / len(t)
        providers["Liger, no weights"] = lambda x, t, w: liger_cross_entropy(x, t)
        providers["hitl_fast, no weights"] = lambda x, t, w: weighted_cross_entropy(x, t)

    exact = step(providers["torch eager"], logits, target, weight)
    torch.testing.assert_close(
        step(weighted_cross_entropy, logits, target, weight), exact, rtol=2**-6, atol=1e-7
    )

    def timed(loss: Callable[..., torch.Tensor]) -> Callable[[], None]:
        def call() -> None:
            # Liger writes the gradient into what it was given, so that everybody gets a copy.
            step(loss, logits.detach().clone().requires_grad_(), target, weight)
            torch.cuda.synchronize()

        return call

    shape = f"N=8192 V={classes}"
    race(
        "weighted_cross_entropy",
        {
            **{name: timed(loss) for name, loss in providers.items()},
            "copy of the logits": lambda: (logits.detach().clone(), torch.cuda.synchronize()),
        },
        shape=shape,
        dtype="bfloat16",
        mode="gpu",
    )
    for name, loss in providers.items():
        given = logits.detach().clone().requires_grad_()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, given, target, weight)
        copies = (torch.cuda.max_memory_allocated() - before) / given.nbytes
        record(
            "weighted_cross_entropy", name, "extra peak memory", copies,
            unit="logits", shape=shape, dtype="bfloat16", mode="gpu",
        )  # fmt: skip
