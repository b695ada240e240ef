from . import integrations as integrations
from .cost.model import CostModel as CostModel
from .energy import EnergyMeter as EnergyMeter
from .energy import EnergyReport as EnergyReport
from .energy.reporting.comparison import compare_energy as compare_energy
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
from .ratings import Priorities as Priorities
from .ratings import Ratings as Ratings
from .sampling import PriorityBatchSampler as PriorityBatchSampler
from .sampling import PrioritySampler as PrioritySampler
from .sampling import PriorityTree as PriorityTree
from .sampling import with_weights as with_weights
from .shift import PreIndexAccumulator as PreIndexAccumulator
from .shift import PreIndexReport as PreIndexReport
from .shift import preindex as preindex

__version__: str
