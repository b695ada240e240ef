"""PyTorch Lightning with samples drawn by weight, on any number of devices, and the energy of each step.

python examples/lightning_sampler.py
"""

import _digits
import numpy as np
import pytorch_lightning as lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import hitl_fast as hf


class Digits(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = _digits.network()

    def training_step(self, batch, _):
        images, digits = batch
        return torch.nn.functional.cross_entropy(self.network(images), digits)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


images, digits = _digits.load()
weights = np.where(digits[:1000].numpy() % 2 == 1, 3.0, 1.0)  # odd digits matter more here
sampler = hf.PrioritySampler(weights, seed=0)
loader = DataLoader(TensorDataset(images[:1000], digits[:1000]), batch_size=64, sampler=sampler)
energy = hf.integrations.lightning_callback(per_step=True)
trainer = lightning.Trainer(
    max_epochs=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, callbacks=[energy],
)  # fmt: skip
module = Digits()
trainer.fit(module, loader)
odd = digits[1000:] % 2 == 1
print(
    f"accuracy of odd digits:  {_digits.accuracy(module.network, images[1000:][odd], digits[1000:][odd]):.3f}"
)
print(
    f"accuracy of even digits: {_digits.accuracy(module.network, images[1000:][~odd], digits[1000:][~odd]):.3f}"
)
steps = energy.steps
joules = [step.total_joules for step in steps if step.total_joules is not None]
each = f"{sum(joules) / len(joules):.3f} J each" if joules else "no energy sensor"
print(f"{len(steps)} steps, {each}")
