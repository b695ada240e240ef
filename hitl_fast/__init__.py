"""What retraining will cost, what people rate as important, and how many joules either saved.

The public names are imported when first used: ``import hitl_fast`` loads neither torch nor Numba nor
Triton, and ``hitl_fast.energy`` works where torch is not installed.
"""

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# public name: the module that defines it
_HOME: dict[str, str] = {}

__all__ = ["__version__"]

if TYPE_CHECKING:
    pass  # the same names again, for type checkers


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'hitl_fast' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value  # found without this function from now on
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
