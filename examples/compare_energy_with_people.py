"""Energy of runs with and without people's ratings, to the same accuracy, with an interval of the difference.

python examples/compare_energy_with_people.py
"""

import _digits
import numpy as np
import torch

import hitl_fast as hf

images, digits = _digits.load()
generator = np.random.default_rng(1)
wrong = generator.random(1000) < 0.35
labels = digits[:1000].clone()
labels[wrong] = torch.tensor(generator.integers(0, 10, int(wrong.sum())))
RATED = 1.0 - 0.9 * wrong  # what people think of each sample


def run(weights: np.ndarray, seed: int, goal: float = 0.87, most: int = 400) -> tuple[hf.EnergyReport, int]:
    """Joules and steps until the goal."""
    model, sampler = (
        _digits.network(seed),
        hf.PriorityBatchSampler(weights, 64, num_samples=64 * most, seed=seed),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    with hf.EnergyMeter() as meter:
        for step, index in enumerate(sampler, 1):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
            optimizer.step()
            if step % 10 == 0 and _digits.accuracy(model, images[1000:], digits[1000:]) >= goal:
                break
    return meter.report(), step


without = [run(np.ones(1000), seed) for seed in range(5)]
with_people = [run(RATED, seed) for seed in range(5)]
print(f"steps without ratings: {[steps for _, steps in without]}")
print(f"steps with ratings:    {[steps for _, steps in with_people]}")
if without[0][0].total.total_joules is None:
    print("This machine has no energy sensor that can be read: run `hitl-fast doctor`.")
else:
    print(hf.compare_energy([report for report, _ in without], [report for report, _ in with_people]))
