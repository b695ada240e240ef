"""People answer while a model trains, and what they say counts from the next epoch on.

A third of the digits is mislabelled. Somebody answers twelve questions an epoch in a thread of this program: 1 for a
wrong label, 5 for a right one. In a real study, `hitl-fast collect` serves the page that writes the same database.

    python examples/live_loop.py
"""

import tempfile
import threading
import time
from pathlib import Path

import _digits
import numpy as np
import torch

import hitl_fast as hf
from hitl_fast.ratings.collect.store import Store

EPOCHS, EACH = 10, 12
images, digits = _digits.load()
labels, wrong = _digits.mislabelled(digits[:1000], 0.35)
generator = np.random.default_rng(1)

signals = hf.Signals.of(images[:1000].numpy(), labels.numpy())
out = Path(tempfile.mkdtemp()) / "ratings.db"
store = Store(out, {"items": 1000, "question": "rating"})
asked, begun = iter(hf.ask_next(signals, EPOCHS * EACH)), threading.Semaphore(0)


def somebody() -> None:
    for _ in range(EPOCHS):
        begun.acquire()  # an epoch has begun
        for _ in range(EACH):
            item, start = int(next(asked)), time.perf_counter()
            score = 1.0 if wrong[item] else 5.0
            store.answer("ana", store.give("ana", item, None, 0).ticket, score, time.perf_counter() - start)
        answered.set()


model = _digits.network()
optimizer = torch.optim.Adam(model.parameters(), 3e-3)
sampler = hf.PriorityBatchSampler(np.ones(1000), 64, seed=0)
sampler.follow(hf.LiveRatings(out, signals, floor=0.02))
answered = threading.Event()
person = threading.Thread(target=somebody)
person.start()
for epoch in range(EPOCHS):
    for step, index in enumerate(sampler):
        if step == 0:
            begun.release()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(images[index]), labels[index]).backward()
        optimizer.step()
    weights = sampler.epoch_weights
    print(
        f"epoch {epoch}: weight of wrong labels {weights[wrong].mean():.2f}, of right ones "
        f"{weights[~wrong].mean():.2f}, accuracy {_digits.accuracy(model, images[1000:], digits[1000:]):.3f}"
    )
    answered.wait()  # so that this example prints the same each time; a training does not wait for people
    answered.clear()
person.join()
store.close()
print(hf.Ratings.read(out).summary().splitlines()[1])
