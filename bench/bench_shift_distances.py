"""Row pairs a second against the definition in NumPy, and against histograms alone."""

import numpy as np
from hitl_kernels.shift_distances import reference, row_histograms, shift_distances
from problems import SHIFT, shifted_rows
from race import race

ROWS, WIDTH, BINS = SHIFT


def test_against_the_definition() -> None:
    clean, shifted = shifted_rows(ROWS, WIDTH)
    few = 64
    expected, _ = reference.shift_distances(clean[:few], shifted[:few], BINS)
    found = shift_distances(clean, shifted, BINS, per_row=True)
    np.testing.assert_allclose(found.distances[:few], expected, 1e-11, 1e-13)
    # The definition does a 64th of the rows; its time is scaled to as many.
    race(
        "shift_distances",
        {
            "hitl": lambda: shift_distances(clean, shifted, BINS),
            "reference": lambda: reference.shift_distances(clean[:few], shifted[:few], BINS),
        },
        shape=f"R={ROWS} C={WIDTH} bins=16,32,64 measures=5, per pair",
        work={"hitl": ROWS, "reference": few},
        unit="us",
        rounds=20,
    )


def test_histograms_against_numpy() -> None:
    clean, _ = shifted_rows(ROWS, WIDTH)
    few = 64
    expected = np.stack([np.histogram(row, 64)[0] for row in clean[:few]])
    np.testing.assert_array_equal(row_histograms(clean, 64, arithmetic="reference")[:few], expected)
    race(
        "row_histograms",
        {
            "hitl": lambda: row_histograms(clean, 64),
            "np.histogram": lambda: [np.histogram(row, 64) for row in clean[:few]],
        },
        shape=f"R={ROWS} C={WIDTH} bins=64, per row",
        work={"hitl": ROWS, "np.histogram": few},
        unit="us",
        rounds=20,
    )
