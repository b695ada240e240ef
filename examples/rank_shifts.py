"""Which shift will cost most to retrain to? Scores of one forward pass, beside the accuracy that was lost.

python examples/rank_shifts.py
"""

import _digits

import hitl_fast as hf

images, digits = _digits.load()
model = _digits.network()
_digits.train(model, images[:1000], digits[:1000], steps=400)
held, truth = images[1000:1400], digits[1000:1400]

clean = _digits.batches(held, truth)
rows = []
for name, shifted in _digits.shifts(held).items():
    # The same samples in the same order, before and after the shift.
    report = hf.preindex(model, clean, _digits.batches(shifted, truth), progress=False)
    now = _digits.accuracy(model, shifted, truth)
    rows.append((report.effort_score, name, report.probe_error, report.index, now))

print(f"{'shift':>14}  effort score  probe error  PreIndex  accuracy now")
for effort_score, name, probe_error, index, accuracy in sorted(rows, reverse=True):
    print(f"{name:>14}  {effort_score:12.3f}  {probe_error:11.3f}  {index:8.3f}  {accuracy:12.3f}")
print("The first rows need most retraining; where the accuracy is still good, retraining can wait.")
