"""The definition: five distances between the histograms of two rows, each over its own range, in NumPy.

Clean and shifted rows are binned by ``np.histogram`` over their own minimum to maximum, so that only the shape
of a row counts, neither its scale nor its offset. Sangarya, Bradford, Kim (AIES 2024, arXiv 2408.01446) use the
first four with SciPy's functions; the fifth, and the smoothing of the divergence, are what ``corrected`` adds.
"""

import numpy as np

MEASURES = (
    "jensen_shannon",
    "bhattacharyya",
    "kullback_leibler",
    "wasserstein_heights",
    "wasserstein_bins",
)

# A row is near-constant, under `corrected`, when its range is below this many units in the last place of its values.
CONSTANT_ULPS = 64

# Added to every count under `corrected`, so that no bin is empty: the Krichevsky-Trofimov estimate.
PSEUDO_COUNT = 0.5


def shift_distances(
    clean: np.ndarray,
    shifted: np.ndarray,
    bins: tuple[int, ...] = (16, 32, 64),
    arithmetic: str = "corrected",
) -> tuple[np.ndarray, int]:
    """Distances of each row pair, [rows, bins, measures], NaN where a pair is left out; and how many are."""
    clean, shifted = (x.reshape(*x.shape[:2], -1).mean(2, dtype=x.dtype) for x in (clean, shifted))
    distances = np.full((len(clean), len(bins), len(MEASURES)), np.nan)
    left_out = 0
    for i, (row, other) in enumerate(zip(clean, shifted, strict=True)):
        if not (_has_range(row) and _has_range(other)):
            left_out += 1
            continue
        for b, n_bins in enumerate(bins):
            p, q = (histogram(values, n_bins, arithmetic) for values in (row, other))
            distances[i, b] = measures(p, q, arithmetic)
    return distances, left_out


def histogram(row: np.ndarray, n_bins: int, arithmetic: str = "corrected") -> np.ndarray:
    """Counts over the row's own range; a row too narrow to be cut into so many bins is all in the middle one."""
    middle = np.bincount([n_bins // 2], minlength=n_bins) * row.size
    low, high = row.min(), row.max()
    with np.errstate(over="ignore"):
        near_constant = high - low < CONSTANT_ULPS * np.spacing(max(abs(low), abs(high)))
    if arithmetic == "corrected" and near_constant:
        return middle
    try:
        return np.histogram(row, bins=n_bins)[0]
    except ValueError:  # "Too many bins for data range"
        return middle


def measures(p: np.ndarray, q: np.ndarray, arithmetic: str = "corrected") -> np.ndarray:
    """The five distances, in the order of MEASURES, between two histograms of as many values."""
    n_bins, n = p.size, p.sum()
    P, Q = p / n, q / n
    M = (P + Q) / 2
    jensen_shannon = (_divergence(P, M) + _divergence(Q, M)) / 2
    bhattacharyya = np.sum((np.sqrt(P) - np.sqrt(Q)) ** 2) / 2  # = 1 - sum(sqrt(P Q)), and 0 if P = Q
    if arithmetic == "corrected":
        total = n + n_bins * PSEUDO_COUNT
        kullback_leibler = _divergence((p + PSEUDO_COUNT) / total, (q + PSEUDO_COUNT) / total)
    else:
        kullback_leibler = _divergence(P, Q)
    wasserstein_heights = np.mean(np.abs(np.sort(P) - np.sort(Q)))
    wasserstein_bins = np.sum(np.abs(np.cumsum(P) - np.cumsum(Q))) / n_bins
    return np.array([jensen_shannon, bhattacharyya, kullback_leibler, wasserstein_heights, wasserstein_bins])


def _divergence(P: np.ndarray, Q: np.ndarray) -> float:
    """sum P log(P / Q) in nats; terms that would be infinite or undefined count 0."""
    both = (P > 0) & (Q > 0)
    return float(np.sum(P[both] * np.log(P[both] / Q[both])))


def _has_range(row: np.ndarray) -> bool:
    """All finite, and so is the range: two values of 3e38 and -3e38 have none in float32."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(row).all() and np.isfinite(row.max() - row.min()))
