"""Weight columns of datasets and batches: ``sample_weight`` and ``token_weight``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from hitl_fast._common.errors import InputError

SAMPLE = "sample_weight"
TOKEN = "token_weight"
COLUMNS = (SAMPLE, TOKEN)


def columns_of(dataset: Any) -> set[str] | None:
    """Names of what a sample holds; None where that cannot be known without reading an iterable dataset."""
    names = getattr(dataset, "column_names", None)
    if isinstance(names, list):
        return set(names)
    if hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and len(dataset):
        first = dataset[0]
        return set(first) if isinstance(first, Mapping) else set()
    return None


def weights_of(dataset: Any) -> np.ndarray:
    """The weights of all samples, in their order.

    Raises:
        ValueError: the dataset has no positions, or a sample no weight that is a number; names the first such sample.
    """
    if not hasattr(dataset, "__len__"):
        raise InputError("sample=True needs a dataset with positions, not an iterable one")
    known = getattr(dataset, "weights", None)
    if isinstance(known, np.ndarray):
        return known
    if isinstance(getattr(dataset, "column_names", None), list):
        return np.asarray(dataset[SAMPLE], dtype=np.float64)
    found = np.empty(len(dataset))
    for index in range(len(dataset)):
        sample = dataset[index]
        value: Any = sample.get(SAMPLE) if isinstance(sample, Mapping) else None
        refuse_invalid(SAMPLE, index, value, "train_dataset")
        found[index] = float(value)
    return found


def weight_of_labels(weights: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """One weight a label: that of its sample, that of its token, or the product of both."""
    sample, token = weights.get(SAMPLE), weights.get(TOKEN)
    if token is not None and token.shape != labels.shape:
        raise InputError(f"{TOKEN!r} has shape {tuple(token.shape)}, the labels {tuple(labels.shape)}")
    if sample is not None:
        if sample.shape != labels.shape[:1]:
            raise InputError(f"{SAMPLE!r} has shape {tuple(sample.shape)}, the labels {tuple(labels.shape)}")
        sample = sample.view(-1, *[1] * (labels.dim() - 1)).expand(labels.shape)
    if token is None or sample is None:
        found = token if sample is None else sample
        assert found is not None
        return found
    return token * sample


def behind_prompt(
    outputs: torch.Tensor, labels: torch.Tensor, weight: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Labels and weights for outputs that begin with virtual tokens (prompt tuning), which count for nothing."""
    virtual = outputs.shape[1] - labels.shape[1] if outputs.dim() == 3 and labels.dim() == 2 else 0
    if virtual <= 0:
        return labels, weight
    pad = torch.nn.functional.pad
    return pad(labels, (virtual, 0), value=-100), None if weight is None else pad(weight, (virtual, 0))


def leave_out(batch: Any) -> Any:
    """The batch without the labels of weight 0, so that nothing counts them."""
    weights = {name: batch[name] for name in COLUMNS if name in batch}
    if "labels" not in batch or not weights:
        return batch
    left_out = weight_of_labels(weights, batch["labels"]) == 0
    if not left_out.any():
        return batch
    return {**batch, "labels": batch["labels"].masked_fill(left_out, -100)}


