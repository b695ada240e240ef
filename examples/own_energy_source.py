"""Measure energy with a meter of your own: an object with a name, a kind, a refresh and ``read``.

The meter here is simulated: 40 W, and 25 W more while a network trains. With your own, ``read`` asks the device and
returns `Watts` or, better, a counter of `Joules`.

    python examples/own_energy_source.py
"""

import _digits

import hitl_fast as hf
from hitl_fast.energy import Watts


class Plug:
    name = "plug"
    kind = "wall"  # between the machine and the grid: reported beside packages and GPUs, never added to them
    refresh = 0.02  # seconds between two readings worth making

    def __init__(self) -> None:
        self.busy = False

    def read(self) -> Watts:
        return Watts(65.0 if self.busy else 40.0)


images, digits = _digits.load()
plug = Plug()
with hf.EnergyMeter(sources=[plug]) as meter:
    with meter.window("load"):
        model = _digits.network()
    with meter.window("train") as window:
        plug.busy = True
        _digits.train(model, images[:1000], digits[:1000], steps=600)
        plug.busy = False
report = meter.report()
print(report)
seconds, joules = window.result.seconds, window.result.joules["plug"]
print(f"training: {joules:.1f} J at the plug, {joules / seconds:.0f} W on average")
