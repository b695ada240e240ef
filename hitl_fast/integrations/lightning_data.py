"""PyTorch Lightning: training samples drawn by weight, on any number of devices."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError, InputTypeError

from .phases import first_installed

OWN = ("sampler", "batch_sampler", "shuffle")  # what the weights decide


class _PriorityData:
    """Training samples drawn by weight: a LightningDataModule of lightning or, without it, of pytorch_lightning.

    Whether ``use_distributed_sampler`` is on or off, ranks together draw what one would: the sampler notices that
    Lightning deals its draws out. Lightning sets the sampler's epoch, so that a run that is resumed at an epoch draws
    as one that never stopped. Derive from it to add ``val_dataloader`` and the like.

    Args:
        dataset: map-style, of n samples.
        weights: (n,) not negative.
        num_samples: draws of an epoch of all ranks together; default: n.
        method: of `hitl_fast.PrioritySampler`, as ``seed`` and ``live``.
        loader: of the DataLoader, ``batch_size`` for example.

    Attributes:
        sampler: the PrioritySampler; ``sampler.update`` changes weights while training.

    Raises:
        TypeError: the dataset has no length.
        ValueError: another number of weights than samples; ``loader`` has a sampler or shuffles.
        ImportError: neither package is installed.

    Example::

        trainer.fit(module, datamodule=PriorityDataModule(dataset, weights, batch_size=32))
    """

    def __init__(
        self,
        dataset: Any,
        weights: Any,
        *,
        num_samples: int | None = None,
        method: Any = "independent",
        seed: int = 0,
        live: bool = False,
        **loader: Any,
    ) -> None:
        from hitl_fast.sampling import PrioritySampler

        super().__init__()
        for name in OWN:
            if loader.get(name):
                raise InputError(
                    f"the weights decide which samples are drawn, and in which order: leave {name}= out"
                )
        if not hasattr(dataset, "__len__"):
            raise InputTypeError(
                f"dataset must have a length, {type(dataset).__name__} has none: weights are of its samples"
            )
        self.sampler = PrioritySampler(weights, num_samples, method, seed, live=live)
        if self.sampler.num_items != len(dataset):
            raise InputError(
                f"weights has {self.sampler.num_items} values for {len(dataset)} samples of dataset"
            )
        self.dataset = dataset
        self._loader = {key: value for key, value in loader.items() if key not in OWN}

    def train_dataloader(self) -> Any:
        """A DataLoader over the draws."""
        from torch.utils.data import DataLoader

        return DataLoader(self.dataset, sampler=self.sampler, **self._loader)


@functools.cache
def _made() -> type:
    base = first_installed("Lightning", "lightning.pytorch", "pytorch_lightning").LightningDataModule
    members = {"__doc__": _PriorityData.__doc__, "__module__": __name__}
    return type("PriorityDataModule", (_PriorityData, base), members)


if TYPE_CHECKING:

    class PriorityDataModule(_PriorityData): ...

else:

    def __getattr__(name: str) -> Any:
        if name == "PriorityDataModule":  # a class of Lightning's, which is imported when it is asked for
            return _made()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
