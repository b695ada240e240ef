"""Weights of samples and tokens in the Hugging Face Trainer and in TRL's trainers."""

from __future__ import annotations

import functools

from hitl_fast._common.errors import InputTypeError

from .plain_trainer import PlainTrainer
from .trl_trainers import PairTrainer, TokenTrainer

PAIRS = ("DPOTrainer", "RewardTrainer")


def weighted_trainer(base: type) -> type:
    """A subclass of a trainer that takes weights: ``weighted_trainer(SFTTrainer)(model, ..., weights=w)``.

    For ``transformers.Trainer`` and TRL's ``SFTTrainer``, ``DPOTrainer``, ``RewardTrainer``, and what derives from
    them. The class takes the arguments of ``base`` and::

        weights: (samples,) of train_dataset; or leave it out and give the dataset a "sample_weight" column.
        sample: draw samples by weight (`PrioritySampler`, method "systematic") instead of weighting their loss.
        fused: causal models of the plain Trainer: make loss and gradient from the hidden states in pieces, without
            the logits; SFTTrainer always does.

    A "token_weight" column (one number a token of ``input_ids``) weights tokens, also beside ``sample_weight``. With
    w and N the weights and the number of labels of weight above 0 in the whole step (all accumulated batches, and all
    processes under ``average_tokens_across_devices``)::

        loss = sum_i w[i] loss[i] / N

    So weights of 1 are ``base``, and weight 0 is the same as leaving the sample or token out. Pairs of DPOTrainer and
    RewardTrainer have their gradient scaled in the same way; the loss that these two log stays the unweighted mean.
    Evaluation is unweighted.

    Args:
        base: the class to derive from.

    Raises:
        TypeError: ``base`` is not one of these classes.
        ValueError: of the new class: weights that do not fit the dataset or are invalid; ``compute_loss_func``,
            ``label_smoothing_factor`` with SFTTrainer, ``use_liger_kernel``, ``loss_type="dft"``, several GPUs in one
            process (DataParallel); a ``compute_loss`` or ``training_step`` of its own in ``base`` that leaves weights
            out (derive from what this returns instead); in the first step, a model that computes another loss than
            cross entropy (or squared error, or binary cross entropy) of its logits.
    """
    if not isinstance(base, type):
        raise InputTypeError(f"base must be a class, not {type(base).__name__}")
    names = [parent.__name__ for parent in base.__mro__]
    trl = [parent.__name__ for parent in base.__mro__ if parent.__module__.startswith("trl.")]
    if "Trainer" not in names:
        raise InputTypeError(f"{base.__name__} is not derived from transformers.Trainer")
    if not trl:
        mixin: type = PlainTrainer
    elif "SFTTrainer" in trl:
        mixin = TokenTrainer
    elif any(name in trl for name in PAIRS):
        mixin = PairTrainer
    else:
        raise InputTypeError(
            f"{base.__name__} computes its loss from samples that it generates or joins: weights are supported for "
            "Trainer, SFTTrainer, DPOTrainer and RewardTrainer"
        )
    return _made(mixin, base)


@functools.cache
def _made(mixin: type, base: type) -> type:
    return type(f"Weighted{base.__name__}", (mixin, base), {"__module__": __name__, "__doc__": base.__doc__})
