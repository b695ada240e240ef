"""Scores from one forward pass that ``hitl_fast.preindex`` does not report: baselines for the index."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hitl_fast.shift.embedding_scores import Embedding, probe_error

from ..common.samples import Samples

FEW = 10  # samples of each class that ``probe_error_few`` is fitted on
RIDGE = 0.01  # of the mean variance, so that a covariance of dead units can be inverted


def forward_scores(model: nn.Module, clean: Samples, shifted: Samples) -> dict[str, float]:
    """By name, higher for what should take longer to retrain to; labels are used where the name of a class matters.

    - loss: mean cross entropy on shifted data.
    - entropy: mean entropy of the predictions on shifted data. Needs no labels.
    - confidence_drop: mean largest probability, clean less shifted (difference of confidences). Needs no labels.
    - arm: mean over layers of the Wasserstein distance between all activations of the two data sets. No labels.
    - within_share: within-class share of the variance of shifted embeddings.
    - mahalanobis: mean over classes of the distance between clean and shifted mean embedding, in the metric of the
      clean within-class covariance.
    - probe_error_increase: probe error on shifted less probe error on clean embeddings.
    - probe_error_few: probe error with the first ten samples of each class.

    Source of difference of confidences: Guillory et al., Predicting with Confidence on Unseen Distributions, 2021.
    """
    outputs = _Outputs(model, torch.cat([clean.inputs, shifted.inputs]))
    n = len(clean)
    ours, theirs = outputs.logits[:n].double(), outputs.logits[n:].double()
    clean_rows, shifted_rows = outputs.embedding[:n], outputs.embedding[n:]
    log_probabilities = theirs.log_softmax(1)
    classes = clean.labels.numpy()
    count = ours.shape[1]
    few = _first_of_each(classes, FEW, count)
    probe = probe_error(Embedding(shifted_rows, classes, count))
    return {
        "loss": float(F.nll_loss(log_probabilities, shifted.labels)),
        "entropy": float(-(log_probabilities.exp() * log_probabilities).sum(1).mean()),
        "confidence_drop": float((_confidence(ours) - _confidence(theirs)).mean()),
        "arm": float(np.mean([_wasserstein(a[:n], a[n:]) for a in outputs.layers])),
        "within_share": _within_share(shifted_rows.double(), clean.labels, count),
        "mahalanobis": _mahalanobis(clean_rows.double(), shifted_rows.double(), clean.labels, count),
        "probe_error_increase": probe - probe_error(Embedding(clean_rows, classes, count)),
        "probe_error_few": probe_error(Embedding(shifted_rows[few], classes[few], count)),
    }


class _Outputs:
    """Logits, the input of the layer that makes them, and every other layer's output, for all samples."""

    def __init__(self, model: nn.Module, inputs: Tensor, batch_size: int = 250) -> None:
        layers = [
            m
            for m in model.modules()
            if hasattr(m, "out_features") or hasattr(m, "out_channels") or isinstance(m, nn.RNNBase)
        ]
        last = getattr(model, "head", layers[-1])
        hidden = [layer for layer in layers if layer is not last]
        found: dict[nn.Module, list[Tensor]] = {layer: [] for layer in layers}
        handles = [
            layer.register_forward_hook(
                lambda m, args, out: found[m].append((out[0] if isinstance(out, tuple) else out).clone())
            )
            for layer in hidden
        ]
        handles.append(last.register_forward_hook(lambda m, args, out: found[m].append(args[0])))
        try:
            with torch.no_grad():
                self.logits = torch.cat([model(batch) for batch in inputs.split(batch_size)])  # type: ignore[no-untyped-call]
        finally:
            for handle in handles:
                handle.remove()
        self.layers = [torch.cat(found[layer]) for layer in hidden]
        # A model that averages its last layer over tokens would give (n, tokens, width).
        self.embedding = torch.cat(found[last]).flatten(1)


def _confidence(logits: Tensor) -> Tensor:
    return logits.softmax(1).amax(1)


def _wasserstein(a: Tensor, b: Tensor) -> float:
    """Between the values of two tensors of one size: the mean distance of sorted values."""
    ordered = np.sort(a.numpy().reshape(-1)) - np.sort(b.numpy().reshape(-1))
    return float(np.abs(ordered).mean(dtype=np.float64))


def _within_share(rows: Tensor, labels: Tensor, classes: int) -> float:
    total = float((rows - rows.mean(0)).square().sum())
    return (
        float((rows - _class_means(rows, labels, classes)[labels]).square().sum()) / total if total else 1.0
    )


def _mahalanobis(clean: Tensor, shifted: Tensor, labels: Tensor, classes: int) -> float:
    means, moved = _class_means(clean, labels, classes), _class_means(shifted, labels, classes)
    spread = clean - means[labels]
    covariance = spread.T @ spread / len(clean)
    covariance.diagonal().add_(RIDGE * covariance.trace() / len(covariance))
    change = (moved - means)[torch.bincount(labels, minlength=classes) > 0]
    squared = (change * torch.linalg.solve(covariance, change.T).T).sum(1)
    return float(squared.clamp(min=0).sqrt().mean())


def _class_means(rows: Tensor, labels: Tensor, classes: int) -> Tensor:
    """(classes, D); zeros for a class without rows."""
    member = F.one_hot(labels, classes).to(rows.dtype)
    return (member.T @ rows) / member.sum(0).clamp(min=1)[:, None]


def _first_of_each(labels: np.ndarray, each: int, classes: int) -> np.ndarray:
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(classes)]))
