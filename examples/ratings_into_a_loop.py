"""People's ratings from a Label Studio export become sample weights in a plain training loop.

The export is written here by simulated raters, who rate whether the label of a digit is right; a third of the labels is
wrong. With your own export start at the line that reads it.

    python examples/ratings_into_a_loop.py
"""

import json
import tempfile
from pathlib import Path

import _digits
import numpy as np
import torch

import hitl_fast as hf

images, digits = _digits.load()
generator = np.random.default_rng(1)
defect = generator.random(1000) < 0.35
labels = digits[:1000].clone()
labels[defect] = torch.tensor(generator.integers(0, 10, int(defect.sum())))  # mislabelled
tasks = []
for item in range(1000):
    stars = np.clip(np.where(defect[item], 2, 4) + generator.integers(-1, 2, 3), 1, 5)
    annotations = [
        {
            "completed_by": rater,
            "result": [
                {"from_name": "quality", "to_name": "image", "type": "rating", "value": {"rating": int(s)}}
            ],
        }
        for rater, s in enumerate(stars)
    ]
    tasks.append({"id": item, "data": {"image": f"{item}.png"}, "annotations": annotations})
export = Path(tempfile.mkdtemp()) / "export.json"
export.write_text(json.dumps(tasks))

ratings = hf.Ratings.read(export, items=[str(item) for item in range(1000)])
print(ratings.summary())
weights = ratings.aggregate("calibrated").weights(num_items=1000, floor=0.0, power=2.0)


def trained(weight: torch.Tensor) -> float:
    model = _digits.network()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    order = torch.Generator().manual_seed(0)
    for _ in range(400):
        index = torch.randint(1000, (64,), generator=order)
        loss = hf.weighted_cross_entropy(model(images[index]), labels[index], weight[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return _digits.accuracy(model, images[1000:], digits[1000:])


print(f"accuracy without ratings: {trained(torch.ones(1000)):.3f}")
print(f"accuracy with ratings:    {trained(torch.tensor(weights)):.3f}")
