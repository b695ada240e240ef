"""Retrain, or keep the model? A cost model from eleven past retrainings, and advice on a new shift.

python examples/decide_retrain_or_keep.py
"""

import copy

import _digits

import hitl_fast as hf
from hitl_fast.cost.decision import Candidate, decide

images, digits = _digits.load()
model = _digits.network()
_digits.train(model, images[:1000], digits[:1000], steps=400)
goal = _digits.accuracy(model, images[1400:], digits[1400:]) - 0.05


def scored(shifted):
    clean = _digits.batches(images[1000:1400], digits[1000:1400])
    return hf.preindex(model, clean, _digits.batches(shifted[1000:1400], digits[1000:1400]), progress=False)


def epochs_to_recover(shifted, most=20):
    """Epochs of retraining until the accuracy is back, and 1 if it was given up."""
    student = copy.deepcopy(model)
    for epoch in range(most):
        if _digits.accuracy(student, shifted[1400:], digits[1400:]) >= goal:
            return epoch, 0
        _digits.train(student, shifted[:1000], digits[:1000], steps=16, seed=epoch)
    return most, 1


history = []
for name, shifted in _digits.shifts(images).items():
    epochs, censored = epochs_to_recover(shifted)
    score = scored(shifted).effort_score
    history.append({"shift": name, "effort_score": score, "epochs": epochs, "censored": censored})
    print(f"{name:>14}: effort score {score:.3f}, {'more than ' if censored else ''}{epochs} epochs")
cost = hf.CostModel.fit(history, "effort_score")

fresh = (0.7 * images + 0.15).roll(1, 1)  # a new shift: less contrast, and moved by a pixel
report = scored(fresh)
now = _digits.accuracy(model, fresh[1000:1400], digits[1000:1400])
estimate = cost.predict(report)
print(f"new shift: {estimate}")
(advice,) = decide([Candidate("digits", "new shift", goal + 0.05, now, estimate)], tolerance=5.0)
print(f"advice: {advice.advice}, because {advice.reason}")
