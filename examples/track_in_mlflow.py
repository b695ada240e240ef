"""Scores, accuracy and energy of a retraining in MLflow's local file store: trackers take flat dicts of floats.

    python examples/track_in_mlflow.py [FOLDER]

TensorBoard: examples/track_in_tensorboard.py. W&B: wandb.log(metrics, step=step).
"""

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault(
    "MLFLOW_ALLOW_FILE_STORE", "true"
)  # of version 3; or give the address of a server below

import _digits
import mlflow

import hitl_fast as hf

folder = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()).resolve()
mlflow.set_tracking_uri(folder.as_uri())
mlflow.set_experiment("retraining")
images, digits = _digits.load()
model = _digits.network()
_digits.train(model, images[:1000], digits[:1000], steps=400)
noisy = _digits.shifts(images)["noise 0.5"]

with mlflow.start_run() as run, hf.EnergyMeter() as meter:
    clean = _digits.batches(images[1000:], digits[1000:])
    report = hf.preindex(model, clean, _digits.batches(noisy[1000:], digits[1000:]), progress=False)
    mlflow.log_metrics(report.metrics())
    for step in range(5):
        with meter.window(f"retraining {step}"):
            _digits.train(model, noisy[:1000], digits[:1000], steps=40, seed=step)
        mlflow.log_metrics({"accuracy": _digits.accuracy(model, noisy[1000:], digits[1000:])}, step=step)
    mlflow.log_metrics(meter.metrics())

stored = mlflow.get_run(run.info.run_id).data.metrics
print(
    f"{len(stored)} metrics in {folder}: accuracy {stored['accuracy']:.3f}, {stored['energy/seconds']:.2f} s"
)
