"""Leave-one-out ridge at several penalties from one eigendecomposition."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .fits import Targets, block_rows, left_out, self_product
from .reference import FLOOR

DROPPED = 1e-12  # eigenvalues up to this share of the largest are 0


class Spectrum:
    """Eigenpairs (w, U) of the centred Gram matrix K, whatever they were computed from.

    Attributes:
        trace: tr K.
        w: (r,) eigenvalues above 1e-12 of the largest.
        U: (n, r) their eigenvectors.
    """

    def __init__(self, trace: float, w: Tensor, U: Tensor) -> None:
        self.trace, self.w, self.U = trace, w, U
        self._squares = U.square()

    @classmethod
    def of_gram(cls, gram: Tensor) -> Spectrum:
        """Of a centred (n, n) float64 matrix."""
        w, U = torch.linalg.eigh(gram)
        kept = w > DROPPED * w[-1]
        return cls(float(gram.trace()), w[kept], U[:, kept])

    @classmethod
    def of_features(cls, X: Tensor) -> Spectrum:
        """Of centred (n, d) float64 features with d <= n, by (d, d) algebra: U = X V / sqrt(w)."""
        gram = self_product(X.T)
        w, V = torch.linalg.eigh(gram)
        kept = w > DROPPED * w[-1]
        return cls(float(gram.trace()), w[kept], (X @ V[:, kept]).div_(w[kept].sqrt()))

    def gains(self, penalty: float) -> Tensor:
        """(r,) g = w / (w + rho), rho = penalty * tr K."""
        return self.w / (self.w + penalty * self.trace)

    def leverage(self, penalty: float) -> Tensor:
        """(n,) diag(U g U') + 1/n."""
        return self._squares @ self.gains(penalty) + 1 / len(self.U)

    def labels(self, labels: Tensor, penalty: float) -> Tensor:
        """As ``leave_one_out_labels`` of labels (n,) int64, at least 0."""
        targets = Targets(labels, int(labels.max()) + 1)
        fit = SpectralFit(self, penalty, targets)
        return torch.cat([rows.argmax(1) for _, rows in left_out(fit, targets)])


class SpectralFit:
    """The fit at one penalty, as ``fits.Primal`` and ``fits.Dual`` are."""

    def __init__(self, spectrum: Spectrum, penalty: float, targets: Targets) -> None:
        self._U, self._targets = spectrum.U, targets
        products = targets.products(spectrum.U)
        self._gained = products.mul_(spectrum.gains(penalty)[:, None])
        self.leverage = spectrum.leverage(penalty)

    def residuals(self) -> Iterator[tuple[slice, Tensor]]:
        n, targets = len(self._U), self._targets
        step = block_rows(max(n, targets.columns))
        for start in range(0, n, step):
            place = slice(start, min(start + step, n))
            yield place, targets.missed(place, self._U[place], self._gained)


def path_errors(
    spectrum: Spectrum, base: Tensor, targets: Tensor, labels: Tensor, penalties: Sequence[float]
) -> list[int]:
    """For each penalty, how many samples have ``argmax(base + LOO(targets)) != label``.

    A sample that was wrong at the penalty before is looked at through the class that won there: while that class
    still exceeds the label's, the sample is wrong, whatever the other classes do. Only the others need all of them.

    Args:
        spectrum: of n samples.
        base, targets: (n, C) float64.
        labels: (n,) int64, at least 0; a label of C or more is always wrong.
        penalties: as shares of tr K, in an order in which few decisions change from one to the next.
    """
    path = _Path(spectrum, base, targets)
    known = (labels < base.shape[1]).nonzero()[:, 0]
    labels = labels[known]
    winners = labels.clone()  # where it is the label, nothing is known to beat it
    counts = []
    for penalty in penalties:
        path.move_to(penalty)
        open_rows = torch.ones_like(labels, dtype=torch.bool)
        lost = (winners != labels).nonzero()[:, 0]
        if len(lost):
            rows = known[lost]
            open_rows[lost] = path.values(rows, winners[lost]) <= path.values(rows, labels[lost])
        undecided = open_rows.nonzero()[:, 0]
        winners[undecided] = path.winners(known[undecided])
        counts.append(int((winners != labels).sum()) + len(base) - len(known))
    return counts


class _Path:
    """base + LOO(targets) at the penalty last moved to, for chosen rows and columns."""

    def __init__(self, spectrum: Spectrum, base: Tensor, targets: Tensor) -> None:
        self._spectrum, self._U = spectrum, spectrum.U
        mean = targets.mean(0)
        self._residual = targets - mean
        self._products = self._U.T @ self._residual  # [r, C]
        self._by_class = self._products.T.contiguous()
        self._sum = base + targets

    def move_to(self, penalty: float) -> None:
        self._gains = self._spectrum.gains(penalty)
        self._rest = (1 - self._spectrum.leverage(penalty)).clamp(min=FLOOR)

    def values(self, rows: Tensor, columns: Tensor) -> Tensor:
        """One value a row."""
        found = torch.empty(len(rows), dtype=torch.float64, device=rows.device)
        for place in _slices(len(rows), block_rows(self._U.shape[1])):
            i, c = rows[place], columns[place]
            fitted = ((self._U[i] * self._gains) * self._by_class[c]).sum(1)
            found[place] = self._sum[i, c] - (self._residual[i, c] - fitted) / self._rest[i]
        return found

    def winners(self, rows: Tensor) -> Tensor:
        """The column of the largest value of each row."""
        found = torch.empty_like(rows)
        gained = self._products * self._gains[:, None]
        for place in _slices(len(rows), block_rows(sum(self._products.shape))):
            i = rows[place]
            missed = self._residual[i].addmm_(self._U[i], gained, alpha=-1)
            found[place] = (self._sum[i] - missed / self._rest[i, None]).argmax(1)
        return found


def _slices(n: int, step: int) -> Iterator[slice]:
    return (slice(start, start + step) for start in range(0, n, step))
