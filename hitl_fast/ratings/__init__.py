"""People's ratings of samples and features: read, checked for agreement, and made into priorities."""

from .agreement import Agreement
from .priorities import Priorities
from .simulated import simulated_ratings
from .table import Ratings

__all__ = ["Agreement", "Priorities", "Ratings", "simulated_ratings"]
