"""The Dawid-Skene model on a GPU: torch element by element, and sums over ratings as in rater_model/gpu.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..rater_model.gpu import Segments
from .cpu import category_maximisation

KERNELS: dict[str, Any] = {}  # those of rater_model/gpu.py


def categories(
    items: torch.Tensor,
    raters: torch.Tensor,
    labels: torch.Tensor,
    n_items: int,
    n_raters: int,
    n_labels: int,
    steps: int,
    tolerance: float,
) -> tuple[torch.Tensor, np.ndarray, np.ndarray, int, float]:
    cell = raters * n_labels + labels
    by_item, by_cell = Segments(items, n_items, raters), Segments(cell, n_raters * n_labels, items)
    votes = by_item.sums(torch.nn.functional.one_hot(labels, n_labels).double())
    answers = votes.sum(1, keepdim=True)
    posterior = torch.where(answers > 0, votes / answers.clamp(min=1), 1 / n_labels)
    change, step = np.inf, 0
    while change > tolerance and step < steps:
        counts = by_cell.sums(posterior[items]).cpu().numpy()
        share, confusion = category_maximisation(counts, posterior.cpu().numpy(), n_raters)
        rows = torch.from_numpy(confusion.reshape(-1, n_labels)).to(items.device)
        log_posterior = by_item.sums(rows[cell]) + torch.from_numpy(share).to(items.device)
        after = torch.softmax(log_posterior, 1)
        change, posterior, step = float((after - posterior).abs().max()), after, step + 1
    return posterior, share, confusion, step, change
