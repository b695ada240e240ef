"""People's ratings of samples and features: reading, agreement, aggregation into priorities."""

from .agreement import Agreement
from .live import LiveRatings
from .priorities import Priorities, Propagated
from .questions import ask_next
from .ratings import Ratings
from .signals import Signals
from .simulated import simulated_ratings

__all__ = [
    "Agreement",
    "LiveRatings",
    "Priorities",
    "Propagated",
    "Ratings",
    "Signals",
    "ask_next",
    "simulated_ratings",
]
