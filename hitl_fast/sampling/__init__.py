"""From priorities to indices: what a model sees, how often and in which order."""

from .sampler import PriorityBatchSampler, PrioritySampler
from .tree import PriorityTree

__all__ = ["PriorityBatchSampler", "PrioritySampler", "PriorityTree"]
