"""What the weighted trainers share: the way of weights from the data set to the training step."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch

from hitl_fast._common.errors import InputError
from hitl_fast.sampling import PrioritySampler, with_weights

from .column_check import refuse_invalid_columns
from .weight_columns import SAMPLE, TOKEN, WeightCollator, columns_of, leave_out, weights_of

# Classes of transformers and trl whose loss can be weighted.
KNOWN_LOSSES = ("Trainer", "SFTTrainer", "DPOTrainer", "RewardTrainer")


class WeightedTrainer(ABC):
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
        self._unweighted_step = False
        self._draws_made = False
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
        if sample and not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
            raise InputError(
                f"sample=True draws positions, which {type(dataset).__name__} does not have: leave it out, or give a "
                "dataset with positions"
            )
        if sample and known is not None and TOKEN in known:
            raise InputError(f"sample=True draws whole samples: {TOKEN!r} cannot be used with it")
        refuse_invalid_columns(dataset, drawn=sample)
        super().__init__(**arguments)
        if self.args.n_gpu > 1:
            raise InputError(
                "several GPUs in one process (DataParallel) are not supported: start with torchrun"
            )
        self.data_collator = WeightCollator(self.data_collator, not sample, self._truncation())

    def _refuse(self, arguments: dict[str, Any], fused: bool) -> None:
        owner = _owner_of_loss(type(self))
        known = (
            owner.__module__.partition(".")[0] in ("transformers", "trl") and owner.__name__ in KNOWN_LOSSES
        )
        if not (known or self._draws):
            raise InputError(
                f"{owner.__name__} has a compute_loss of its own, in which weights have no place: use sample=True, or "
                f"give weighted_trainer the class that {owner.__name__} derives from and derive yours from the result"
            )
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
        self._draws_made = True
        return PrioritySampler(weights_of(dataset), method="systematic", seed=seed)

    def get_batch_samples(self, epoch_iterator: Any, *rest: Any, **named: Any) -> Any:
        if not self._draws:
            epoch_iterator = map(self._prepared, epoch_iterator)
        found = super().get_batch_samples(epoch_iterator, *rest, **named)  # type: ignore[misc]
        if not self._draws:
            self._refuse_unweighted_step()
            self._unweighted_step = bool(found[0])
            self._count(found[0])
        elif not self._draws_made:
            raise InputError(
                "sample=True draws in _get_train_sampler, which get_train_dataloader of this class does not call: its "
                "samples come unweighted. Give its DataLoader sampler=self._get_train_sampler()"
            )
        return found

    def train(self, *given: Any, **named: Any) -> Any:
        self._draws_made = False
        found = super().train(*given, **named)  # type: ignore[misc]
        self._refuse_unweighted_step()
        return found

    def _refuse_unweighted_step(self) -> None:
        if self._unweighted_step:
            raise InputError(
                "the last step never called compute_loss, where weights are applied: its training_step makes another "
                "loss. Use sample=True"
            )

    def _prepared(self, batch: Any) -> Any:
        return leave_out(batch)

    def _count(self, batches: Iterable[Any]) -> None:  # noqa: B027 - most need nothing
        """What a trainer has to know of the whole step."""

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **rest: Any) -> Any:
        weights = {name: inputs.pop(name) for name in (SAMPLE, TOKEN) if name in inputs}
        self._unweighted_step = False
        if self._draws or not self.model.training:
            return self._unweighted_loss(model, inputs, return_outputs, **rest)
        if not weights:
            raise InputError(
                f"a training batch has neither {SAMPLE!r} nor {TOKEN!r}: its samples carry no weight. A "
                "transform of the dataset (set_transform) or a get_train_dataloader of your own dropped it: keep it"
            )
        return self._weighted_loss(model, inputs, weights, return_outputs, **rest)

    def get_eval_dataloader(self, *given: Any, **named: Any) -> Any:
        return self._without_weights(super().get_eval_dataloader, *given, **named)  # type: ignore[misc]

    def get_test_dataloader(self, *given: Any, **named: Any) -> Any:
        return self._without_weights(super().get_test_dataloader, *given, **named)  # type: ignore[misc]

    def _without_weights(self, make: Any, *given: Any, **named: Any) -> Any:
        """Evaluation is unweighted, so that weights that are missing or invalid there do no harm."""
        own = self.data_collator
        if isinstance(own, WeightCollator):
            self.data_collator = WeightCollator(own.collate, False, own.truncation)
        try:
            return make(*given, **named)
        finally:
            self.data_collator = own

    def prediction_step(self, model: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        inputs = {name: value for name, value in inputs.items() if name not in (SAMPLE, TOKEN)}
        return super().prediction_step(model, inputs, *rest, **named)  # type: ignore[misc]

    def _unweighted_loss(self, model: Any, inputs: Any, return_outputs: bool, **rest: Any) -> Any:
        return super().compute_loss(model, inputs, return_outputs=return_outputs, **rest)  # type: ignore[misc]

    @abstractmethod
    def _weighted_loss(
        self, model: Any, inputs: Any, weights: dict[str, torch.Tensor], return_outputs: bool, **rest: Any
    ) -> Any:
        """The loss of a batch under its weights, as ``compute_loss`` returns it."""


def _owner_of_loss(kind: type) -> type:
    """The class below ours whose ``compute_loss`` runs."""
    below = [parent for parent in kind.__mro__ if not issubclass(parent, WeightedTrainer)]
    return next(parent for parent in below if "compute_loss" in vars(parent))


def _named_arguments(initialise: Any, given: tuple[Any, ...], named: dict[str, Any]) -> dict[str, Any]:
    """All arguments by name, whatever the base class calls its first ones."""
    bound = inspect.signature(initialise).bind_partial(*given, **named)
    arguments = dict(bound.arguments)
    for parameter in bound.signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            arguments.update(arguments.pop(parameter.name, {}))
    return arguments
