"""Which implementation of an operation runs: Triton for CUDA tensors, Numba for everything else."""

from __future__ import annotations

import importlib
from types import ModuleType

import torch


def implementation(package: str, *values: object) -> ModuleType:
    """``cpu`` or ``gpu`` of an operation's package: gpu if the first tensor among the values is on CUDA."""
    for value in values:
        if isinstance(value, torch.Tensor):
            return implementation_on(package, value.device)
    return importlib.import_module(f"{package}.cpu")


def implementation_on(package: str, device: torch.device) -> ModuleType:
    """``cpu`` or ``gpu`` of an operation's package for a device. Triton is imported only for CUDA."""
    return importlib.import_module(f"{package}.{'cpu' if device.type == 'cpu' else 'gpu'}")
