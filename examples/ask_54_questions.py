"""Which 54 of 1,000 samples should people look at, and what follows for the rest?

A third of the digits is mislabelled. The answers are simulated: 1 for a wrong label, 5 for a right one, 10 % mistakes.
With your own data, features are embeddings of your model.

    python examples/ask_54_questions.py
"""

import _digits
import numpy as np
import torch

import hitl_fast as hf

images, digits = _digits.load()
labels, wrong = _digits.mislabelled(digits[:1000], 0.35)
generator = np.random.default_rng(1)

signals = hf.Signals.of(images[:1000].numpy(), labels.numpy())
nobody = signals.priorities()
asked = hf.ask_next(signals, 54)
answers = np.where(wrong[asked] ^ (generator.random(54) < 0.1), 1.0, 5.0)
ratings = hf.Ratings.from_arrays(asked, np.full(54, "ana"), answers, scale=(1.0, 5.0))
everyone = ratings.aggregate("mean").propagate(signals)


def trained(weight: np.ndarray) -> float:
    model = _digits.network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    sampler = hf.PriorityBatchSampler(weight, 64, num_samples=64 * 400, seed=0)
    for index in sampler:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()
    return _digits.accuracy(model, images[1000:], digits[1000:])


print(f"asked about {len(asked)} of 1,000 samples")
for name, weight in (
    ("equal weights", np.ones(1000)),
    ("without people", nobody.weights(num_items=1000, floor=0.02)),
    ("54 answers", everyone.weights(num_items=1000, floor=0.02)),
):
    print(f"accuracy, {name}: {trained(weight):.3f}")
