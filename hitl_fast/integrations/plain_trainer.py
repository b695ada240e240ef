"""Weights in ``transformers.Trainer``."""

from __future__ import annotations

from typing import Any

import torch

from hitl_fast._common.errors import InputError
from hitl_fast.losses import weighted_bce_with_logits, weighted_cross_entropy, weighted_mse

from .fused_head import add_fused_loss
from .trainer_base import WeightedTrainer
from .weight_columns import behind_prompt, weight_of_labels


class PlainTrainer(WeightedTrainer):
    """``transformers.Trainer``: the loss is made here, from logits and labels, or from hidden states (``fused``)."""

    def __init__(self, *given: Any, fused: bool = False, **named: Any) -> None:
        super().__init__(*given, fused=fused, **named)
        self._fused = fused and not self._draws
        self._shifts = False
        if self._draws:
            if fused:
                raise InputError("fused=True makes the weighted loss, which sample=True does not use")
            return
        if self._fused:
            if not self._causal():
                raise InputError(f"fused=True needs a causal language model, not {type(self.model).__name__}")
            add_fused_loss(_inner(self.model))
        # Its presence makes the base class count the labels of the whole step and leave the division to the loss.
        self.compute_loss_func = _loss_is_made_in_compute_loss

    def call_model_init(self, *given: Any) -> Any:
        """Called again by every ``train()``, for a new model."""
        model = super().call_model_init(*given)  # type: ignore[misc]
        if getattr(self, "_fused", False):
            add_fused_loss(_inner(model))
        return model

    def _unweighted_loss(self, model: Any, inputs: Any, return_outputs: bool, **rest: Any) -> Any:
        marker, self.compute_loss_func = getattr(self, "compute_loss_func", None), None
        try:
            return super()._unweighted_loss(model, inputs, return_outputs, **rest)
        finally:
            self.compute_loss_func = marker

    def _weighted_loss(
        self,
        model: Any,
        inputs: Any,
        weights: dict[str, torch.Tensor],
        return_outputs: bool,
        **rest: Any,
    ) -> Any:
        num_items_in_batch = rest.get("num_items_in_batch")
        if "labels" not in inputs:
            raise InputError(f"weights need 'labels' in the batch, which has {', '.join(inputs)}")
        labels = inputs["labels"]
        weight: torch.Tensor | None = weight_of_labels(weights, labels)
        smoothing = self.args.label_smoothing_factor
        if self._fused:
            self._check_fused(inputs)
            bare = {name: value for name, value in inputs.items() if name != "labels"}
            outputs = model(
                **bare,
                hitl_labels=labels,
                hitl_weight=weight,
                hitl_total=num_items_in_batch,
                hitl_smoothing=smoothing,
            )
            loss = outputs["loss"]
        else:
            outputs = model(**inputs)
            logits = outputs["logits"] if isinstance(outputs, dict) else outputs[1]
            if self._causal():
                labels, weight = behind_prompt(logits, labels, weight)
            self._check(outputs, logits, labels)
            loss = self._loss(logits, labels, weight, num_items_in_batch, smoothing)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def _loss(
        self, logits: Any, labels: Any, weight: Any, total: Any, smoothing: float = 0.0
    ) -> torch.Tensor:
        if self._shifts:
            logits, labels = logits[:, :-1], labels[:, 1:]
            weight = None if weight is None else weight[:, 1:]
        total = None if total is None else torch.as_tensor(total, device=logits.device).clamp(min=1)
        labels = labels.to(logits.device)
        if labels.is_floating_point():
            loss = (
                weighted_bce_with_logits if self._problem() == "multi_label_classification" else weighted_mse
            )
            logits = logits if logits.dim() == labels.dim() else logits.squeeze(-1)
            return loss(logits, labels, weight, total)
        return weighted_cross_entropy(logits, labels, weight, total, -100, smoothing, class_dim=-1)

    def _problem(self) -> str | None:
        return getattr(getattr(_inner(self.model), "config", None), "problem_type", None)

    def _causal(self) -> bool:
        """Whether this is a model whose labels are those of the next token, as far as its class says."""
        from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

        return type(_inner(self.model)).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()

    def _check(self, outputs: Any, logits: torch.Tensor, labels: torch.Tensor) -> None:
        """In the first step: with weights of 1 this is the model's own loss, or weights would change another loss."""
        if self._checked:
            return
        own = outputs.get("loss") if isinstance(outputs, dict) else outputs[0]
        if own is None:
            raise InputError(
                "the model returns no loss, so that nothing confirms which loss its labels are for"
            )
        self._shifts = self._causal()
        with torch.no_grad():
            self._compare(own, self._loss(logits.detach(), labels, None, None))

    def _check_fused(self, inputs: Any) -> None:
        if self._checked:
            return
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        row = {
            name: value[:1] if isinstance(value, torch.Tensor) else value for name, value in inputs.items()
        }
        labels = row.pop("labels")
        training = model.training
        model.eval()
        try:
            with torch.no_grad():
                self._compare(model(**row, labels=labels)["loss"], model(**row, hitl_labels=labels)["loss"])
        finally:
            model.train(training)

    def _compare(self, own: torch.Tensor, found: torch.Tensor) -> None:
        own, found = own.detach().double().mean(), found.double()
        if not torch.isfinite(own):
            return  # a batch without labels; the next one is compared
        exact = not (self.args.bf16 or self.args.fp16) and own.dtype != torch.bfloat16
        half = next(_inner(self.model).parameters()).dtype in (torch.float16, torch.bfloat16)
        if abs(own - found) > (1e-4 if exact and not half else 3e-2) * (1 + abs(own)):
            raise InputError(
                f"{type(_inner(self.model)).__name__} computes a loss of {own:.6g} where cross entropy (or squared "
                f"error) of its logits and labels is {found:.6g}: its own loss is another one, which weights cannot "
                f"be applied to{_advice(self.model)}"
            )
        self._checked = True


def _loss_is_made_in_compute_loss(*given: Any, **named: Any) -> Any:
    raise AssertionError("the weighted loss is made in compute_loss")


def _advice(model: Any) -> str:
    """What to do about a loss that is not cross entropy, where that is known."""
    if getattr(getattr(_inner(model), "config", None), "output_router_logits", False):
        return (
            ". It adds the load-balancing loss of its routers, as output_router_logits is set: set"
            " model.config.output_router_logits = False to train without that loss, or use TRL's SFTTrainer, which"
            " adds it unweighted"
        )
    return ""


def _inner(model: Any) -> Any:
    """The model inside an adapter of PEFT, or the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
