"""PreIndex: estimate what retraining to a shift will cost, from one forward pass over clean and shifted data."""

from .accumulator import LayerReport, PreIndexAccumulator
from .clusters import ClusterReport
from .estimate import preindex
from .report import PreIndexReport
from .sharding import sharded

__all__ = ["ClusterReport", "LayerReport", "PreIndexAccumulator", "PreIndexReport", "preindex", "sharded"]
