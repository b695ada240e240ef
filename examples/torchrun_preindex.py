"""Estimate the effect of a shift with several processes, each of which reads its part of the samples.

python examples/torchrun_preindex.py
torchrun --standalone --nproc-per-node 2 examples/torchrun_preindex.py
"""

import os

import _digits
import torch
from torch.utils.data import DataLoader, TensorDataset

import hitl_fast as hf

RANK = int(os.environ.get("RANK", "0"))
if "RANK" in os.environ:  # started by torchrun
    torch.distributed.init_process_group()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))

images, digits = _digits.load()
model = _digits.network()
_digits.train(
    model, images[:1000], digits[:1000], steps=400
)  # in practice: load the same weights on every rank
held, truth = images[1000:1400], digits[1000:1400]
noisy = _digits.shifts(held)["noise 0.3"]

# The whole loaders, as for one process: no shuffling, no DistributedSampler.
clean = DataLoader(TensorDataset(held, truth), batch_size=32)
shifted = DataLoader(TensorDataset(noisy, truth), batch_size=32)
report = hf.preindex(model, hf.sharded(clean), hf.sharded(shifted), group="world", progress=False)

if RANK == 0:  # every rank has the same report
    print(report)
    print(f"index {report.index:.6f} of {report.samples} samples, mode: {report.mode}")
if "RANK" in os.environ:
    torch.distributed.destroy_process_group()