class WeightCollator:
    """Takes the weights out of the samples, collates the rest as before, and adds the weights to the batch.

    Weights of tokens become a tensor of the shape of the labels, wherever the collator puts its padding, and also
    where it joins the samples to one row. ``truncation`` is the length to which samples were cut, and from which end.
    """

    def __init__(self, collate: Callable[[Any], Any], keep: bool, truncation: tuple[int | None, str]) -> None:
        self.collate = collate
        self.keep = keep
        self.truncation = truncation

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "collate":
            raise AttributeError(name)
        return getattr(self.collate, name)

    def __call__(self, samples: list[Any]) -> Any:
        if not all(isinstance(sample, Mapping) for sample in samples):
            raise InputError(
                f"samples must be mappings with a key {SAMPLE!r}, not {type(samples[0]).__name__}"
            )
        rows = [dict(sample) for sample in samples]
        taken = {name: [row.pop(name, None) for row in rows] for name in COLUMNS}
        lengths = [len(row["input_ids"]) if "input_ids" in row else None for row in rows]
        batch = self.collate(rows)
        if not self.keep:
            return batch
        for name, values in taken.items():
            if all(value is None for value in values):
                continue
            for position, value in enumerate(values):
                refuse_invalid(name, position, value)
        labels = batch.get("labels")
        # Several samples in one row: TRL's padding_free, and DataCollatorWithFlattening of transformers.
        flat = bool(getattr(self.collate, "padding_free", False)) or (
            isinstance(labels, torch.Tensor) and labels.dim() == 2 and len(labels) == 1 < len(rows)
        )
        tokens = any(value is not None for value in taken[TOKEN])
        if tokens or (flat and taken[SAMPLE][0] is not None):
            batch[TOKEN] = self._tokens(taken, lengths, batch)
        elif taken[SAMPLE][0] is not None:
            batch[SAMPLE] = torch.tensor([float(value) for value in taken[SAMPLE]])
        return batch

    def _tokens(self, taken: dict[str, list[Any]], lengths: list[int | None], batch: Any) -> torch.Tensor:
        pieces = []
        for position, (sample, token, length) in enumerate(
            zip(taken[SAMPLE], taken[TOKEN], lengths, strict=True)
        ):
            if length is None:
                raise InputError(f"{TOKEN!r} needs tokenized samples, sample {position} has no 'input_ids'")
            piece = (
                torch.ones(length) if token is None else self._cut(torch.as_tensor(token), length, position)
            )
            pieces.append(piece.float() * (1.0 if sample is None else float(sample)))
        joined, shape = torch.cat(pieces), batch["labels"].shape
        found = torch.zeros(shape)
        mask = batch.get("attention_mask")
        if mask is not None and mask.shape == shape:
            if int(mask.sum()) != len(joined):
                raise InputError(f"the batch has {int(mask.sum())} tokens, and {TOKEN!r} is of {len(joined)}")
            found[mask.bool()] = joined
        elif shape[0] == 1 and shape[1] >= len(joined):
            found[0, : len(joined)] = joined
        else:
            raise InputError(
                f"the collator gives no attention_mask of the shape of the labels: {TOKEN!r} has no place"
            )
        return found

    def _cut(self, token: torch.Tensor, length: int, position: int) -> torch.Tensor:
        longest, side = self.truncation
        if len(token) > length == longest:
            return token[-length:] if side == "keep_end" else token[:length]
        if len(token) != length:
            raise InputError(
                f"sample {position} has {length} tokens and {len(token)} numbers in {TOKEN!r}: tokenize the dataset "
                "yourself (input_ids), one number a token"
            )
        return token


def refuse_invalid(name: str, position: int, value: Any, of: str = "the batch") -> None:
    """Refuse a sample's weight that is no finite number of at least 0, or missing where others have one.

    Raises:
        ValueError: with the sample's position, and that in its token weights.
    """
    if value is None:
        raise InputError(f"sample {position} of {of} has no {name!r}, others have")
    missing = list(value).index(None) if isinstance(value, list | tuple) and None in value else None
    if missing is not None:
        raise InputError(f"{name!r} of sample {position} of {of} is missing at {missing} (None)")
    try:
        numbers = torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name!r} of sample {position} of {of} is {value!r}: a number is expected"
        ) from None
    if numbers.dim() != (1 if name == TOKEN else 0):
        raise InputError(f"{name!r} of sample {position} of {of} has shape {tuple(numbers.shape)}")
    good = (numbers >= 0) & numbers.float().isfinite()
    if not bool(good.all()):
        place = f" at {int((~good).nonzero()[0])}" if numbers.dim() else ""
        wrong = float(numbers[~good][0]) if numbers.dim() else value
        raise InputError(
            f"{name!r} of sample {position} of {of} is {wrong}{place}: finite and not negative is expected"
        )
