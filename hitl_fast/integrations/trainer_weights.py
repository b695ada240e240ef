"""Weights of samples and tokens in the Hugging Face Trainer and in TRL's trainers."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable
from typing import Any

import torch

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast.losses import weighted_bce_with_logits, weighted_cross_entropy, weighted_mse
from hitl_fast.sampling import PrioritySampler, with_weights

from .fused_head import add_fused_loss
from .weight_columns import (
    SAMPLE,
    TOKEN,
    WeightCollator,
    columns_of,
    leave_out,
    weight_of_labels,
    weights_of,
)

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
            process (DataParallel); in the first step, a model that computes another loss than cross entropy (or
            squared error, or binary cross entropy) of its logits.
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


class WeightedTrainer:
    """What the weighted trainers share: the weights' way from the dataset to the step."""

    # Of the base class.
    model: Any
    args: Any
    accelerator: Any
    train_dataset: Any
    data_collator: Any
    compute_loss_func: Any
    _signature_columns: Any

    def __init__(
        self,
        *given: Any,
        weights: Any = None,
        sample: bool = False,
        fused: bool = False,
        **named: Any,
    ) -> None:
        arguments = _named_arguments(super().__init__, given, named)
        self._draws = sample
        self._checked = False
        self._refuse(arguments, fused)
        dataset = arguments.get("train_dataset")
        if dataset is None:
            raise InputError("train_dataset must be given: weights belong to its samples")
        if weights is not None:
            dataset = arguments["train_dataset"] = with_weights(dataset, weights)
        known = columns_of(dataset)
        if known is not None and not known & {SAMPLE, TOKEN}:
            raise InputError(
                f"give weights=, or a column {SAMPLE!r} or {TOKEN!r}; the dataset has {', '.join(sorted(known))}"
            )
        if sample and known is not None and TOKEN in known:
            raise InputError(f"sample=True draws whole samples: {TOKEN!r} cannot be used with it")
        super().__init__(**arguments)
        if self.args.n_gpu > 1:
            raise InputError(
                "several GPUs in one process (DataParallel) are not supported: start with torchrun"
            )
        self.data_collator = WeightCollator(self.data_collator, not sample, self._truncation())

    def _refuse(self, arguments: dict[str, Any], fused: bool) -> None:
        if arguments.get("compute_loss_func") is not None:
            raise InputError(
                "compute_loss_func never receives weights: use its class without weighted_trainer"
            )
        args: Any = arguments.get("args")
        if getattr(args, "use_liger_kernel", False):
            raise InputError(
                "use_liger_kernel=True has no weights: leave it out (fused=True saves the same memory)"
            )
        if self._draws and getattr(args, "train_sampling_strategy", "random") != "random":
            raise InputError(
                f"sample=True needs train_sampling_strategy='random', not {args.train_sampling_strategy!r}"
            )

    def _truncation(self) -> tuple[int | None, str]:
        return None, "keep_start"

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[misc]
        columns = self._signature_columns
        columns += [name for name in (SAMPLE, TOKEN) if name not in columns]

    def _get_train_sampler(self, *given: Any, **named: Any) -> Any:
        if not self._draws:
            return super()._get_train_sampler(*given, **named)  # type: ignore[misc]
        dataset = given[0] if given else named.get("train_dataset") or self.train_dataset
        args = self.args
        seed = args.seed if args.data_seed is None else args.data_seed
        return PrioritySampler(weights_of(dataset), method="systematic", seed=seed)

    def get_batch_samples(self, epoch_iterator: Any, *rest: Any, **named: Any) -> Any:
        if not self._draws:
            epoch_iterator = map(self._prepared, epoch_iterator)
        found = super().get_batch_samples(epoch_iterator, *rest, **named)  # type: ignore[misc]
        if not self._draws:
            self._count(found[0])
        return found

    def _prepared(self, batch: Any) -> Any:
        return leave_out(batch)

    def _count(self, batches: Iterable[Any]) -> None:
        """What a trainer has to know of the whole step."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
        weights = {name: inputs.pop(name) for name in (SAMPLE, TOKEN) if name in inputs}
        if self._draws or not self.model.training:
            return self._unweighted_loss(model, inputs, return_outputs, **rest)
        if not weights:
            raise InputError(
                f"a training batch has neither {SAMPLE!r} nor {TOKEN!r}: its samples carry no weight"
            )
        return self._weighted_loss(model, inputs, weights, return_outputs, **rest)

    def prediction_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        inputs = {name: value for name, value in inputs.items() if name not in (SAMPLE, TOKEN)}
        return super().prediction_step(model, inputs, *rest, **named)  # type: ignore[misc]

    def _unweighted_loss(self, model: Any, inputs: Any, return_outputs: bool, **rest: Any) -> Any:
        return super().compute_loss(model, inputs, return_outputs=return_outputs, **rest)  # type: ignore[misc]

    def _weighted_loss(
        self, model: Any, inputs: Any, weights: dict[str, torch.Tensor], return_outputs: bool, **rest: Any
    ) -> Any:
        raise NotImplementedError


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
        weight = weight_of_labels(weights, labels)
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
                "be applied to"
            )
        self._checked = True


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

        return self._unweighted_loss(_Altered(model, weighted), inputs, return_outputs, **rest)


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

        return self._unweighted_loss(_Altered(model, weighted), inputs, return_outputs, **rest)


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


class _Altered:
    """A model whose outputs are altered before its trainer sees them."""

    def __init__(self, model: Any, alter: Any) -> None:
        self._model = model
        self._alter = alter

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._alter(self._model(*given, **named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)


def _loss_is_made_in_compute_loss(*given: Any, **named: Any) -> Any:
    raise AssertionError("the weighted loss is made in compute_loss")


def _named_arguments(initialise: Any, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name, whatever the base class calls its first ones."""
    bound = inspect.signature(initialise).bind_partial(*given, **named)
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name, {}))
    return arguments


def _inner(model: Any) -> Any:
    """The model inside an adapter of PEFT, or the model."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
