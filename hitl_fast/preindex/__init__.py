"""PreIndex: what retraining to a shift will cost, from one forward pass over clean and shifted data.

``hitl_fast.preindex`` is both this package and, called, its main function.
"""

import sys
from types import ModuleType
from typing import Any

from .accumulator import LayerReport, PreIndexAccumulator
from .clusters import ClusterReport
from .estimate import preindex
from .report import PreIndexReport

__all__ = ["ClusterReport", "LayerReport", "PreIndexAccumulator", "PreIndexReport", "preindex"]


class _CallablePackage(ModuleType):
    """The import system binds a sub-package to its parent's attribute, over a function of the same name."""

    __wrapped__ = staticmethod(preindex)  # what inspect.signature shows

    def __call__(self, *args: Any, **kwargs: Any) -> PreIndexReport:
        return preindex(*args, **kwargs)


sys.modules[__name__].__class__ = _CallablePackage
