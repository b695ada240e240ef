"""Every number of a report as plain fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .accumulator import Distances, LayerReport
from .clusters import ClusterReport

# Of the JSON. 1 had neither this number nor notes nor the effort score; 2 had pairs only, all of them labelled.
SCHEMA = 3
# Fields that came after version 1, and what a report has that was written before.
ADDED: dict[str, Any] = {
    "notes": [], "schema": 1, "effort_score": None, "path_excess": None, "probe_increase": None, "effort_samples": None,
    "paired": True, "labels_for": "both", "label_budget": None, "clean_samples": None, "class_mean_cka": None,
    "clean_probe_error": None, "confidence_drop": None, "intervals": None,
}  # fmt: skip


@dataclass(frozen=True)
class PreIndexResults:
    """The index, what it is made of, and the other scores of the same pass. Plain fields; see ``hitl_fast.preindex``.

    Without pairs, or without labels of shifted samples, what needs them is None (``layers`` is empty); notes say so.

    Attributes:
        index: (p + inverse_ari) / (1 + (p + inverse_ari) * scale) - offset; higher: more to retrain.
        distance: p, ``distances[measure_bins][measure]``.
        inverse_ari: 1 - adjusted Rand index of shifted embeddings clustered from the clean class means.
        u: p + inverse_ari; at any fixed scale and offset the index ranks as u does.
        samples: pairs seen.
        classes: distinct labels.
        distances: ``distances[bins][measure]``, mean over layers and samples. "bhattacharyya" is 1 - BC (the
            Bhattacharyya coefficient), that is the squared Hellinger distance.
        layers: by name, the layers that count.
        skipped: by name, why a layer does not count.
        clusters: "clean", "shifted", "shifted_from_clean", "clean_kmeans++", "shifted_kmeans++"; the last two None
            without k-means++ runs.
        embedding: where the embeddings were taken.
        accuracy: share of samples whose largest logit is their label, "clean" and "shifted"; None unless the
            labels number the logits.
        input_rms: root mean square change of the floating point inputs; None if there are none.
        resque_angle: mean angle between summed class embeddings, in units of pi; None if none has a direction.
        cka: linear CKA of clean and shifted embeddings, 1 for equal; None if one is constant.
        probe_error: leave-one-out error of a ridge classifier on the shifted embeddings.
        left_out: sample pairs whose embedding holds NaN or infinite values; not clustered.
        seconds: "forward" (with loading), "checking" (samples that were run alone), "statistics", "clustering".
        mode: device, and how batches went through the model.
        versions: of what computed this.
        notes: what to know about the numbers: which mask left padding out, what could not be computed and why.
        schema: version of the JSON.
        effort_score: predicted retraining effort, sqrt(path_excess) + 4 * probe_increase, as
            ``hitl_fast.shift.effort_score.effort_score`` has it; where it is None, a note has the reason.
        path_excess: its part A, what closed-form corrections of the present output leave wrong.
        probe_increase: its part B, class information that no layer shows any more.
        effort_samples: samples that it was computed from.
        paired: clean and shifted samples are the same ones.
        labels_for: "both", or "clean": no label of a shifted sample was used.
        label_budget: how many labels of shifted samples were used at most; None: all.
        clean_samples: clean samples seen; ``samples`` are the shifted ones.
        class_mean_cka: linear CKA of the class means of clean and shifted embeddings, without pairs or under a budget.
        clean_probe_error: ``probe_error`` of the clean embeddings, where pairs or labels are missing.
        confidence_drop: mean largest probability, clean less shifted; needs no labels. Source: Guillory et al.,
            Predicting with Confidence on Unseen Distributions, 2021.
        intervals: 95 % intervals over the labelled shifted samples under ``label_budget``, by name of a score:
            "accuracy_shifted" and "accuracy_drop" (Wilson), and from 30 labels on "inverse_ari", "u" and "index".
    """

    index: float | None
    distance: float | None
    inverse_ari: float | None
    u: float | None
    samples: int
    classes: int
    measure: str
    measure_bins: int
    scale: float
    offset: float
    arithmetic: str
    pooling: str
    embedding: str
    accuracy: dict[str, float] | None
    input_rms: float | None
    resque_angle: float | None
    cka: float | None
    probe_error: float | None
    left_out: int
    distances: Distances | None
    clusters: dict[str, ClusterReport | None]
    layers: dict[str, LayerReport]
    skipped: dict[str, str]
    seconds: dict[str, float]
    mode: str
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)
    schema: int = SCHEMA
    effort_score: float | None = None
    path_excess: float | None = None
    probe_increase: float | None = None
    effort_samples: int | None = None
    paired: bool = True
    labels_for: str = "both"
    label_budget: int | None = None
    clean_samples: int | None = None
    class_mean_cka: float | None = None
    clean_probe_error: float | None = None
    confidence_drop: float | None = None
    intervals: dict[str, tuple[float, float]] | None = None

    @property
    def bins(self) -> tuple[int, ...]:
        return tuple(self.distances or ())

    @property
    def hellinger_squared(self) -> float | None:
        """The squared Hellinger distance at ``measure_bins``: another name of the measure "bhattacharyya"."""
        return None if self.distances is None else self.distances[self.measure_bins]["bhattacharyya"]

    @property
    def accuracy_drop(self) -> float | None:
        """Accuracy lost to the shift, in [-1, 1]; None without logits or labels."""
        accuracy = self.accuracy or {}
        return accuracy["clean"] - accuracy["shifted"] if accuracy.keys() >= {"clean", "shifted"} else None
