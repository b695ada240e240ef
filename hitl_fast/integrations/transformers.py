"""Hugging Face Trainer: energy per epoch, validation and step."""

from __future__ import annotations

from typing import Any

from hitl_fast.energy import Window
from hitl_fast.energy.measuring.meter import EnergyMeter

from .phases import Phases, first_installed


def trainer_callback(meter: EnergyMeter | None = None, *, per_step: bool = False, **arguments: Any) -> Any:
    """A callback for ``transformers.Trainer(callbacks=[...])``.

    Windows are called ``epoch 0`` and ``validation 0``. Trainer announces an evaluation only by its end: within a
    training its beginning is known from the control flow; of a ``trainer.evaluate()`` on its own the first batch
    is missing.

    Args:
        meter: a running meter; without one the callback starts and stops its own, made with ``arguments``.
        per_step: a window ``step`` for every optimizer step; ``callback.steps`` has them, and logs gain
            ``seconds_per_step`` and, where a sensor is read, ``joules_per_step`` since the last log. Reporters of
            ``report_to`` run before other callbacks: for them, put this one first with
            ``trainer.callback_handler.callbacks.insert(0, callback)``.

    Raises:
        ImportError: transformers is not installed.
    """
    base = first_installed("transformers", "transformers").TrainerCallback
    return type("EnergyCallback", (_EnergyCallback, base), {})(Phases(meter, arguments, per_step))


class _EnergyCallback:
    def __init__(self, phases: Phases) -> None:
        self.phases = phases
        self._validations = 0
        self._validating = False
        self._logged = 0

    @property
    def meter(self) -> EnergyMeter:
        return self.phases.meter

    @property
    def steps(self) -> list[Window]:
        """Windows of the steps so far; none without ``per_step``."""
        return self.phases.steps

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.begin()

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.open("epoch", f"epoch {int(state.epoch or 0)}")

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.close("epoch")
        self._evaluates(control)

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.begin_step()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **rest: Any) -> None:
        found = self.phases.metrics(self._logged)
        self._logged = len(self.steps)
        for log in (logs, state.log_history[-1] if found and state.log_history else None):
            if log is not None:
                log.update(found)

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        self.phases.end_step()
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
