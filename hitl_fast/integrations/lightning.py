"""PyTorch Lightning: energy per epoch, validation and step."""

from __future__ import annotations

from typing import Any

from hitl_fast.energy import Window
from hitl_fast.energy.measuring.meter import EnergyMeter

from .phases import Phases, first_installed


def lightning_callback(meter: EnergyMeter | None = None, *, per_step: bool = False, **arguments: Any) -> Any:
    """A callback for ``Trainer(callbacks=[...])`` of lightning or pytorch_lightning, whichever is installed.

    Windows are called ``epoch 0``, ``validation 0`` and ``sanity check``. A validation within an epoch is part of
    that epoch's window, too.

    Args:
        meter: a running meter; without one the callback starts and stops its own, made with ``arguments``.
        per_step: a window ``step`` for every batch; ``callback.steps`` has them, and the module logs
            ``seconds_per_step`` and, where a sensor is read, ``joules_per_step``.

    Raises:
        ImportError: neither package is installed.
    """
    base = first_installed("Lightning", "lightning.pytorch", "pytorch_lightning").Callback
    return type("EnergyCallback", (_EnergyCallback, base), {})(Phases(meter, arguments, per_step))


class _EnergyCallback:
    def __init__(self, phases: Phases) -> None:
        self.phases = phases
        self._validations = 0

    @property
    def meter(self) -> EnergyMeter:
        return self.phases.meter

    @property
    def steps(self) -> list[Window]:
        """Windows of the steps so far; none without ``per_step``."""
        return self.phases.steps

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self.phases.begin()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.phases.open("epoch", f"epoch {trainer.current_epoch}")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.phases.close("epoch")

    def on_train_batch_start(self, trainer: Any, module: Any, *rest: Any) -> None:
        self.phases.begin_step()

    def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        self.phases.end_step()
        for name, value in self.phases.metrics(len(self.steps) - 1).items() if self.steps else ():
            module.log(name, value, batch_size=1)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        if trainer.sanity_checking:
            self.phases.open("validation", "sanity check")
        else:
            self.phases.open("validation", f"validation {self._validations}")
            self._validations += 1

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self.phases.close("validation")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.phases.end(type(exception).__name__)

    def teardown(self, trainer: Any, module: Any, stage: str) -> None:
        self.phases.end()
