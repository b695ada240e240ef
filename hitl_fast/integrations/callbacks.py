"""Energy per epoch and validation for PyTorch Lightning and the Hugging Face Trainer.

Neither is imported before its callback is made. The callback's ``meter`` has the results; give your own running
meter to have the windows beside others.
"""

from __future__ import annotations

import importlib
from typing import Any

from hitl_fast._common.errors import InputError, MissingExtraError
from hitl_fast.energy.measuring.meter import EnergyMeter, OpenWindow


class Phases:
    """One meter and the phases of a training open in it, by kind. Safe to close what was never opened."""

    def __init__(self, meter: EnergyMeter | None, arguments: dict[str, Any]) -> None:
        if meter is not None and arguments:
            raise InputError(f"give a meter or its arguments ({', '.join(arguments)}), not both")
        self.meter = EnergyMeter(**arguments) if meter is None else meter
        self._own = meter is None
        self._running = False
        self._open: dict[str, OpenWindow] = {}

    def begin(self) -> None:
        if self._own and not self._running:
            self.meter.start()
            self._running = True

    def open(self, kind: str, name: str) -> None:
        self.begin()
        self.close(kind)
        self._open[kind] = self.meter.window(name).start()

    def close(self, kind: str, error: str | None = None) -> None:
        window = self._open.pop(kind, None)
        if window is not None:
            window.stop(error)

    def end(self, error: str | None = None) -> None:
        for kind in reversed(list(self._open)):
            self.close(kind, error)
        if self._running:
            self.meter.stop()
            self._running = False


def lightning_callback(meter: EnergyMeter | None = None, **arguments: Any) -> Any:
    """A callback for ``Trainer(callbacks=[...])`` of lightning or pytorch_lightning, whichever is installed.

    Windows are called ``epoch 0``, ``validation 0`` and ``sanity check``. A validation within an epoch is part of
    that epoch's window, too.

    Args:
        meter: a running meter; without one the callback starts and stops its own, made with ``arguments``.

    Raises:
        ImportError: neither package is installed.
    """
    base = _first_of("Lightning", "lightning.pytorch", "pytorch_lightning").Callback
    return type("EnergyCallback", (_Lightning, base), {})(Phases(meter, arguments))


def trainer_callback(meter: EnergyMeter | None = None, **arguments: Any) -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])``.

    Windows are called ``epoch 0`` and ``validation 0``. Trainer announces an evaluation only by its end: within a
    training its beginning is known from the control flow; of a ``trainer.evaluate()`` on its own the first batch
    is missing.

    Args:
        meter: a running meter; without one the callback starts and stops its own, made with ``arguments``.

    Raises:
        ImportError: transformers is not installed.
    """
    base = _first_of("transformers", "transformers").TrainerCallback
    return type("EnergyCallback", (_Trainer, base), {})(Phases(meter, arguments))


def _first_of(what: str, *names: str) -> Any:
    for name in names:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as problem:
            if problem.name != name.partition(".")[0]:
                raise
    raise MissingExtraError(f"{what} is not installed: this callback needs {' or '.join(names)}")


class _Lightning:
    def __init__(self, phases: Phases) -> None:
        self.phases = phases
        self._validations = 0

    @property
    def meter(self) -> EnergyMeter:
        return self.phases.meter

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        self.phases.begin()

    def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
        self.phases.open("epoch", f"epoch {trainer.current_epoch}")

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self.phases.close("epoch")

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


class _Trainer:
    def __init__(self, phases: Phases) -> None:
        self.phases = phases
        self._validations = 0
        self._validating = False

    @property
    def meter(self) -> EnergyMeter:
        return self.phases.meter

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.open("epoch", f"epoch {int(state.epoch or 0)}")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.close("epoch")
        self._evaluates(control)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self._evaluates(control)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if not self._validating:
            self._validate()

    def on_evaluate(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.close("validation")
        self._validating = False

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.end()

    def _evaluates(self, control: Any) -> None:
        if control.should_evaluate and not self._validating:
            self._validate()

    def _validate(self) -> None:
        self._validating = True
        self.phases.open("validation", f"validation {self._validations}")
        self._validations += 1
