"""What retraining will cost, what people rate as important, and how many joules either saved.

The public names are imported when first used: ``import hitl_fast`` loads neither torch nor Numba nor
Triton, and ``hitl_fast.energy`` works where torch is not installed.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name: the module that defines it
_HOME: dict[str, str] = {
    "CostModel": "hitl_fast.experiment.cost_model",
    "EnergyMeter": "hitl_fast.energy",
    "EnergyReport": "hitl_fast.energy",
    "FeatureImportancePenalty": "hitl_fast.losses",
    "FeatureWeighting": "hitl_fast.losses",
    "PreIndexAccumulator": "hitl_fast.preindex",
    "PreIndexReport": "hitl_fast.preindex",
    "Priorities": "hitl_fast.ratings",
    "PriorityBatchSampler": "hitl_fast.sampling",
    "PrioritySampler": "hitl_fast.sampling",
    "PriorityTree": "hitl_fast.sampling",
    "Ratings": "hitl_fast.ratings",
    "WeightedBCEWithLogitsLoss": "hitl_fast.losses",
    "WeightedCrossEntropyLoss": "hitl_fast.losses",
    "WeightedLinearCrossEntropyLoss": "hitl_fast.losses",
    "WeightedMSELoss": "hitl_fast.losses",
    "compare_energy": "hitl_fast.energy.comparison",
    "feature_importance_penalty": "hitl_fast.losses",
    "preindex": "hitl_fast.preindex",
    "weighted_bce_with_logits": "hitl_fast.losses",
    "weighted_cross_entropy": "hitl_fast.losses",
    "weighted_linear_cross_entropy": "hitl_fast.losses",
    "weighted_mse": "hitl_fast.losses",
}

__all__ = [
    "CostModel",
    "EnergyMeter",
    "EnergyReport",
    "FeatureImportancePenalty",
    "FeatureWeighting",
    "PreIndexAccumulator",
    "PreIndexReport",
    "Priorities",
    "PriorityBatchSampler",
    "PrioritySampler",
    "PriorityTree",
    "Ratings",
    "WeightedBCEWithLogitsLoss",
    "WeightedCrossEntropyLoss",
    "WeightedLinearCrossEntropyLoss",
    "WeightedMSELoss",
    "__version__",
    "compare_energy",
    "feature_importance_penalty",
    "preindex",
    "weighted_bce_with_logits",
    "weighted_cross_entropy",
    "weighted_linear_cross_entropy",
    "weighted_mse",
]

if TYPE_CHECKING:
    # The same names again, for type checkers.
    from .energy import EnergyMeter as EnergyMeter
    from .energy import EnergyReport as EnergyReport
    from .energy.comparison import compare_energy as compare_energy
    from .experiment.cost_model import CostModel as CostModel
    from .losses import FeatureImportancePenalty as FeatureImportancePenalty
    from .losses import FeatureWeighting as FeatureWeighting
    from .losses import WeightedBCEWithLogitsLoss as WeightedBCEWithLogitsLoss
    from .losses import WeightedCrossEntropyLoss as WeightedCrossEntropyLoss
    from .losses import WeightedLinearCrossEntropyLoss as WeightedLinearCrossEntropyLoss
    from .losses import WeightedMSELoss as WeightedMSELoss
    from .losses import feature_importance_penalty as feature_importance_penalty
    from .losses import weighted_bce_with_logits as weighted_bce_with_logits
    from .losses import weighted_cross_entropy as weighted_cross_entropy
    from .losses import weighted_linear_cross_entropy as weighted_linear_cross_entropy
    from .losses import weighted_mse as weighted_mse
    from .preindex import PreIndexAccumulator as PreIndexAccumulator
    from .preindex import PreIndexReport as PreIndexReport
    from .preindex import preindex as preindex
    from .ratings import Priorities as Priorities
    from .ratings import Ratings as Ratings
    from .sampling import PriorityBatchSampler as PriorityBatchSampler
    from .sampling import PrioritySampler as PrioritySampler
    from .sampling import PriorityTree as PriorityTree


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hitl_fast' has no attribute {name!r}; it has: {', '.join(__all__)}")
    home = importlib.import_module(_HOME[name])
    # A room named like its main function is callable: one object, whoever imported it first.
    value: object = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
