"""Estimate the effect of a shift on data in Ray datasets, with the forward pass in Ray's actors.

pip install 'hitl-fast[ray]'
python examples/preindex_ray.py
"""

import os
import tempfile
from pathlib import Path

import _digits
import ray
import torch

import hitl_fast as hf
from hitl_fast.integrations import preindex_ray

ACTORS, BATCH = 2, 64
images, digits = _digits.load()
network = _digits.network()
_digits.train(network, images[:1000], digits[:1000], steps=400)
held, truth = images[1000:1300], digits[1000:1300]
noisy = _digits.shifts(held)["noise 0.3"]

# Weights that every machine of the cluster can read: here a temporary folder, in practice a shared one.
weights = Path(tempfile.mkdtemp()) / "weights.pt"
torch.save(network.state_dict(), weights)


def load_model() -> torch.nn.Module:
    """Called once by every actor."""
    model = _digits.network()
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def dataset(pixels: torch.Tensor) -> ray.data.Dataset:
    """In practice: ray.data.read_parquet, read_images, ..."""
    return ray.data.from_items(
        [{"image": x, "label": int(y)} for x, y in zip(pixels.numpy(), truth, strict=True)]
    )


ray.init(num_cpus=os.cpu_count() or 2, include_dashboard=False, log_to_driver=False)
report = preindex_ray(
    load_model,
    dataset(held),
    dataset(noisy),
    batch_size=BATCH,
    actors=ACTORS,
    inputs="image",  # the column with which the model is called; the labels are in "label"
    progress=False,
)
ray.shutdown()
print(report)
print(f"index {report.index:.6f} of {report.samples} samples, mode: {report.mode}")

# The same in this process.
loaders = [_digits.batches(pixels, truth, BATCH) for pixels in (held, noisy)]
alone = hf.preindex(network, *loaders, progress=False)
print(f"in one process: index {alone.index:.6f}, difference {abs(report.index - alone.index):.0e}")
