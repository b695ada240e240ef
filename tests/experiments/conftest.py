"""Fixtures of the experiments' tests."""

import multiprocessing
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext

import pytest
import torch


@pytest.fixture(scope="session")
def server() -> ForkServerContext:
    """Forks processes that need not import PyTorch again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numba", "torch", "hitl_fast.experiments.guidance.jobs"])
    return context


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """As in the grid's workers: what training sums in parallel depends on how many do it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
