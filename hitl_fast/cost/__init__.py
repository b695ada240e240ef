"""From scores to epochs, kWh and gCO2e of a retraining, and the decision that follows."""

from .decision import Candidate, Decision, decide
from .model import CostEstimate, CostModel

__all__ = ["Candidate", "CostEstimate", "CostModel", "Decision", "decide"]
