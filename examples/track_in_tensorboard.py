"""Scores, loss and energy of a retraining in TensorBoard; any tracker that takes a dict of floats works the same way.

    python examples/track_in_tensorboard.py [FOLDER]

MLflow:  mlflow.log_metrics(metrics, step=step)
W&B:     wandb.log(metrics, step=step)
"""

import sys
import tempfile

import _digits
from torch.utils.tensorboard import SummaryWriter

import hitl_fast as hf

folder = sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()
images, digits = _digits.load()
model = _digits.network()
_digits.train(model, images[:1000], digits[:1000], steps=400)
noisy = _digits.shifts(images)["noise 0.5"]

with SummaryWriter(folder) as writer, hf.EnergyMeter() as meter:
    clean = _digits.batches(images[1000:], digits[1000:])
    report = hf.preindex(model, clean, _digits.batches(noisy[1000:], digits[1000:]), progress=False)
    for name in ("index", "probe_error", "cka"):
        writer.add_scalar(f"shift/{name}", getattr(report, name), 0)
    for step in range(5):
        with meter.window(f"retraining {step}") as window:
            _digits.train(model, noisy[:1000], digits[:1000], steps=40, seed=step)
        result = window.result
        writer.add_scalar("accuracy", _digits.accuracy(model, noisy[1000:], digits[1000:]), step)
        writer.add_scalar("seconds", result.seconds, step)
        if result.total_joules is not None:  # no sensor: no number
            writer.add_scalar("joules", result.total_joules, step)
print(f"tensorboard --logdir {folder}")
