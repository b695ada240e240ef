"""Production data that is no shifted copy of the test set: other samples, another mix of classes, few or no labels.

python examples/unpaired_production_data.py
"""

import _digits
import torch

import hitl_fast as hf

images, digits = _digits.load()
model = _digits.network()
_digits.train(model, images[:1000], digits[:1000], steps=400)
clean = _digits.batches(images[1000:1400], digits[1000:1400])

# Production sees other writers' digits, and small ones more often; nobody has labelled them yet.
others, truth = images[1400:], digits[1400:]
chosen = torch.multinomial(torch.where(truth < 5, 3.0, 1.0), 300, generator=torch.Generator().manual_seed(0))
others, truth = others[chosen], truth[chosen]

print(f"{'shift':>14}  confidence drop  probe error: all labels, 60 labels  accuracy now, from 60 labels")
rows = []
for name, seen in {"none": others, **_digits.shifts(others)}.items():
    unlabelled = hf.preindex(
        model, clean, list(seen.split(64)), paired=False, labels_for="clean", progress=False
    )
    labelled = _digits.batches(seen, truth)
    report = hf.preindex(model, clean, labelled, paired=False, progress=False)
    # Labels cost people's time: 60 of them, drawn at random, and what they leave uncertain.
    few = hf.preindex(model, clean, labelled, paired=False, label_budget=60, progress=False)
    rows.append((unlabelled.confidence_drop, name, report.probe_error, few))

for drop, name, error, few in sorted(rows, key=lambda row: row[0], reverse=True):
    now, (low, high) = few.accuracy["shifted"], few.intervals["accuracy_shifted"]
    print(
        f"{name:>14}  {drop:15.3f}  {error:23.3f}, {few.probe_error:9.3f}  "
        f"{now:11.2f} [{low:.2f}, {high:.2f}]"
    )
print("Without labels a model may be sure and wrong (turned, inverted): have a few samples labelled.")
print(f"Compare probe errors of equal budgets only. {rows[0][3].notes[0]}")
