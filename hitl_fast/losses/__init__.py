"""Sample-weighted losses, and penalties on the use of features that people rated as unimportant."""

from .cross_entropy import WeightedCrossEntropyLoss, weighted_cross_entropy
from .elementwise import WeightedBCEWithLogitsLoss, WeightedMSELoss, weighted_bce_with_logits, weighted_mse
from .features import FeatureImportancePenalty, FeatureWeighting, feature_importance_penalty
from .linear import WeightedLinearCrossEntropyLoss, weighted_linear_cross_entropy

__all__ = [
    "FeatureImportancePenalty",
    "FeatureWeighting",
    "WeightedBCEWithLogitsLoss",
    "WeightedCrossEntropyLoss",
    "WeightedLinearCrossEntropyLoss",
    "WeightedMSELoss",
    "feature_importance_penalty",
    "weighted_bce_with_logits",
    "weighted_cross_entropy",
    "weighted_linear_cross_entropy",
    "weighted_mse",
]
