"""TRL's packing of several samples into one row, with the weight of each token."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hitl_fast._common.errors import InputError

from .weight_columns import SAMPLE, TOKEN


def packed_with_weights(
    prepare: Callable[..., Any], dataset: Any, processing_class: Any, args: Any, formatting_func: Any
) -> Any:
    """What ``SFTTrainer._prepare_dataset`` makes with packing, and beside it the weights of the same tokens.

    TRL drops every column but tokens and labels before it packs. So it only tokenizes here, and its ``pack_dataset``,
    which treats all columns alike, packs three of them.
    """
    from datasets import Dataset
    from trl import pack_dataset

    if args.max_length is None:
        raise InputError("packing=True needs max_length")
    whole = copy.copy(args)
    whole.max_length, whole.shuffle_dataset = None, False
    ready = prepare(dataset, processing_class, whole, False, formatting_func, "train")
    ready = ready.map(_with_token_weights).select_columns(["input_ids", "labels", TOKEN])
    if args.shuffle_dataset:
        ready = ready.shuffle(seed=args.seed)
    options = {"num_proc": args.dataset_num_proc} if isinstance(ready, Dataset) else {}
    packed = pack_dataset(ready, args.max_length, args.packing_strategy, options)
    return packed.shuffle(seed=args.seed) if args.shuffle_dataset else packed


def _with_token_weights(sample: dict[str, Any]) -> dict[str, Any]:
    tokens = sample["input_ids"]
    weights = sample.get(TOKEN) or [1.0] * len(tokens)
    if len(weights) != len(tokens):
        raise InputError(f"a sample has {len(tokens)} tokens and {len(weights)} numbers in {TOKEN!r}")
    share = sample.get(SAMPLE)
    return {TOKEN: [float(weight) * (1.0 if share is None else share) for weight in weights]}
