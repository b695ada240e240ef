"""Keras on torch: people's ratings as ``sample_weight``, which Keras takes as it is.

python examples/keras_weights.py
"""

import os

os.environ["KERAS_BACKEND"] = "torch"
import _digits
import keras
import numpy as np

from hitl_fast.ratings.simulated import simulated_ratings

images, digits = (tensor.numpy() for tensor in _digits.load())
generator = np.random.default_rng(0)
labels, wrong = digits[:1000].copy(), generator.random(1000) < 0.35
labels[wrong] = generator.integers(0, 10, int(wrong.sum()))
# Simulated people, who err: with your own ratings, hf.Ratings.read(export, items=ids).
ratings = simulated_ratings(np.where(wrong, 2.0, 4.0), seed=0)
weights = ratings.aggregate("calibrated").weights(num_items=1000, floor=0.0, power=2.0)

for name, weight in (("without ratings", np.ones(1000)), ("with ratings", weights)):
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense
    model = keras.Sequential([dense(64, "relu"), dense(32, "relu"), dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(images[:1000], labels, sample_weight=weight, batch_size=64, epochs=15, verbose=0)
    found = model.predict(images[1000:], verbose=0).argmax(1)
    print(f"accuracy {name}: {(found == digits[1000:]).mean():.3f}")
