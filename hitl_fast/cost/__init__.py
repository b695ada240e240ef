"""From scores to epochs, kWh and gCO2e of a retraining, and the decision that follows."""

from .decision import Candidate, Decision, decide
from .estimate import CostEstimate
from .model import CostModel

__all__ = ["Candidate", "CostEstimate", "CostModel", "Decision", "decide"]
