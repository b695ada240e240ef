"""Weighted sampling: from priorities to the indices that a data loader reads."""

from .dataset import with_weights
from .sampler import PriorityBatchSampler, PrioritySampler
from .tree import PriorityTree

__all__ = ["PriorityBatchSampler", "PrioritySampler", "PriorityTree", "with_weights"]
