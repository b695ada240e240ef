"""People's ratings of samples and features: read, checked for agreement, and made into priorities."""

from .agreement import Agreement
from .priorities import Priorities
from .propagation import Propagated
from .questions import ask_next
from .signals import Signals
from .simulated import simulated_ratings
from .table import Ratings

__all__ = ["Agreement", "Priorities", "Propagated", "Ratings", "Signals", "ask_next", "simulated_ratings"]
