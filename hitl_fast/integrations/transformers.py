"""Hugging Face Trainer: energy per epoch, validation and step."""

from __future__ import annotations

from typing import Any

from hitl_fast.energy.measuring.meter import EnergyMeter

from .phases import Phases, first_installed


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
    base = first_installed("transformers", "transformers").TrainerCallback
    return type("EnergyCallback", (_EnergyCallback, base), {})(Phases(meter, arguments))


class _EnergyCallback:
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
