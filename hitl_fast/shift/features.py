"""``embeddings``: what a model makes of each sample before its last layer, in one forward pass."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from hitl_fast._common.errors import InputError, InputTypeError

from .batches import one_side
from .embeddings import EmbeddingStore, default_budget
from .estimate import model_device
from .evaluation import undisturbed, unwrapped
from .labelling import Labelling
from .loaders import check_batches, expected_samples
from .one_pass import Pass, Sources
from .options import Options
from .splitting import Splitting

ALONE = Labelling(paired=False, labels_for="clean")  # one side, which nothing is compared with
OPTIONS = Options((32,), "corrected", "mean", "jensen_shannon", 32, 0.0, 0.0)
SEES_BATCH = (
    "the model's arithmetic sees the batch: the logits of a sample alone differ from those in its batch (or are"
    " random), so that the embeddings are those at this batch size"
)


def embeddings(
    model: nn.Module,
    loader: Iterable[Any],
    embedding: str | None = None,
    *,
    output: str | int | Callable[[Any], Any] | None = None,
    labels: str | int | None = None,
    inputs: str | int | Sequence[str | int] | Callable[[Any], Any] | None = None,
    mask: str | int | Callable[[Any], Any] | None = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and labels of all samples, in the order of the loader: features for `hitl_fast.Signals.of`.

    The embedding is the input of what made the logits, found by equality as in `hitl_fast.preindex`; where that ran
    on every token, at the position whose output the logits are. Which rows belong to which sample is not guessed from
    shapes: a few samples also go through the model alone. Maps and tokens are pooled by the mean over positions, and
    padding is left out: by ``mask``, or where the model takes one by name (``attention_mask``, ``mask``,
    ``src_key_padding_mask``, ``lengths``).

    Args:
        model: any module. It is evaluated (eval mode, no gradient), and left as it was.
        loader: batches ``(inputs, ..., labels)``, or mappings with labels. A loader that shuffles gives the order
            that it drew.
        embedding: name of the module whose output is taken instead.
        output, labels, inputs, mask: as in `hitl_fast.preindex`.
        device: where to run; default: where the model is. The model is moved back.
        progress: a progress bar on a terminal.

    Returns:
        (n, D) float32 and (n,) int64.

    Raises:
        ValueError: no batch, an unknown embedding, no layer that made the logits, embeddings of different width, one
            that is not finite (its position is named).
        TypeError: batches without labels, labels that are not classes, or more inputs than the model takes.

    Warns:
        UserWarning: a sample's logits depend on the batch that it is in.

    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
    >>> found, classes = embeddings(model, [(x[:20], y[:20]), (x[20:], y[20:])])
    >>> found.shape, classes.shape
    ((30, 16), (30,))
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    check_batches(loader, "loader")
    module = unwrapped(model)
    place = model_device(module, device)
    needs = "embeddings returns one class for each sample, as Signals.of takes it"
    sources = Sources(embedding, output, Splitting(labels, inputs, mask, needs))
    with EmbeddingStore(default_budget(place), sides=1) as store, undisturbed(module, place, (loader,)):
        run = Pass(module, sources, OPTIONS, store, place, 0, labelling=ALONE)
        batches = one_side(loader, sources.splitting, "loader")
        run.stream(batches, expected_samples(loader), progress, lambda: _refuse_not_finite(run))
        _refuse_not_finite(run)
        rows, _ = store.arrays()
        found = rows.cpu().numpy() if isinstance(rows, torch.Tensor) else np.array(rows)
    if run.checking.sees_batch:
        warnings.warn(SEES_BATCH, stacklevel=2)
    return found, run.classes.copy()


def _refuse_not_finite(run: Pass) -> None:
    """Refuse the last batch, if there is one, where an embedding is not finite."""
    if not run.sizes:
        return
    start = len(run.finite) - run.sizes[-1]
    wrong = np.flatnonzero(~run.finite[start:])
    if wrong.size:
        raise InputError(f"the embedding of sample {start + int(wrong[0])} is not finite")
