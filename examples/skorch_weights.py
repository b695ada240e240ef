"""skorch: sample weights through scikit-learn's interface, in four lines of a net.

python examples/skorch_weights.py
"""

import _digits
import numpy as np
import torch
from skorch import NeuralNetClassifier

import hitl_fast as hf


class Weighted(NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, X=None, *args, **kwargs):
        return hf.weighted_cross_entropy(y_pred, y_true, X.get("sample_weight"))


class Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = _digits.network()

    def forward(self, images, sample_weight=None):
        return self.layers(images)


images, digits = _digits.load()
labels = digits[:1000].numpy().copy()
wrong = np.random.default_rng(0).random(1000) < 0.35
labels[wrong] = np.random.default_rng(1).integers(0, 10, int(wrong.sum()))
for name, weights in (("without weights", np.ones(1000)), ("with weights", 1.0 - 0.9 * wrong)):
    net = Weighted(
        Network, max_epochs=30, lr=0.1, batch_size=64, train_split=None, verbose=0, optimizer__momentum=0.9
    )
    net.fit({"images": images[:1000].numpy(), "sample_weight": weights.astype(np.float32)}, labels)
    found = net.predict({"images": images[1000:].numpy()})
    print(f"accuracy {name}: {(found == digits[1000:].numpy()).mean():.3f}")
