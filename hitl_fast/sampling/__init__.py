"""Weighted sampling: from priorities to the indices that a data loader reads."""

from .sampler import PriorityBatchSampler, PrioritySampler
from .tree import PriorityTree

__all__ = ["PriorityBatchSampler", "PrioritySampler", "PriorityTree"]
