"""``embeddings``: what a model makes of each sample before its last layer, in one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from hitl_fast._common.errors import InputError, InputTypeError

from .batches import Splitting, expected_samples, split
from .checking import Checking
from .estimate import model_device
from .evaluation import undisturbed, unwrapped
from .forward import Role, Watch
from .inputs import Inputs, parameters, positional
from .masks import named_mask, with_padding
from .rows import Reading


def embeddings(
    model: nn.Module,
    loader: Iterable[Any],
    embedding: str | None = None,
    *,
    output: str | int | Callable[[Any], Any] | None = None,
    labels: str | int | None = None,
    inputs: str | int | Any = None,
    device: torch.device | str | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings and labels of all samples, in the order of the loader: features for `hitl_fast.Signals.of`.

    The embedding is the input of what made the logits, found by equality as in `hitl_fast.preindex`; where that ran
    on every token, at the position whose output the logits are. Which rows belong to which sample is not guessed from
    shapes: a few samples also go through the model alone. Maps and tokens are pooled by the mean over positions, and
    padding is left out where the model takes a mask by name (``attention_mask``, ``mask``, ``src_key_padding_mask``,
    ``lengths``).

    Args:
        model: any module. It is evaluated (eval mode, no gradient), and left as it was.
        loader: batches ``(inputs, ..., labels)``, or mappings with labels. A loader that shuffles gives the order
            that it drew.
        embedding: name of the module whose output is taken instead.
        output, labels, inputs: as in `hitl_fast.preindex`.
        device: where to run; default: where the model is. The model is moved back.
        progress: a progress bar on a terminal.

    Returns:
        (n, D) float32 and (n,) int64.

    Raises:
        ValueError: no batch, an unknown embedding, no layer that made the logits, embeddings of different width, one
            that is not finite (its position is named).
        TypeError: batches without labels, or labels that are not classes.

    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    >>> x, y = torch.randn(30, 4), torch.arange(30) % 3
    >>> found, classes = embeddings(model, [(x[:20], y[:20]), (x[20:], y[20:])])
    >>> found.shape, classes.shape
    ((30, 16), (30,))
    """
    if not isinstance(model, nn.Module):
        raise InputTypeError(f"model must be a torch.nn.Module, not {type(model).__name__}")
    module = unwrapped(model)
    place = model_device(module, device)
    splitting = Splitting(
        labels, inputs, None, "embeddings returns one class for each sample, as Signals.of takes it"
    )
    watch = Watch(module, embedding, Reading(True, True), output, _unused_rows, _unused_inputs)
    watch.inputs_wanted = False
    checking = Checking(watch)
    known, (names, _) = parameters(module), positional(module)
    found: list[np.ndarray] = []
    classes: list[np.ndarray] = []
    with undisturbed(module, place, (loader,)), watch, _bar(loader, progress) as bar:
        for batch in loader:
            held, given = split(batch, splitting, "loader")
            held = held.wanted(known).to(place)
            n = len(given)
            rows = checking.run(held, _role(held, names, n, checking), lambda: None).embeddings
            found.append(_checked(rows, n, found))
            classes.append(given)
            bar.update(n)
    if not found:
        raise InputError("loader gave no batch")
    return np.concatenate(found), np.concatenate(classes)


def _role(held: Inputs, names: tuple[str, ...], n: int, checking: Checking) -> Role:
    """The pass of one batch, with its mask where that is one of padding and not shared by all samples."""
    mask = named_mask(held, names, n)
    kept = None if mask is None else with_padding(mask.kept)
    shared = mask is not None and mask.input is not None and checking.taking is not None
    if mask is None or kept is None or (shared and checking.taking.axes[mask.input] is None):  # type: ignore[union-attr,index]
        return Role("same", n)
    return Role("same", n, kept, mask.input)


def _checked(rows: Tensor, n: int, before: list[np.ndarray]) -> np.ndarray:
    """One batch's embeddings; refused where they do not fit those before, or are not finite."""
    array = rows.cpu().numpy()
    done = sum(map(len, before))
    if len(array) != n:
        raise InputError(f"embeddings of {len(array)} samples for a batch of {n}, from sample {done} on")
    if before and before[0].shape[1] != array.shape[1]:
        raise InputError(
            f"embeddings of {before[0].shape[1]} values a sample, and of {array.shape[1]} from sample {done} on: "
            "choose a module whose output is of one width by embedding="
        )
    wrong = np.flatnonzero(~np.isfinite(array).all(1))
    if wrong.size:
        raise InputError(f"the embedding of sample {done + int(wrong[0])} is not finite")
    return array


def _bar(loader: object, progress: bool) -> Any:
    return tqdm(total=expected_samples(loader), unit=" samples", disable=None if progress else True)


def _unused_rows(name: str, ours: Tensor, theirs: Tensor) -> None:
    """Rows of layers, which only the distances between two sides need."""


def _unused_inputs(name: str, call: int, ours: Tensor, theirs: Tensor) -> None:
    """Inputs of layers, which only the effort score needs."""
