"""From a report to epochs, kWh and gCO2e, learnt from past retrainings."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hitl_fast._common.bootstrap import Interval, bootstrap
from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.files import write_text
from hitl_fast._common.seeds import checked_seed
from hitl_fast.energy import carbon
from hitl_fast.energy.reporting.carbon import JOULES_PER_KWH

from . import curves
from .carry import Carried, Range, carried, scaled
from .checks import FALLBACK, check_defined, check_number, check_options, check_parts, chosen_score, remedy
from .conformal import TIE, Floats, weights_of, weights_of_some
from .curves import Curve
from .estimate import CostEstimate, Energy, Rival, percent
from .fitting import bounds_of, cap_of, cross_fit, energy_of, errors_of, folds_of, offset_of
from .history import AUTO, FEWEST, read, table
from .spread import Spread
from .storage import fields_of, without_infinities

FORMAT, SCHEMA = "hitl_fast cost model", 4
FIRST_FORMAT = "hitl_fast cost model 1"  # of files without a schema version


@dataclass(frozen=True)
class CostModel:
    """Effort of retraining as a function of scores that one forward pass gives, with conformal intervals.

    Fitted on log effort (of effort plus a tenth of its median, where some are 0) and cross-validated by whole groups
    (leaving out one kind of shift), so that the intervals are those of a kind of shift that was not seen. With
    residuals ``r_i = |z_i - f_-k(i)(x_i)|`` of the logarithms z, where f_-k(i) was fitted without the fold of i, the
    interval for x is

        [ -Q(r_i - f_-k(i)(x)),  Q(f_-k(i)(x) + r_i) ]      (CV+)

    Q the ``level`` quantile over the past retrainings and one more at infinity. It holds a new retraining that is
    exchangeable with the past ones with probability of about ``level``, and of at least ``2 level - 1`` (less a term
    that vanishes with their number) in any case. Where groups are left out, each weighs the same, and what is at
    infinity weighs ``1 / (m + 1)``, m the number of independent retrainings that those of the groups are worth (Kish's
    design effect, by the intraclass correlation of r): an approximation, the better the more groups there are.

    A censored retraining was given up at some effort: its target takes that or more. The cap is that effort, and what
    is predicted is the smaller of effort and cap, which was observed of each; so none is dropped or guessed. An upper
    end that reaches the cap is infinity. In the fit a censored retraining pulls the curve up to the cap, never down.
    Where caps differ, the lowest counts that leaves at most a twentieth of the retrainings (a quarter of 1 - level)
    given up earlier; the residuals of those are infinite.

    Sources: Barber, Candes, Ramdas, Tibshirani, Predictive inference with the jackknife+, 2021; Dunn, Wasserman,
    Ramdas, Distribution-free prediction sets for two-layer hierarchical models, 2022.

    Attributes:
        scores: what it predicts from.
        effort: what it predicts: epochs, samples, flops or joules.
        method: isotonic, log_linear or ridge.
        level: of the intervals.
        retrainings: how many it learnt from.
        censored: how many of them were given up.
        groups: how many kinds were left out in turn; 0: single retrainings were.
        cap: effort at which past retrainings were given up; infinity if none was.
        error: by what factor predictions are off, typically, cross-validated.
        offset: what was added to efforts before the logarithm.
        rivals: simpler predictors.
        ranges: lowest and highest of each score.
        choice: why it predicts from these scores, where nobody named them; else empty.
        dataset_sizes: fewest and most training samples of the past retrainings; None: the history does not tell.
        batch_sizes: the same of samples of a batch.
        median: effort of the past retrainings that reached their target and had to take a step; None: of a file before
            schema version 4.
    """

    scores: tuple[str, ...]
    effort: str
    method: str
    level: float
    retrainings: int
    censored: int
    groups: int
    cap: float
    offset: float
    ranges: tuple[tuple[float, float], ...]
    error: float
    rivals: tuple[Rival, ...]
    curve: Curve
    fold_curves: tuple[Curve, ...]
    folds: tuple[int, ...]
    residuals: tuple[float, ...]
    weights: tuple[float, ...]
    energy: Energy | None
    choice: str = ""
    dataset_sizes: Range | None = None
    batch_sizes: Range | None = None
    median: float | None = None

    @classmethod
    def fit(
        cls,
        history: Any,
        scores: str | Sequence[str] | None = None,
        *,
        effort: str = "epochs",
        method: str = "isotonic",
        level: float = 0.8,
        groups: str | None = AUTO,
        seed: int = 0,
    ) -> CostModel:
        """Learn from past retrainings.

        Args:
            history: path of a CSV file, pandas DataFrame, or sequence of dicts; a retraining a row. Columns: the
                scores, named like the attributes of PreIndexReport; ``effort``; and where there are: ``censored``
                (1: given up), ``joules``, ``accuracy_drop``, ``shift``, and for ``predict`` at other sizes
                ``dataset_size`` and ``batch_size`` (default: samples over epochs, and over ``steps``).
            scores: one or several columns. Default: effort_score if the history has it of every retraining, else
                probe_error; ``choice`` and the printed model say which, and why.
            effort: epochs, samples, flops or joules.
            method: isotonic (monotone in one score), log_linear (least squares on log effort) or ridge (with a penalty
                picked by leave-one-out error).
            level: how often the intervals shall hold the truth, within 0 and 1.
            groups: column of what is left out together (upper case and spaces do not count); "auto": ``shift``, if
                there; None: retrainings one by one, for predicting shifts like those of the past.
            seed: of the split into folds where there are no groups.

        Raises:
            ValueError: fewer than 8 past retrainings, columns missing (near ones are named), values missing, infinite
                or negative, a score or effort that does not vary, several scores for isotonic, an unknown option.
            TypeError: not a table, values that are not numbers.
            OSError: no such file.
            ImportError: pandas or scikit-learn is missing.

        >>> past = [{"probe_error": i / 20, "epochs": 1.5**i, "joules": 40 * 1.5**i} for i in range(12)]
        >>> model = CostModel.fit(past)
        >>> estimate = model.predict({"probe_error": 0.25}, grams_per_kwh=100)
        >>> round(estimate.epochs.value, 1), estimate.kwh.low < estimate.kwh.value < estimate.kwh.high
        (7.6, True)
        """
        if scores is not None and not isinstance(scores, (str, Iterable)):
            raise InputTypeError(f"scores must be one or several names of columns, not {scores!r}")
        choice = ""
        if scores is None:
            history = table(history)
            scores, choice = chosen_score(history)
        names = (scores,) if isinstance(scores, str) else tuple(scores)
        check_options(names, method, level)
        level = float(level)
        seed = checked_seed(seed)
        past = read(history, names, effort, groups)
        offset = offset_of(past.effort)
        cap = cap_of(past, level)
        z = np.log(np.minimum(past.effort, cap) + offset)
        bounds = bounds_of(offset, cap)
        given_up = past.censored | (past.effort > cap)
        early = past.censored & (past.effort < cap * (1 - TIE))
        folds = folds_of(past, seed)
        fold_curves, centres = cross_fit(method, past.scores, z, given_up, folds, bounds)
        errors = errors_of(z, centres, early)
        residuals = np.where(early, np.inf, np.abs(z - centres))
        rivals = []
        contenders = {"no score": ("constant", past.scores)}
        if past.accuracy_drop is not None and names != ("accuracy_drop",) and np.ptp(past.accuracy_drop) > 0:
            contenders = {"accuracy_drop": (method, past.accuracy_drop[:, None]), **contenders}
        for name, (rival_method, X) in contenders.items():
            theirs = errors_of(z, cross_fit(rival_method, X, z, given_up, folds, bounds)[1], early)
            excess = bootstrap(np.mean, theirs - errors, seed=seed, groups=past.groups)
            rivals.append(Rival(name, float(np.exp(theirs.mean())), excess))
        return cls(
            scores=names,
            choice=choice,
            effort=effort,
            method=method,
            level=level,
            retrainings=len(z),
            censored=int(past.censored.sum()),
            groups=0 if past.groups is None else int(past.groups.max()) + 1,
            cap=cap,
            offset=offset,
            ranges=tuple((float(column.min()), float(column.max())) for column in past.scores.T),
            error=float(np.exp(errors.mean())),
            rivals=tuple(rivals),
            curve=curves.fitted(method, past.scores, z, given_up),
            fold_curves=fold_curves,
            folds=tuple(map(int, folds)),
            residuals=tuple(map(float, residuals)),
            weights=tuple(map(float, weights_of(residuals, past.groups))),
            energy=energy_of(past, z, centres, folds, residuals) if effort != "joules" else None,
            dataset_sizes=past.sizes["dataset_size"],
            batch_sizes=past.sizes["batch_size"],
            median=_median(past.effort[~past.censored]),
        )

    def predict(
        self,
        report: Any,
        *,
        joules_per_epoch: float | None = None,
        grams_per_kwh: float | None = None,
        country: str | None = None,
        dataset_size: float | None = None,
        batch_size: float | None = None,
    ) -> CostEstimate:
        """What retraining to the shift of a report will take.

        At another ``dataset_size`` N or ``batch_size`` B than the N0 and B0 of the past retrainings, samples seen are
        taken to be ``(N / N0)^-0.1 (B / B0)^0.7`` times as many, and operations and energy with them; epochs are
        samples seen / N. That was measured (docs/sizes.md) at one learning rate of Adam, at sizes 3 and batches 2 times
        apart: intervals are those of ``|r_i +- e|``, r_i the past residuals and e the measured errors, times ``|log(N /
        N0)| / log 3`` and ``|log(B / B0)| / log 2``, each combination as likely. From a third of the samples 45 % of
        the retrainings that had taken more than the median effort did not reach their target at all, and 3 % of the
        others: so much of the weight of each, taken to grow with ``log(N0 / N)``, is at infinity. It does not hold
        where the learning rate follows the batch.

        Args:
            report: PreIndexReport, path of its JSON, or dict of scores.
            joules_per_epoch: of your training. Default: learnt from the history's joules, if it has them.
            grams_per_kwh: the grid's intensity, gCO2e/kWh.
            country: or its ISO 3166-1 alpha-3 code, for the yearly average (see ``hitl_fast.energy``).
            dataset_size: training samples of an epoch. Default: as in the past; and there are epochs only if the
                model predicts epochs.
            batch_size: samples of a step. Default: as in the past.

        Raises:
            ValueError: a score is missing, None or not finite; a number is negative; an unknown country; a size for
                which the history does not tell its own, or tells several where one is needed.
            TypeError: not a report; a size that is not a number.

        Warns:
            UserWarning: a score lies outside those of the past retrainings, or a size further away than measured.
        """
        check_number("joules_per_epoch", joules_per_epoch)
        check_number("grams_per_kwh", grams_per_kwh)
        asked = {"dataset_size": dataset_size, "batch_size": batch_size}
        past = {"dataset_size": self.dataset_sizes, "batch_size": self.batch_sizes}
        other = carried(asked, past, self.effort, self.level)
        x = self._scores_of(report)
        notes = [f"predicted from {self.choice}"] if self.choice and self.scores == (FALLBACK,) else []
        outside = [
            f"{name} {value:.4g} is outside the {low:.4g} to {high:.4g} of the past retrainings"
            for name, value, (low, high) in zip(self.scores, x, self.ranges, strict=True)
            if not low <= value <= high
        ]
        notes += outside
        for note in (*outside, *other.doubts):
            warnings.warn(f"{note}: the interval may not hold", stacklevel=2)
        notes += other.notes
        effort, kwh, more = self.effort_at(x, other)
        notes += more
        epochs = effort if self.effort == "epochs" else None
        if self.effort == "samples" and other.epochs_per_sample is not None:
            epochs = scaled(effort, other.epochs_per_sample)
        if joules_per_epoch is not None:
            kwh = self._kwh_of(epochs, joules_per_epoch)
        gco2e = None
        if grams_per_kwh is not None or country is not None:
            intensity = carbon(JOULES_PER_KWH, grams_per_kwh, country=country)
            if kwh is not None:
                gco2e = _times(kwh, intensity.grams_per_kwh)
                notes.append(f"{intensity.grams_per_kwh:g} gCO2e/kWh, {intensity.source}")
        notes += [
            f"{rival.name.replace('_', ' ')} {'alone ' if rival.name != 'no score' else ''}predicts as well"
            for rival in self.rivals
            if rival.as_good
        ]
        return CostEstimate(
            effort=effort,
            unit=self.effort,
            epochs=epochs,
            kwh=kwh,
            gco2e=gco2e,
            level=self.level,
            notes=tuple(notes),
        )

    def __str__(self) -> str:
        level = percent(self.level)
        lines = [
            f"{self.effort} from {', '.join(self.scores)}: {self.method.replace('_', '-')}, {level} intervals",
            *([f"score chosen: {self.choice}"] if self.choice else []),
            f"learnt from {self.retrainings} retrainings"
            + (f", {self.censored} of them given up, the cap is {self.cap:.4g}" if self.censored else "")
            + (f"; {self.groups} groups left out in turn" if self.groups else ""),
            f"off by a factor of {self.error:.2f}, typically (cross-validated)",
        ]
        for rival in self.rivals:
            verdict = "predicts as well" if rival.as_good else "predicts worse"
            lines.append(f"{rival.name.replace('_', ' ')}: off by {rival.error:.2f}; {verdict}")
        return "\n".join(lines)

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write the model as JSON; the file is whole or not there.

        Raises:
            OSError: the folder is missing or not writable.
        """
        held = {"format": FORMAT, "schema_version": SCHEMA, **without_infinities(dataclasses.asdict(self))}
        write_text(path, json.dumps(held, indent=1, allow_nan=False) + "\n")

    @classmethod
    def from_json(cls, path: str | os.PathLike[str]) -> CostModel:
        """Read what ``to_json`` wrote.

        Raises:
            OSError: no such file.
            ValueError: it holds something else.
        """
        with open(path, encoding="utf-8") as file:
            try:
                held = json.load(file)
            except (ValueError, RecursionError) as problem:
                raise InputError(f"{os.fspath(path)} is not JSON: {problem}") from None
        if not isinstance(held, dict) or held.get("format") not in (FORMAT, FIRST_FORMAT):
            raise InputError(f"{os.fspath(path)} is not a cost model: it has no format {FORMAT!r}")
        version: Any = 1 if held["format"] == FIRST_FORMAT else held.get("schema_version")
        if version not in range(1, SCHEMA + 1):
            raise InputError(
                f"{os.fspath(path)} is a cost model of schema version {version}; this program reads 1 to {SCHEMA}"
            )
        if version == 1:
            held["choice"] = ""
        if version < 3:
            held |= {"dataset_sizes": None, "batch_sizes": None}
        if version < SCHEMA:
            held["median"] = None
        try:
            model = cls(**fields_of(held, [field.name for field in dataclasses.fields(cls)]))
            check_parts(model)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise InputError(
                f"{os.fspath(path)} is not a cost model: {type(problem).__name__}: {problem}"
            ) from None
        return model

    def _scores_of(self, report: Any) -> Floats:
        from hitl_fast.shift import PreIndexReport

        if isinstance(report, (str, os.PathLike)):
            report = PreIndexReport.from_json(report)
        if not isinstance(report, (Mapping, PreIndexReport)):
            raise InputTypeError(
                f"report must be a PreIndexReport, its path or a dict of scores, not {type(report).__name__}"
            )
        x = np.empty(len(self.scores))
        for j, name in enumerate(self.scores):
            value = report.get(name) if isinstance(report, Mapping) else getattr(report, name, None)
            if value is None:
                raise InputError(f"the report has no {name}, which this model predicts from{remedy(name)}")
            if isinstance(value, (bool, np.bool_)):
                raise InputError(f"{name} is {value}, not a number")
            try:
                x[j] = float(value)
            except (TypeError, ValueError, OverflowError):
                raise InputError(f"{name} is {str(value)[:40]!r}, not a number") from None
            if not math.isfinite(x[j]):
                raise InputError(f"{name} is {x[j]}; it must be finite")
        return x

    @functools.cached_property
    def _arrays(self) -> tuple[NDArray[np.intp], Floats, Floats]:
        """Fold, residual and weight of each past retraining."""
        return np.array(self.folds, dtype=np.intp), np.array(self.residuals), np.array(self.weights)

    def effort_at(self, x: Floats, other: Carried) -> tuple[Interval, Interval | None, list[str]]:
        """Effort, kWh as learnt from the past, and notes, of (k,) scores, at the sizes that ``carried`` was given."""
        notes = []
        centre = self._clipped(self.curve, x)
        of_folds = np.array([curve(x[None])[0] for curve in self.fold_curves])
        check_defined(self.scores, x, centre, of_folds)
        folds, residuals, weights = self._arrays
        centres = np.clip(of_folds, *bounds_of(self.offset, self.cap))[folds]
        effort = Spread(residuals, weights, self.level, self.offset, self.median).interval(
            centre, centres, other
        )
        if effort.high >= self.cap * (1 - TIE):
            effort = effort._replace(high=math.inf)
        if math.isinf(effort.high) and math.isinf(self.cap) and not any(other.lost) and other.measured:
            level = percent(self.level)
            notes.append(
                f"{self.retrainings} past retrainings are too few for {level} intervals: no upper end is known"
            )
        if effort.value >= self.cap * (1 - TIE):
            notes.append(
                f"past retrainings at such scores were given up at {self.cap:.4g} {self.effort}: expect more"
            )
        kwh, source = self._kwh(effort, centre, centres, other)
        return (
            scaled(effort, other.effort),
            None if kwh is None else scaled(kwh, other.samples),
            notes + source,
        )

    def _clipped(self, curve: Curve, x: Floats) -> float:
        return float(np.clip(curve(x[None]), *bounds_of(self.offset, self.cap))[0])

    def _kwh_of(self, epochs: Interval | None, joules_per_epoch: float) -> Interval:
        if epochs is None:
            further = " without dataset_size" if self.effort == "samples" else ""
            raise InputError(f"joules_per_epoch is of no use to a model of {self.effort}{further}")
        if not 0 <= joules_per_epoch < math.inf:
            raise InputError(
                f"joules_per_epoch must be a number of joules, at least 0, not {joules_per_epoch!r}"
            )
        return _times(epochs, joules_per_epoch / JOULES_PER_KWH)

    def _kwh(
        self, effort: Interval, centre: float, centres: Floats, other: Carried
    ) -> tuple[Interval | None, list[str]]:
        if self.effort == "joules":
            return _times(effort, 1 / JOULES_PER_KWH), []
        if self.energy is None:
            return None, []
        unit = math.exp(self.energy.mean) / JOULES_PER_KWH
        if self.energy.retrainings < FEWEST:
            note = f"energy by {self.energy.retrainings} retrainings; its own spread is not in the interval"
            return _times(effort, unit), [note]
        residuals = np.array(self.energy.residuals)
        there = ~np.isnan(residuals)
        folds, _, weights = self._arrays
        means = np.array(self.energy.fold_means)[folds]
        if not there.all():
            weights = weights_of_some(residuals, folds if self.groups else None, there)
        unit = math.exp(self.energy.mean)
        median = None if self.median is None else self.median * unit
        spread = Spread(residuals[there], weights, self.level, self.offset * unit, median)
        joules = spread.interval(centre + self.energy.mean, (centres + means)[there], other)
        kwh = _times(joules, 1 / JOULES_PER_KWH)
        return (kwh._replace(high=math.inf) if math.isinf(effort.high) else kwh), []


def _median(efforts: Floats) -> float | None:
    taken = efforts[efforts > 0]
    return float(np.median(taken)) if len(taken) else None


def _times(interval: Interval, factor: float) -> Interval:
    return Interval(*(end * factor if factor else 0.0 for end in interval))
