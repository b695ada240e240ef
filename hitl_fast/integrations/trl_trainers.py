"""Weights in TRL's trainers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from hitl_fast._common.errors import InputError

from .trainer_base import WeightedTrainer
from .weight_columns import SAMPLE, TOKEN, columns_of, weight_of_labels

# Losses of DPOTrainer (TRL 1.16) that are a mean of a loss of each pair. "aot" and "aot_unpaired" sort the pairs of a
# batch, "sft" divides by the tokens of all of them; of a loss that TRL may add nothing is known.
LOSSES_OF_EACH_PAIR = (
    "sigmoid", "hinge", "ipo", "exo_pair", "nca_pair", "robust", "bco_pair", "sppo_hard", "apo_zero", "apo_down",
    "discopop", "sigmoid_norm",
)  # fmt: skip


class TokenTrainer(WeightedTrainer):
    """TRL's SFTTrainer: its own fused log-probabilities, weighted before it sums them."""

    def _refuse(self, arguments: dict[str, Any], fused: bool) -> None:
        super()._refuse(arguments, fused)
        args: Any = arguments.get("args")
        if getattr(args, "loss_type", "nll") != "nll":
            raise InputError(f"loss_type={args.loss_type!r} has no weights: use loss_type='nll'")
        if getattr(args, "label_smoothing_factor", 0) != 0:
            raise InputError("label_smoothing_factor with SFTTrainer has no weights: set it to 0")

    def _truncation(self) -> tuple[int | None, str]:
        return self.args.max_length, getattr(self.args, "truncation_mode", "keep_start")

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        prepare = super()._prepare_dataset  # type: ignore[misc]
        if not (packing and dataset_name == "train") or self._draws:
            if packing and self._draws and dataset_name == "train":
                raise InputError("packing=True joins samples, so that sample=True cannot draw them by weight")
            return prepare(dataset, processing_class, args, packing, formatting_func, dataset_name)
        from .packing import packed_with_weights

        return packed_with_weights(prepare, dataset, processing_class, args, formatting_func)

    def _weighted_loss(
        self, model: Any, inputs: Any, weights: dict[str, torch.Tensor], return_outputs: bool, **rest: Any
    ) -> Any:
        if "shift_labels" in inputs:
            raise InputError("context and sequence parallelism split the tokens away from their weights")
        weight = weight_of_labels(weights, inputs["labels"])[:, 1:]

        def weighted(outputs: Any) -> Any:
            log_probs = outputs.log_probs
            # Virtual tokens of prompt tuning come first and count for nothing.
            factor = torch.nn.functional.pad(weight, (log_probs.shape[1] - weight.shape[1], 0), value=1.0)
            outputs.log_probs = log_probs * factor.to(log_probs)
            return outputs

        return self._unweighted_loss(AlteredOutputs(model, weighted), inputs, return_outputs, **rest)


class PairTrainer(WeightedTrainer):
    """TRL's DPOTrainer and RewardTrainer: the gradient of each pair is scaled where it enters the model's outputs.

    Their losses are means of a loss of each pair, so that d loss / d outputs of pair i times w[i] is the gradient of
    the weighted loss, whichever of their losses is chosen.
    """

    _share = 1.0  # pairs over pairs of weight above 0, in the whole step

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        if TOKEN in (columns_of(self.train_dataset) or ()):
            raise InputError(f"{TOKEN!r} is not supported for pairs: give {SAMPLE!r}, one number a pair")

    def _refuse(self, arguments: dict[str, Any], fused: bool) -> None:
        super()._refuse(arguments, fused)
        if fused:
            raise InputError("fused=True is for transformers.Trainer and SFTTrainer, not for pairs")
        chosen = getattr(arguments.get("args"), "loss_type", None) or ()
        for name in [chosen] if isinstance(chosen, str) else chosen:
            if name not in LOSSES_OF_EACH_PAIR and not self._draws:
                raise InputError(
                    f"loss_type={name!r} is not known to be a mean of a loss of each pair, so that pairs have no "
                    f"weights: use one of {', '.join(LOSSES_OF_EACH_PAIR)}, or sample=True"
                )

    def _prepared(self, batch: Any) -> Any:
        return batch

    def _count(self, batches: Iterable[Any]) -> None:
        found = [batch[SAMPLE] for batch in batches if SAMPLE in batch]
        if not found:
            return
        counts = torch.stack([torch.tensor([len(w), int((w != 0).sum())]) for w in found]).sum(0)
        accelerator = self.accelerator
        if accelerator.num_processes > 1:
            counts = accelerator.gather(counts.to(accelerator.device)[None]).sum(0)
        self._share = float(counts[0]) / max(float(counts[1]), 1.0)

    def _weighted_loss(
        self, model: Any, inputs: Any, weights: dict[str, torch.Tensor], return_outputs: bool, **rest: Any
    ) -> Any:
        pairs = weights[SAMPLE].float() * self._share
        rows = torch.cat([pairs, pairs])  # chosen, then rejected

        def weighted(outputs: Any) -> Any:
            name = "log_probs" if getattr(outputs, "log_probs", None) is not None else "logits"
            setattr(outputs, name, ScaledGradient.apply(getattr(outputs, name), rows))  # type: ignore[no-untyped-call]
            return outputs

        return self._unweighted_loss(AlteredOutputs(model, weighted), inputs, return_outputs, **rest)


class ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by one number a row; 0 also where the gradient is not finite."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(rows)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, outer: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (rows,) = ctx.saved_tensors
        factor = rows.view(-1, *[1] * (outer.dim() - 1)).to(outer)
        return torch.where(factor == 0, 0, outer * factor), None


class AlteredOutputs:
    """A model whose outputs are altered before its trainer sees them."""

    def __init__(self, model: Any, alter: Any) -> None:
        self._model = model
        self._alter = alter

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._alter(self._model(*given, **named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
